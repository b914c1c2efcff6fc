// @ts-check
// Holds the settings of the session, and with which ones the next begins.

/** @import { SessionClient } from "./session_client.js" */
/** @import { SettingName } from "./tune.js" */
/** @import { LookAhead, SetCommand } from "./types.js" */

export class SessionOptions {
  /** @param {SessionClient} client */
  constructor(client) {
    this.client = client;
    /** @type {number | null} null: a random one */
    this.seed = null;
    /** @type {LookAhead} */
    this.lookAhead = "smooth";
    /** @type {Partial<Record<SetCommand["name"], string>>} */
    this.settings = {};
  }

  /**
   * Change a setting, now and for the next session.
   *
   * @param {SettingName} name
   * @param {string} value
   */
  change(name, value) {
    if (name === "look_ahead") {
      this.lookAhead = /** @type {LookAhead} */ (value);
      this.client.send({ type: "look_ahead", value: this.lookAhead });
    } else {
      this.settings[name] = value;
      this.client.send({ type: "set", name, value });
    }
  }

  /** Return what a request for a new session says about it. */
  get body() {
    return { look_ahead: this.lookAhead, set: this.settings, seed: this.seed ?? undefined };
  }
}
