// @ts-check
// Sends a person's pictures, films and LoRAs to the session, and knows their names and pictures, also after a reload.

import { message } from "./messages.js";

/** @import { SessionFile } from "./api.js" */
/** @import { SessionClient } from "./session_client.js" */

const MOST_MB = { picture: 64, lora: 1024 }; // of a picture or film, and of a LoRA, which the server takes
const KEPT_AS = "longtake.files";

export class SessionFiles {
  /** @param {SessionClient} client */
  constructor(client) {
    this.client = client;
    /** @type {Map<string, string>} name on the server -> address of the file's content on this page */
    this.contents = new Map();
    /** @type {Record<string, string>} name on the server -> name on the person's disk */
    this.labels = JSON.parse(sessionStorage.getItem(KEPT_AS) || "{}");
  }

  /**
   * Send a file; throws an Error with a line for a person if it cannot be used.
   *
   * @param {File} file
   * @returns {Promise<SessionFile>}
   */
  async send(file) {
    const most = MOST_MB[file.name.endsWith(".safetensors") ? "lora" : "picture"];
    if (file.size > most * 2 ** 20)
      throw new Error(
        message("input.toolarge", { name: file.name, size: Math.ceil(file.size / 2 ** 20), most }),
      );
    /** @type {SessionFile} */
    const got = await this.client.post(`files?name=${encodeURIComponent(file.name.slice(-200) || "file")}`, {
      body: file,
    });
    this.contents.set(got.name, URL.createObjectURL(file));
    this.labels[got.name] = file.name;
    sessionStorage.setItem(KEPT_AS, JSON.stringify(this.labels));
    return got;
  }

  /**
   * Return how a person knows a file.
   *
   * @param {string} name on the server
   */
  label(name) {
    return this.labels[name] ?? name.split("/").at(-1) ?? name;
  }

  /**
   * Return where the content of a file is found.
   *
   * @param {string} name on the server
   * @param {string} take that used it
   */
  address(name, take) {
    return (
      this.contents.get(name) ?? `${this.client.base}api/takes/${take}/files?name=${encodeURIComponent(name)}`
    );
  }
}
