// @ts-check
// Shows a slider for every LoRA of the session: moving it changes the LoRA's scale at the next chunk.

import { make } from "./elements.js";

/** @import { CueLine, LoraCommand } from "./types.js" */

const MOST = 2; // scale of a LoRA, in both directions

export class LoraSliders {
  /**
   * @param {HTMLElement} row that holds the sliders; hidden where a session has no LoRA
   * @param {(command: Omit<LoraCommand, "id">) => void} send
   */
  constructor(row, send) {
    this.row = row;
    this.send = send;
    /** @type {Map<string, HTMLInputElement>} name -> slider */
    this.sliders = new Map();
  }

  /**
   * Offer the LoRAs of a session, all of them off.
   *
   * @param {string[]} names
   */
  offer(names) {
    this.sliders = new Map(names.map((name) => [name, this.#slider(name)]));
    this.row.replaceChildren(
      ...[...this.sliders].map(([name, slider]) => make("label", {}, `${name} `, slider)),
    );
    this.row.hidden = !names.length;
  }

  /**
   * Show the scales that hold after the cues of a take; a slider that is held stays where it is.
   *
   * @param {CueLine[]} cues
   */
  follow(cues) {
    const scales = new Map(cues.flatMap((cue) => cue.lora ?? []).map(scaleOf));
    for (const [name, slider] of this.sliders)
      if (!slider.matches(":active")) slider.valueAsNumber = scales.get(name) ?? 0;
  }

  /** @param {string} name */
  #slider(name) {
    const range = { type: "range", min: `${-MOST}`, max: `${MOST}`, step: "0.05", value: "0" };
    const slider = make("input", { ...range, title: `scale of ${name}` });
    slider.onchange = () => this.send({ type: "lora", name, scale: slider.valueAsNumber });
    return slider;
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
