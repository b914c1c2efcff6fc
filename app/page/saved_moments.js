// @ts-check
// Saves what was just seen: the last ten seconds as a film, or as a GIF.

import { messageOf } from "./api.js";
import { part } from "./elements.js";
import { message } from "./messages.js";

/** @import { SessionClient } from "./session_client.js" */

export class SavedMoments {
  /**
   * @param {HTMLElement} root
   * @param {SessionClient} client
   * @param {(text: string, bad?: boolean) => void} tell shows a message
   */
  constructor(root, client, tell) {
    this.client = client;
    this.tell = tell;
    this.film = part(root, "last10", HTMLButtonElement);
    this.gif = part(root, "gif10", HTMLButtonElement);
  }

  saveFilm() {
    return this.#save(this.film, "last.mp4", message("save.film"));
  }

  saveGif() {
    return this.#save(this.gif, "last.gif", message("save.gif"));
  }

  /**
   * @param {HTMLButtonElement} button
   * @param {string} file of the session
   * @param {string} done message
   */
  async #save(button, file, done) {
    if (button.disabled || !this.client.session) return;
    button.disabled = true;
    this.tell(message("save.saving"));
    try {
      saveAs(await this.client.file(file), `longtake-${new Date().toISOString().slice(0, 19)}-${file}`);
      this.tell(done);
    } catch (e) {
      this.tell(messageOf(e), true);
    } finally {
      button.disabled = false;
    }
  }
}

/**
 * Let the browser save a file.
 *
 * @param {Blob} content
 * @param {string} download its name
 */
function saveAs(content, download) {
  const href = URL.createObjectURL(content);
  const link = document.createElement("a");
  Object.assign(link, { href, download });
  link.click();
  setTimeout(() => URL.revokeObjectURL(href), 60_000); // the browser reads it meanwhile
}
