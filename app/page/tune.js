// @ts-check
// Runs the settings beside the stage: look-ahead, seed, memory, and the words that a model knows.

import { make } from "./elements.js";
import { icon } from "./icons.js";

/** @import { ModelFacts } from "./api.js" */
/** @import { SetCommand } from "./types.js" */

/** @typedef {"look_ahead" | SetCommand["name"]} SettingName */

/**
 * @typedef {object} Setting one of several values
 * @property {SettingName} name
 * @property {string} label
 * @property {[string, string][]} values as the server names them, and as the page does; the first name is the page's
 * @property {string} value chosen at first
 * @property {string} help
 */

/** @type {Setting} */
const LOOK_AHEAD = {
  name: "look_ahead",
  label: "Look-ahead",
  values: [
    ["instant", "Instant"],
    ["smooth", "Smooth"],
    ["lossless", "Lossless"],
  ],
  value: "smooth",
  help: "How much is drawn before it is seen. Less turns sooner, more never stutters.",
};
/** @type {Setting[]} */
const MEMORY = [
  {
    name: "on_switch",
    label: "At a new prompt, memory is",
    values: [
      ["recache", "Recache"],
      ["flush", "Flush"],
      ["none", "None"],
      ["clear", "Clear"],
      ["recall", "Recall"],
    ],
    value: "recache",
    help: "Recall brings an earlier scene back when a prompt means it. Recache reads the past anew under the new prompt; Flush keeps the newest picture and the first ones; None keeps all as it is; Clear forgets.",
  },
  {
    name: "on_lora",
    label: "At another LoRA scale, memory is",
    values: [
      ["recache", "Recache"],
      ["flush", "Flush"],
      ["none", "None"],
      ["clear", "Clear"],
    ],
    value: "recache",
    help: "What happens where a LoRA changes and the prompt stays; the words mean the same as above.",
  },
  {
    name: "sink_on_switch",
    label: "First pictures",
    values: [
      ["keep", "Keep"],
      ["reanchor", "Reanchor"],
    ],
    value: "keep",
    help: "What holds the look together. Reanchor lets newer pictures take this place at each prompt.",
  },
  {
    name: "anchor",
    label: "First pictures stand",
    values: [
      ["fixed", "Fixed"],
      ["trailing", "Trailing"],
      ["ahead", "Ahead"],
    ],
    value: "trailing",
    help: "Where in time the model believes them to be. Trailing keeps long takes steady.",
  },
];
/**
 * @typedef {object} TuneListener
 * @property {(name: SettingName, value: string) => void} set called when a setting was changed
 * @property {(seed: number | null) => void} seed called when the seed of the next start was changed; null: any
 * @property {(phrase: string, ways: string[]) => void} phrase called when a known phrase was chosen
 */

export class Tune {
  /**
   * @param {HTMLElement} element
   * @param {TuneListener} on
   */
  constructor(element, on) {
    this.on = on;
    this.phrases = make("div", { className: "card", hidden: true });
    const memory = make("details", {}, make("summary", { textContent: "Memory: four more" }));
    memory.append(...MEMORY.map((setting) => this.#choice(setting)));
    element.append(
      make(
        "div",
        { className: "card" },
        make("h2", { textContent: "Settings" }),
        this.#choice(LOOK_AHEAD),
        this.#seed(),
        memory,
      ),
      this.phrases,
    );
  }

  /**
   * Show what a model knows.
   *
   * @param {ModelFacts} model
   */
  offer(model) {
    const menus = Object.entries(model.understands).map(([name, ways]) => this.#menu(name, ways));
    this.phrases.hidden = !menus.length;
    this.phrases.replaceChildren(
      make("h2", { textContent: `Words that ${model.name} knows` }),
      make("div", { className: "phrases" }, ...menus),
      make("p", { className: "help", textContent: "A choice goes into the prompt." }),
    );
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
      if (select.value) this.on.phrase(select.value, ways);
      select.value = "";
    };
    return select;
  }

  /** @param {Setting} setting */
  #choice({ name, label, values, value, help }) {
    const choices = values.map(([key, word]) => {
      const input = make("input", { type: "radio", name: `lt-${name}`, value: key, checked: key === value });
      input.onchange = () => this.on.set(name, key);
      return make("label", {}, input, word);
    });
    return make(
      "fieldset",
      { className: "setting" },
      make("legend", { textContent: label }),
      make("div", { className: "segments" }, ...choices),
      make("p", { className: "help", textContent: help }),
    );
  }

  #seed() {
    const field = make("input", { type: "text", inputMode: "numeric", placeholder: "any", maxLength: 15 });
    field.dataset.lt = "seed";
    field.oninput = () => this.on.seed(/^\s*\d+\s*$/.test(field.value) ? Number(field.value) : null);
    const dice = make(
      "button",
      { ariaLabel: "Another seed", title: "Another seed", className: "square" },
      icon("dice"),
    );
    dice.onclick = () => {
      field.value = String(Math.floor(Math.random() * 2 ** 31));
      this.on.seed(Number(field.value));
    };
    return make(
      "div",
      { className: "setting" },
      make(
        "label",
        {},
        make("span", { className: "name", textContent: "Seed" }),
        make("span", { className: "row" }, field, dice),
      ),
      make("p", {
        className: "help",
        textContent:
          "The same seed and prompts give the same take. Counts from the next start; Reroll changes it now.",
      }),
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
export function withPhrase(text, ways, chosen) {
  const standing = ways.filter((way) => ` ${text} `.includes(` ${way} `));
  const [old] = standing.sort((a, b) => b.length - a.length);
  return old ? ` ${text} `.replace(` ${old} `, ` ${chosen} `).trim() : `${text} ${chosen}`.trim();
}
