// @ts-check
// Measures how long commands take: until they are accepted, and until their first frame is on the screen.

/** @import { Command } from "./types.js" */

const KEPT = 200; // newest times from prompt to screen
// types of commands that are accepted first and shown later
export const CUES = new Set(["prompt", "seed", "set", "start", "source", "recall", "lora"]);

/**
 * @typedef {object} Sent a command that was sent
 * @property {number} at when, by performance.now()
 * @property {boolean} isCue whether it will also be shown
 * @property {boolean} isTimed whether the time until it is shown counts: of a prompt while the picture moves
 */

export class CommandTimes {
  constructor() {
    /** @type {Map<number, Sent>} commands whose last answer has not come, by their ids */
    this.sent = new Map();
    /** @type {number | null} ms until the newest command was accepted */
    this.answered = null;
    /** @type {number[]} ms from prompt to screen, the newest last */
    this.waits = [];
  }

  /**
   * @param {number} id
   * @param {Command["type"]} type
   * @param {boolean} moving whether the picture moves now
   */
  begin(id, type, moving) {
    this.sent.set(id, { at: performance.now(), isCue: CUES.has(type), isTimed: type === "prompt" && moving });
  }

  /** Leave what is under way out of the times: the picture stands still meanwhile. */
  interrupt() {
    for (const sent of this.sent.values()) sent.isTimed = false;
  }

  /** @param {number} id of a command, which another window may have sent */
  accepted(id) {
    const sent = this.sent.get(id);
    if (sent === undefined) return;
    this.answered = performance.now() - sent.at;
    if (!sent.isCue) this.sent.delete(id);
  }

  /**
   * Return when a prompt was sent whose first frame was sent here now; null for other commands.
   *
   * @param {number} id
   */
  shown(id) {
    const sent = this.sent.get(id);
    this.sent.delete(id);
    return sent?.isTimed ? sent.at : null;
  }

  /**
   * Keep the time of a prompt.
   *
   * @param {number} wait ms
   */
  keep(wait) {
    this.waits.push(wait);
    if (this.waits.length > KEPT) this.waits.shift();
  }
}
