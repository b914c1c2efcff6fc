// @ts-check
// Keeps prompts in nine slots, also after the page is closed.

import { make } from "./elements.js";

const KEPT_AS = "longtake.slots";

export class Slots {
  /**
   * @param {HTMLElement} element that holds the buttons
   * @param {(text: string) => void} play called when a slot is clicked
   */
  constructor(element, play) {
    this.element = element;
    this.play = play;
    /** @type {string[]} texts of slots 0 to 9; slot 0 stays empty */
    this.texts = JSON.parse(localStorage.getItem(KEPT_AS) || "null") ?? new Array(10).fill("");
    this.#draw();
  }

  /**
   * Keep a text in a slot.
   *
   * @param {number} slot 1 to 9
   * @param {string} text
   */
  keep(slot, text) {
    this.texts[slot] = text;
    localStorage.setItem(KEPT_AS, JSON.stringify(this.texts));
    this.#draw();
  }

  /** Return the texts of the slots that are not empty. */
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
