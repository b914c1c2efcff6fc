// @ts-check
// Runs the prompt field: its keys, suggestions while a person types, and menus of phrases that a model understands.

import { make, part } from "./elements.js";

const SUGGESTIONS = 6;

export class PromptBar {
  /**
   * @param {HTMLElement} root
   * @param {(how: { blend: number, cut: boolean }) => void} say called when Enter is pressed: turn at the next chunk,
   *   over `blend` chunks (Shift), or with a cut (Ctrl)
   */
  constructor(root, say) {
    this.input = part(root, "prompt", HTMLInputElement);
    this.words = part(root, "words", HTMLDataListElement);
    this.chips = part(root, "chips", HTMLElement);
    const blend = part(root, "blend", HTMLInputElement);
    /** @type {string[]} every phrase that the model understands */
    this.phrases = [];
    this.input.addEventListener("input", () => this.#suggest());
    this.input.addEventListener("keydown", (e) => {
      if (e.key !== "Enter" || e.isComposing) return;
      e.preventDefault();
      e.stopPropagation();
      say({ blend: e.shiftKey ? Number(blend.value) : 1, cut: e.ctrlKey || e.metaKey });
    });
  }

  get text() {
    return this.input.value.trim();
  }

  set text(text) {
    this.input.value = text;
  }

  /** Return the text, or the example if the field is empty. */
  get textOrExample() {
    return this.text || this.input.placeholder;
  }

  focus() {
    this.input.focus();
  }

  /**
   * Offer the phrases of a model.
   *
   * @param {Record<string, string[]>} understands attribute -> phrases
   */
  offer(understands) {
    this.phrases = Object.values(understands).flat();
    this.chips.replaceChildren(...Object.entries(understands).map(([name, ways]) => this.#menu(name, ways)));
  }

  /**
   * Make the menu of one attribute.
   *
   * @param {string} name
   * @param {string[]} ways phrases
   */
  #menu(name, ways) {
    const select = make("select", { ariaLabel: name }, new Option(name, ""));
    select.append(...ways.map((way) => new Option(way, way)));
    select.onchange = () => {
      if (select.value) this.text = withPhrase(this.input.value, ways, select.value);
      select.value = "";
      this.focus();
    };
    return select;
  }

  #suggest() {
    const text = this.input.value;
    const at = text.lastIndexOf(" ") + 1;
    const word = text.slice(at).toLowerCase();
    const fits = word ? this.phrases.filter((phrase) => phrase.startsWith(word)) : [];
    this.words.replaceChildren(
      ...fits.slice(0, SUGGESTIONS).map((phrase) => new Option(text.slice(0, at) + phrase)),
    );
  }
}

/**
 * Replace the phrase of the same attribute in a text, or add the phrase at the end.
 *
 * @param {string} text
 * @param {string[]} ways phrases of that attribute
 * @param {string} chosen
 */
function withPhrase(text, ways, chosen) {
  const standing = ways.filter((way) => ` ${text} `.includes(` ${way} `));
  const [old] = standing.sort((a, b) => b.length - a.length);
  return old ? ` ${text} `.replace(` ${old} `, ` ${chosen} `).trim() : `${text} ${chosen}`.trim();
}
