// @ts-check
// Knows which prompts were sent and have not landed, also those that wait for a connection.

/** @import { SessionClient } from "./session_client.js" */
/** @import { How } from "./prompt_bar.js" */
/** @import { ServerEvent } from "./types.js" */

/** @typedef {How & { text: string, sent: boolean }} Waiting sent: whether the server has it */

export class WaitingCues {
  /** @param {SessionClient} client */
  constructor(client) {
    this.client = client;
    /** @type {Map<number | string, Waiting>} id of the command, or a number of its own -> prompt */
    this.waiting = new Map();
    this.next = 0;
  }

  /** Return the texts that wait, the next one first. */
  get texts() {
    return [...this.waiting.values()].map(({ text }) => text);
  }

  /**
   * Return the prompt of a command that waits.
   *
   * @param {number | null} id
   */
  of(id) {
    return id === null ? undefined : this.waiting.get(id);
  }

  /**
   * Send a prompt, or let it wait until the connection is open.
   *
   * @param {string} text
   * @param {How} how
   */
  say(text, how) {
    const id = this.client.send({ type: "prompt", text, ...how });
    this.waiting.set(id ?? `local ${this.next++}`, { text, ...how, sent: id !== null });
  }

  /** Send what has waited for the connection. */
  flush() {
    const local = [...this.waiting].filter(([, { sent }]) => !sent);
    for (const [key, { text, blend, cut }] of local) {
      this.waiting.delete(key);
      this.say(text, { blend, cut });
    }
  }

  /** @param {ServerEvent} event */
  heard(event) {
    if (event.type !== "live" && event.type !== "taken_back" && event.type !== "refused") return;
    if (event.id !== null) this.waiting.delete(event.id);
  }

  clear() {
    this.waiting.clear();
  }
}
