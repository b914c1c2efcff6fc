// @ts-check
// Asks the server how a model reads a prompt while it is typed, marks unknown words and offers words near to them.

import { ask } from "./api.js";
import { make, part } from "./elements.js";
import { message } from "./messages.js";

/** @import { Reading } from "./api.js" */

const AFTER = 250; // ms without a key before the server is asked
const NEAR_SHOWN = 3; // words offered for one that is not known

export class PromptReading {
  /**
   * @param {HTMLElement} root
   * @param {(word: string, instead: string) => void} replace called when a word near to an unknown one is chosen
   * @param {() => void} changed called when a text was read
   */
  constructor(root, replace, changed) {
    this.row = part(root, "reading", HTMLElement);
    this.mirror = part(root, "mirror", HTMLElement);
    this.replace = replace;
    this.changed = changed;
    this.model = ""; // empty: a model that reads any text
    this.text = ""; // that was read
    /** @type {Reading | null} */
    this.reading = null;
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this.timer = undefined;
  }

  /**
   * Return why a text cannot be sent; empty if it can, or if it was not read yet.
   *
   * @param {string} text
   */
  refusal(text) {
    return this.reading && !this.reading.understood && this.text === text ? this.reading.why : "";
  }

  /**
   * Read a text soon.
   *
   * @param {string} text
   */
  look(text) {
    clearTimeout(this.timer);
    if (this.text !== text) this.#draw(text, null);
    if (!text || !this.model) return;
    this.timer = setTimeout(() => this.#ask(text), AFTER);
  }

  /** @param {string} text */
  async #ask(text) {
    try {
      /** @type {Reading} */
      const reading = await ask(`api/models/${this.model}/reading?prompt=${encodeURIComponent(text)}`);
      this.#draw(text, reading);
    } catch {
      // the server cannot be reached; the stage says so
    }
  }

  /**
   * @param {string} text
   * @param {Reading | null} reading
   */
  #draw(text, reading) {
    this.text = text;
    this.reading = reading;
    const unknown = Object.entries(reading?.unknown ?? {});
    this.mirror.replaceChildren(
      ...marked(
        text,
        unknown.map(([word]) => word),
      ),
    );
    this.row.hidden = !reading || (!unknown.length && reading.understood);
    this.row.classList.toggle("bad", reading?.understood === false);
    if (reading) this.row.replaceChildren(...this.#words(unknown, reading));
    this.changed();
  }

  /**
   * @param {[string, string[]][]} unknown
   * @param {Reading} reading
   */
  #words(unknown, reading) {
    const chips = unknown.flatMap(([word, near]) =>
      near.slice(0, NEAR_SHOWN).map((instead) => {
        const chip = make("button", { type: "button" }, make("s", { textContent: word }), ` ${instead}`);
        chip.title = message("prompt.nearword", { near: instead, word });
        chip.onclick = () => this.replace(word, instead);
        return chip;
      }),
    );
    if (!reading.understood) return [reading.why, ...chips];
    const words = unknown.map(([word]) => word).join(", ");
    const key = chips.length ? "prompt.unknown.near" : "prompt.unknown";
    return [message(key, { model: this.model, words }), ...chips];
  }
}

/**
 * Return a text as nodes in which words are underlined.
 *
 * @param {string} text
 * @param {string[]} words
 */
function marked(text, words) {
  if (!words.length) return [text];
  const escaped = words.map((word) => word.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"));
  const pattern = new RegExp(`(${escaped.join("|")})`, "giu");
  return text.split(pattern).map((piece, i) => (i % 2 ? make("u", { textContent: piece }) : piece));
}
