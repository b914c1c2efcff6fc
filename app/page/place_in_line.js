// @ts-check
// Holds a place in line for a busy device, and asks again until the session begins or the line is left.

const ASK_EVERY = 2000; // ms

export class PlaceInLine {
  constructor() {
    /** @type {string | undefined} keeps the place, even if the prompt or face is changed */
    this.ticket = undefined;
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this.timer = undefined;
  }

  get waiting() {
    return this.timer !== undefined;
  }

  /**
   * Wait in line, and ask again after a while.
   *
   * @param {string} ticket
   * @param {() => void} again
   */
  stand(ticket, again) {
    this.ticket = ticket;
    this.timer = setTimeout(again, ASK_EVERY);
  }

  /** Stop asking; the ticket is kept for the next try. */
  leave() {
    clearTimeout(this.timer);
    this.timer = undefined;
  }
}
