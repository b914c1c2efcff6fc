// @ts-check
// Lists what an avatar was given to say, the newest last, and where it was interrupted.

import { make } from "./elements.js";
import { decimals, message, moment, named } from "./messages.js";

/** @import { HeardPart } from "./types.js" */

export class ConversationLog {
  /** @param {HTMLElement} list */
  constructor(list) {
    this.list = list;
    /** @type {Map<string, HTMLElement>} entries of this session that were not interrupted, by their utterances */
    this.open = new Map();
  }

  /**
   * Add what is to be said.
   *
   * @param {object} said
   * @param {string} said.how such as "typed"
   * @param {string} said.text
   * @param {string} said.utterance its name at the server
   * @param {string} [said.speaker] in a dialogue
   */
  add({ how, text, utterance, speaker }) {
    const time = moment(new Date(), { timeStyle: "short" });
    const row = make(
      "li",
      {},
      make("div", { className: "by", textContent: [speaker, how, time].filter(Boolean).join(" · ") }),
      make("span", { className: "said", textContent: text }),
    );
    this.list.append(row);
    this.open.set(utterance, row);
    row.scrollIntoView({ block: "nearest" });
  }

  /**
   * Mark the entries that were not said to their end.
   *
   * @param {string} why
   * @param {HeardPart[]} heard what was heard of each utterance
   */
  interrupted(why, heard) {
    const reason = named("talk.why", why);
    for (const { utterance, seconds } of heard) {
      const textContent = message("talk.interrupted.heard", { why: reason, seconds: decimals(seconds, 1) });
      this.open.get(utterance)?.append(make("div", { className: "by", textContent }));
      this.open.delete(utterance);
    }
  }

  /** Forget which utterances the entries are: another session gives the same names. */
  settle() {
    this.open.clear();
  }
}
