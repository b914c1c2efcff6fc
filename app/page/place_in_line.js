// @ts-check
// A place in line for a device that is busy: asked for again until it is given, or left.

const ASK_EVERY = 2000; // ms

export class PlaceInLine {
  constructor() {
    /** @type {string | undefined} keeps the place, also for another prompt or face */
    this.ticket = undefined;
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this.timer = undefined;
  }

  get waiting() {
    return this.timer !== undefined;
  }

  /**
   * Stand in line: ask again after a while.
   *
   * @param {string} ticket
   * @param {() => void} again
   */
  stand(ticket, again) {
    this.ticket = ticket;
    this.timer = setTimeout(again, ASK_EVERY);
  }

  /** Give the place up; the ticket is kept for the next try. */
  leave() {
    clearTimeout(this.timer);
    this.timer = undefined;
  }
}
