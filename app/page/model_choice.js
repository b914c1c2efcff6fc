// @ts-check
// Chooses the model that draws, and shows what a model needs before it is loaded.

import { ask, messageOf } from "./api.js";
import { part, show } from "./elements.js";
import { decimals, message } from "./messages.js";

/** @import { ModelFacts } from "./api.js" */

const RETRY_AFTER = 3000; // ms

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

  /**
   * Ask the server for its models, and again until it answers. Models that draw avatars have their own page.
   *
   * @param {(why: string) => void} failed called at each failure
   */
  async load(failed) {
    /** @type {ModelFacts[]} */
    let all = [];
    while (!all.length) {
      try {
        all = await ask("api/models");
      } catch (e) {
        failed(messageOf(e));
        await new Promise((done) => setTimeout(done, RETRY_AFTER));
      }
    }
    this.models = all.filter((model) => !model.speaks);
    this.select.replaceChildren(...this.models.map((model) => new Option(choiceOf(model), model.name)));
    this.#choose(this.name);
  }

  get loaded() {
    return this.models.some((model) => model.name === this.name && model.loaded);
  }

  /** Return the phrases that the chosen model understands; none if it reads any text. */
  get understands() {
    return this.models.find((model) => model.name === this.name)?.understands ?? {};
  }

  /** @param {string} name */
  #choose(name) {
    this.name = this.select.value = name;
    const model = this.models.find((m) => m.name === name);
    if (!model) return;
    show(this.facts, demands(model));
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
  const bytes = (mb) => (mb < 1000 ? `${mb} MB` : `${decimals(mb / 1000, 1)} GB`);
  return [
    message("model.rate", { model: name, size, fps }),
    message("model.memory", { size: bytes(memory_mb) }),
    disk_mb === null
      ? message("model.pull", { model: name })
      : message("model.disk", { size: bytes(disk_mb) }),
    measured ? message("model.measured", measured) : message("model.unmeasured"),
  ].join(" · ");
}

/**
 * Write a model as one of several.
 *
 * @param {ModelFacts} model
 */
function choiceOf({ name, here, size }) {
  return [name, here ? size.replace("x", "×") : message("model.nothere")].join(" · ");
}
