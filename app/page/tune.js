// @ts-check
// Runs the settings beside the stage: look-ahead, seed, memory, and the words that a model knows.

import { make } from "./elements.js";
import { icon } from "./icons.js";
import { message } from "./messages.js";

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
  label: message("tune.look_ahead"),
  values: [
    ["instant", message("tune.look_ahead.instant")],
    ["smooth", message("tune.look_ahead.smooth")],
    ["lossless", message("tune.look_ahead.lossless")],
  ],
  value: "smooth",
  help: message("tune.look_ahead.note"),
};
/** @type {Setting[]} */
const MEMORY = [
  {
    name: "on_switch",
    label: message("tune.on_switch"),
    values: [
      ["recache", message("tune.recache")],
      ["flush", message("tune.flush")],
      ["none", message("tune.none")],
      ["clear", message("tune.clear")],
      ["recall", message("tune.recall")],
    ],
    value: "recache",
    help: message("tune.on_switch.note"),
  },
  {
    name: "on_lora",
    label: message("tune.on_lora"),
    values: [
      ["recache", message("tune.recache")],
      ["flush", message("tune.flush")],
      ["none", message("tune.none")],
      ["clear", message("tune.clear")],
    ],
    value: "recache",
    help: message("tune.on_lora.note"),
  },
  {
    name: "sink_on_switch",
    label: message("tune.sink"),
    values: [
      ["keep", message("tune.sink.keep")],
      ["reanchor", message("tune.sink.reanchor")],
    ],
    value: "keep",
    help: message("tune.sink.note"),
  },
  {
    name: "anchor",
    label: message("tune.anchor"),
    values: [
      ["fixed", message("tune.anchor.fixed")],
      ["trailing", message("tune.anchor.trailing")],
      ["ahead", message("tune.anchor.ahead")],
    ],
    value: "trailing",
    help: message("tune.anchor.note"),
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
    const memory = make("details", {}, make("summary", { textContent: message("tune.memory") }));
    memory.append(...MEMORY.map((setting) => this.#choice(setting)));
    element.append(
      make(
        "div",
        { className: "card" },
        make("h2", { textContent: message("tune.settings") }),
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
      make("h2", { textContent: message("tune.words", { model: model.name }) }),
      make("div", { className: "phrases" }, ...menus),
      make("p", { className: "help", textContent: message("tune.words.note") }),
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
    const field = make("input", {
      type: "text",
      inputMode: "numeric",
      placeholder: message("tune.seed.any"),
      maxLength: 15,
    });
    field.dataset.lt = "seed";
    field.oninput = () => this.on.seed(/^\s*\d+\s*$/.test(field.value) ? Number(field.value) : null);
    const dice = make(
      "button",
      { ariaLabel: message("tune.seed.another"), title: message("tune.seed.another"), className: "square" },
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
        make("span", { className: "name", textContent: message("tune.seed") }),
        make("span", { className: "row" }, field, dice),
      ),
      make("p", {
        className: "help",
        textContent: message("tune.seed.note"),
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
