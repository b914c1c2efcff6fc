// @ts-check
// Chooses the model that draws, and shows what a model needs before it is loaded.

import { ask } from "./api.js";
import { part } from "./elements.js";

/** @import { ModelFacts } from "./api.js" */

export class ModelChoice {
  /**
   * @param {HTMLElement} root
   * @param {(model: ModelFacts) => void} chosen called when a model is chosen
   */
  constructor(root, chosen) {
    this.select = part(root, "model", HTMLSelectElement);
    this.facts = part(root, "facts", HTMLElement);
    this.chosen = chosen;
    /** @type {ModelFacts[]} */
    this.models = [];
    this.name = "pocket";
    this.select.onchange = () => this.#choose(this.select.value);
  }

  /** Ask the server for its models. Models that draw avatars are left out: they have their own page. */
  async load() {
    /** @type {ModelFacts[]} */
    const all = await ask("api/models");
    this.models = all.filter((model) => !model.speaks);
    this.select.replaceChildren(
      ...this.models.map(
        (model) => new Option(model.here ? model.name : `${model.name} (not here)`, model.name),
      ),
    );
    this.#choose(this.name);
  }

  get loaded() {
    return this.models.some((model) => model.name === this.name && model.loaded);
  }

  /** @param {string} name */
  #choose(name) {
    this.name = this.select.value = name;
    const model = this.models.find((m) => m.name === name);
    if (!model) return;
    this.facts.textContent = demands(model);
    this.facts.title = model.title;
    this.chosen(model);
  }
}

/**
 * Describe what a model needs and how fast it ran here.
 *
 * @param {ModelFacts} model
 */
function demands({ name, size, fps, memory_mb, disk_mb, measured }) {
  /** @param {number} mb */
  const bytes = (mb) => (mb < 1000 ? `${mb} MB` : `${(mb / 1000).toFixed(1)} GB`);
  return [
    `${size} at ${fps} fps`,
    `${bytes(memory_mb)} of memory`,
    disk_mb === null ? `not here: longtake models pull ${name}` : `${bytes(disk_mb)} on disk`,
    measured ? `made ${measured.fps} fps here (${measured.by}, ${measured.on})` : "not measured here",
  ].join(" · ");
}
