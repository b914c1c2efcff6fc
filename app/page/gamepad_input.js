// @ts-check
// Reads gamepads: their buttons, and their sticks as knobs.

import { message } from "./messages.js";

const STILL = 0.04; // change of a stick that does not count

export class GamepadInput {
  /**
   * @param {(source: string, value: number) => void} heard
   * @param {(words: string) => void} told called with the state in words
   */
  constructor(heard, told) {
    this.heard = heard;
    this.told = told;
    /** @type {Map<string, number>} source -> its newest value */
    this.values = new Map();
    this.reading = false;
  }

  /** Follow gamepads from now on; a browser shows one once a button of it was pressed. */
  open() {
    addEventListener("gamepadconnected", ({ gamepad }) => {
      this.told(message("live.gamepad", { name: gamepad.id }));
      if (!this.reading) this.#read();
    });
    if (navigator.getGamepads().some(Boolean)) this.#read();
  }

  #read() {
    const pads = navigator.getGamepads().filter((pad) => pad !== null);
    this.reading = pads.length > 0;
    if (!this.reading) return; // until one is connected again
    for (const pad of pads) {
      for (const [i, { value }] of pad.buttons.entries())
        this.#take(`pad ${pad.index} button ${i}`, value, 0);
      for (const [i, value] of pad.axes.entries())
        this.#take(`pad ${pad.index} axis ${i}`, (value + 1) / 2, STILL);
    }
    requestAnimationFrame(() => this.#read());
  }

  /**
   * @param {string} source
   * @param {number} value 0 to 1
   * @param {number} still
   */
  #take(source, value, still) {
    const before = this.values.get(source);
    if (before !== undefined && Math.abs(value - before) <= still) return;
    this.values.set(source, value);
    if (before !== undefined) this.heard(source, value); // where it stands at first is no move
  }
}
