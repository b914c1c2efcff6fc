// @ts-check
// Binds knobs, keys and pads of controllers to controls of a page, also after the page is closed.

/**
 * @typedef {object} Control something that a controller can do
 * @property {string} id
 * @property {string} label
 * @property {(value: number) => void} [press] called when a button is pressed
 * @property {(value: number) => void} [turn] called with 0 to 1 when a knob or fader is moved
 */

const KEPT_AS = "longtake.bindings";
const PRESSED = 0.5; // value from which a button counts as pressed
const MOVED = 0.1; // change by which a knob that is being learned is told from one that trembles
const TURN_EVERY = 100; // ms between two values of a knob that is turned

export class ControlBindings {
  /**
   * @param {() => Control[]} controls
   * @param {() => void} changed called when something was learned or forgotten
   */
  constructor(controls, changed) {
    this.controls = controls;
    this.changed = changed;
    /** @type {Record<string, string>} source, such as `midi 1 note 36` -> id of a control */
    this.bound = JSON.parse(localStorage.getItem(KEPT_AS) || "{}");
    this.learning = ""; // id of the control that the next source is bound to
    /** @type {Map<string, number>} source -> its newest value */
    this.values = new Map();
    /** @type {Map<string, number>} source -> value that waits */
    this.waiting = new Map();
  }

  /**
   * Bind the next source that is pressed or moved to a control; the same control again: give it up.
   *
   * @param {string} id
   */
  learn(id) {
    this.learning = this.learning === id ? "" : id;
    this.values.clear();
    this.changed();
  }

  /**
   * Forget every source of a control.
   *
   * @param {string} id
   */
  forget(id) {
    this.take(Object.fromEntries(Object.entries(this.bound).filter(([, bound]) => bound !== id)));
  }

  /**
   * Take other bindings, such as those of a set list.
   *
   * @param {Record<string, string>} bound
   */
  take(bound) {
    this.bound = bound;
    localStorage.setItem(KEPT_AS, JSON.stringify(bound));
    this.changed();
  }

  /**
   * Return the sources of a control.
   *
   * @param {string} id
   */
  sourcesOf(id) {
    return Object.keys(this.bound).filter((source) => this.bound[source] === id);
  }

  /**
   * Follow a controller.
   *
   * @param {string} source
   * @param {number} value 0 to 1
   */
  heard(source, value) {
    const before = this.values.get(source);
    this.values.set(source, value);
    if (this.learning) {
      const control = this.controls().find(({ id }) => id === this.learning);
      const moved = before === undefined ? value >= PRESSED : Math.abs(value - before) >= MOVED;
      if (!control || !(control.turn ? moved || value >= PRESSED : value >= PRESSED)) return;
      this.learning = "";
      this.take({ ...this.bound, [source]: control.id });
      return;
    }
    const control = this.controls().find(({ id }) => id === this.bound[source]);
    if (control?.turn) this.#turn(source, value);
    else if (value >= PRESSED && (before ?? 0) < PRESSED) control?.press?.(value);
  }

  /**
   * Pass on the newest value of each while.
   *
   * @param {string} source
   * @param {number} value
   */
  #turn(source, value) {
    const waits = this.waiting.has(source);
    this.waiting.set(source, value);
    if (waits) return;
    setTimeout(() => {
      const newest = this.waiting.get(source) ?? value;
      this.waiting.delete(source);
      this.controls()
        .find(({ id }) => id === this.bound[source])
        ?.turn?.(newest);
    }, TURN_EVERY);
  }
}
