// @ts-check
// Shows a switch and a slider for every LoRA of the session, which change its scale at the next chunk. Takes in others.

import { make } from "./elements.js";
import { icon } from "./icons.js";
import { message } from "./messages.js";

/** @import { CueLine, LoraCommand } from "./types.js" */

const MOST = 2; // scale of a LoRA, in both directions

/**
 * @typedef {object} LoraListener
 * @property {(command: Omit<LoraCommand, "id">) => void} send
 * @property {(file: File) => void} file called with a LoRA of the person's own
 * @property {(name: string) => string} label returns how a person knows a LoRA
 */

/**
 * @typedef {object} LoraRow
 * @property {HTMLInputElement} slider
 * @property {HTMLInputElement} on the switch
 * @property {HTMLElement} number
 * @property {number} kept scale to which the switch turns it on again
 */

export class LoraSliders {
  /**
   * @param {HTMLElement} card hidden without a session
   * @param {LoraListener} on
   */
  constructor(card, on) {
    this.card = card;
    this.on = on;
    /** @type {Map<string, LoraRow>} by name */
    this.sliders = new Map();
    this.rows = make("div", { className: "rows" });
    this.file = make("input", {
      type: "file",
      accept: ".safetensors",
      ariaLabel: message("lora.yours"),
    });
    this.file.dataset.lt = "lora-file";
    this.file.onchange = () => {
      const [file] = this.file.files ?? [];
      this.file.value = "";
      if (file) on.file(file);
    };
    card.append(
      make("h2", { textContent: message("lora.title") }),
      this.rows,
      make("label", { className: "drop" }, icon("plus"), message("lora.add"), this.file),
      make("p", { className: "help", textContent: message("lora.note") }),
    );
  }

  /**
   * Offer the LoRAs of a session, all of them off.
   *
   * @param {string[] | null} names null: there is no session
   */
  offer(names) {
    this.sliders.clear();
    this.rows.replaceChildren();
    for (const name of names ?? []) this.#add(name);
    this.card.hidden = !names;
  }

  /**
   * Use a LoRA that was uploaded.
   *
   * @param {string} name
   */
  use(name) {
    this.#add(name).valueAsNumber = 1;
    this.#tell();
    this.on.send({ type: "lora", name, scale: 1 });
  }

  /**
   * Show the scales that hold after the cues of a take; a slider that is held stays where it is.
   *
   * @param {CueLine[]} cues
   */
  follow(cues) {
    const scales = new Map(cues.flatMap((cue) => cue.lora ?? []).map(scaleOf));
    for (const name of scales.keys()) this.#add(name);
    for (const [name, row] of this.sliders) {
      const scale = scales.get(name) ?? 0;
      if (scale) row.kept = scale;
      if (!row.slider.matches(":active")) row.slider.valueAsNumber = scale;
    }
    this.#tell();
  }

  /**
   * Return the slider of a LoRA, a new one if it has none.
   *
   * @param {string} name
   */
  #add(name) {
    const known = this.sliders.get(name);
    if (known) return known.slider;
    const slider = make("input", {
      type: "range",
      min: `${-MOST}`,
      max: `${MOST}`,
      step: "0.05",
      value: "0",
    });
    slider.title = message("lora.scale", { name });
    slider.ariaLabel = this.on.label(name);
    const on = make("input", { type: "checkbox", role: "switch" });
    const number = make("output", { className: "number", textContent: "0" });
    const row = { slider, on, number, kept: 1 };
    const send = () => this.on.send({ type: "lora", name, scale: slider.valueAsNumber });
    slider.oninput = () => this.#tell();
    slider.onchange = () => {
      if (slider.valueAsNumber) row.kept = slider.valueAsNumber;
      send();
    };
    on.onchange = () => {
      slider.valueAsNumber = on.checked ? row.kept : 0;
      this.#tell();
      send();
    };
    this.rows.append(
      make("div", { className: "row" }, make("label", {}, on, this.on.label(name)), slider, number),
    );
    this.sliders.set(name, row);
    return slider;
  }

  #tell() {
    for (const { slider, on, number } of this.sliders.values()) {
      number.textContent = slider.value;
      on.checked = slider.valueAsNumber !== 0;
    }
  }
}

/**
 * Return name and scale of a text such as `style.safetensors:0.8`.
 *
 * @param {string} text
 * @returns {[string, number]}
 */
function scaleOf(text) {
  const found = /^(.+):([^:/\\]*)$/s.exec(text);
  return found ? [found[1], Number(found[2])] : [text, 1];
}
