// @ts-check
// Opens all that is known of a failure, to be read and to be copied into a report.

import { make } from "./elements.js";
import { message, moment } from "./messages.js";

/** @import { SessionClient } from "./session_client.js" */

/**
 * @typedef {object} Failure
 * @property {string} why as the server says it
 * @property {string} prompt that failed, or with which a take was to begin
 * @property {string} model
 * @property {string} take id; empty before a take
 * @property {number} [status] of the HTTP answer
 */

export class FailureDetails {
  /**
   * @param {HTMLElement} root
   * @param {SessionClient} client
   */
  constructor(root, client) {
    this.client = client;
    this.dialog = make("dialog", { ariaLabel: message("details.title") });
    root.append(this.dialog);
  }

  /** @param {Failure} failure */
  open({ why, prompt, model, take, status }) {
    const rows = Object.entries({
      [message("details.why")]: why,
      [message("details.status")]: status ? String(status) : "",
      [message("details.prompt")]: prompt,
      [message("details.model")]: model,
      [message("details.take")]: take,
      [message("details.line")]: this.client.connection?.transport ?? "",
      [message("details.when")]: moment(new Date(), { dateStyle: "medium", timeStyle: "medium" }),
      [message("details.browser")]: navigator.userAgent,
    }).filter(([, value]) => value);
    const copy = make("button", { type: "button", textContent: message("details.copy") });
    copy.onclick = async () => {
      await navigator.clipboard?.writeText(rows.map(([name, value]) => `${name}: ${value}`).join("\n"));
      copy.textContent = message("details.copied");
    };
    const close = make("button", { type: "button", className: "quiet", textContent: message("scene.close") });
    close.onclick = () => this.dialog.close();
    this.dialog.replaceChildren(
      make("h2", { textContent: message("details.title") }),
      make(
        "dl",
        { className: "keys" },
        ...rows.flatMap(([name, value]) => [
          make("dt", { className: "soft", textContent: name }),
          make("dd", { textContent: value }),
        ]),
      ),
      make("div", { className: "row" }, copy, close),
    );
    this.dialog.showModal();
  }
}
