// @ts-check
// Shows a message that goes away by itself, with one thing to do about it.

import { make } from "./elements.js";

const SHOWN_FOR = 8000; // ms

export class Toast {
  /** @param {HTMLElement} element with role status */
  constructor(element) {
    this.element = element;
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this.timer = undefined;
  }

  /**
   * Show a text, and a button if there is something to do.
   *
   * @param {string} text
   * @param {string} [label] of the button
   * @param {() => void} [act]
   */
  show(text, label, act) {
    this.hide();
    const parts = [make("span", { textContent: text, className: "grow" })];
    if (label && act) {
      const button = make("button", { type: "button", textContent: label });
      button.onclick = () => {
        this.hide();
        act();
      };
      parts.push(button);
    }
    this.element.replaceChildren(...parts);
    this.element.hidden = false;
    this.timer = setTimeout(() => this.hide(), SHOWN_FOR);
  }

  hide() {
    clearTimeout(this.timer);
    this.element.hidden = true;
  }
}
