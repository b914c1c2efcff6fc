// @ts-check
// Lists what an avatar was given to say, the newest last, and where it was interrupted.

import { make } from "./elements.js";
import { decimals, message, moment, named } from "./messages.js";

export class ConversationLog {
  /** @param {HTMLElement} list */
  constructor(list) {
    this.list = list;
  }

  /**
   * Add what is to be said.
   *
   * @param {string} how such as "typed"
   * @param {string} text
   */
  add(how, text) {
    const time = moment(new Date(), { timeStyle: "short" });
    const row = make(
      "li",
      {},
      make("div", { className: "by", textContent: `${how} · ${time}` }),
      make("span", { className: "said", textContent: text }),
    );
    this.list.append(row);
    row.scrollIntoView({ block: "nearest" });
  }

  /**
   * Mark the newest entry as not said to its end.
   *
   * @param {string} why
   * @param {number} [seconds] of it that were heard
   */
  interrupted(why, seconds) {
    const newest = this.list.lastElementChild;
    if (!newest || newest.querySelector(".why")) return;
    const reason = named("talk.why", why);
    const textContent =
      seconds === undefined
        ? message("talk.interrupted", { why: reason })
        : message("talk.interrupted.heard", { why: reason, seconds: decimals(seconds, 1) });
    newest.append(make("div", { className: "by why", textContent }));
  }
}
