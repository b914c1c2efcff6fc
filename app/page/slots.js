// @ts-check
// Nine slots that keep prompts for later, also after the page is closed.

import { make } from "./elements.js";

const KEPT_AS = "longtake.slots";

export class Slots {
  /**
   * @param {HTMLElement} element where their buttons stand
   * @param {(text: string) => void} play
   */
  constructor(element, play) {
    this.element = element;
    this.play = play;
    /** @type {string[]} text of slot 1 to 9; slot 0 is never used */
    this.texts = JSON.parse(localStorage.getItem(KEPT_AS) || "null") ?? new Array(10).fill("");
    this.#draw();
  }

  /**
   * @param {number} slot 1 to 9
   * @param {string} text
   */
  keep(slot, text) {
    this.texts[slot] = text;
    localStorage.setItem(KEPT_AS, JSON.stringify(this.texts));
    this.#draw();
  }

  /** The texts that were kept. */
  get kept() {
    return this.texts.filter(Boolean);
  }

  #draw() {
    const buttons = this.texts.map((text, i) =>
      make("button", { textContent: `${i} ${text}`, title: text, onclick: () => this.play(text) }),
    );
    this.element.replaceChildren(...buttons.filter((button) => button.title));
  }
}
