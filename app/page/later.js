// @ts-check
// Loads a part of a page when it is first asked for, so that a first look needs no more than it shows.

import { loadLaterMessages } from "./messages.js";

/**
 * Return a function that does something at its first call only.
 *
 * @param {() => void} act
 */
export function once(act) {
  let done = false;
  return () => {
    if (!done) act();
    done = true;
  };
}

/** @template T */
export class Later {
  /**
   * @param {() => Promise<T>} load imports the script of the part and makes it, once the texts are there
   * @param {() => void} failed called where the script cannot be had
   */
  constructor(load, failed) {
    this.load = load;
    this.failed = failed;
    /** @type {T | null} null until it is loaded */
    this.made = null;
    /** @type {Promise<T> | null} */
    this.coming = null;
  }

  /** Load the part ahead, if it can be had: it is there when the server no longer is. */
  fetch() {
    this.coming ??= loadLaterMessages().then(this.load);
    this.coming.catch(() => {
      this.coming = null;
    });
  }

  /**
   * Load the part, and do something with it; calls are carried out in their order.
   *
   * @param {(made: T) => void} act
   */
  async use(act) {
    try {
      this.coming ??= loadLaterMessages().then(this.load);
      this.made = await this.coming;
    } catch {
      this.coming = null; // the next call tries again
      this.failed();
      return;
    }
    act(this.made);
  }

  /**
   * Do something with the part if it was asked for before.
   *
   * @param {(made: T) => void} act
   */
  follow(act) {
    if (this.coming) this.use(act);
  }
}
