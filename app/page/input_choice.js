// @ts-check
// Lets a person choose what comes in: text alone, an image, a film or a camera, and how a file is used.

import { make } from "./elements.js";
import { icon } from "./icons.js";
import { message } from "./messages.js";

/** @import { InputKind, ModelFacts } from "./api.js" */
/** @import { MessageKey } from "./messages.js" */

/** @typedef {"text" | InputKind} Way */
/** @typedef {"source" | "start"} FilmUse */

/** @type {[Way, MessageKey, string][]} way, its name and its picture */
const WAYS = [
  ["text", "input.text", "text"],
  ["image", "input.image", "picture"],
  ["film", "input.film", "film"],
  ["camera", "input.camera", "camera"],
];
const MOST_NAMED = 3; // models
const ACCEPTED = { image: "image/*", film: "video/*" };

/**
 * @typedef {object} ChoiceListener
 * @property {(file: File) => void} file called with a file that was chosen
 * @property {() => void} again called when the newest file is to be used once more, or in another way
 * @property {() => void} camera called to turn the camera on or off
 * @property {() => void} chosen called when another way was chosen
 */

export class InputChoice {
  /** @param {ChoiceListener} on */
  constructor(on) {
    this.on = on;
    /** @type {Way} */
    this.way = "text";
    /** @type {FilmUse} */
    this.use = "source";
    /** @type {"crop" | "pad"} */
    this.fit = "crop";
    /** @type {{ name: string, kind: "image" | "film" } | null} newest file of this session */
    this.brought = null;
    /** @type {ModelFacts | null} */
    this.model = null;
    /** @type {ModelFacts[]} */
    this.models = [];
    this.ways = make("div", { className: "segments", role: "radiogroup", ariaLabel: message("input.title") });
    this.file = make("input", { type: "file", ariaLabel: message("input.file") });
    this.file.dataset.lt = "input-file";
    this.file.onchange = () => {
      const [file] = this.file.files ?? [];
      this.file.value = ""; // so that the same file can be chosen again
      if (file) on.file(file);
    };
    this.drop = make("label", { className: "drop" }, icon("download"), message("input.drop"), this.file);
    this.uses = this.#either(
      "lt-use",
      message("input.use"),
      [
        ["source", message("input.use.source")],
        ["start", message("input.use.start")],
      ],
      (value) => {
        this.use = /** @type {FilmUse} */ (value);
        if (this.brought?.kind === "film") on.again();
      },
    );
    this.fits = this.#either(
      "lt-fit",
      message("input.fit"),
      [
        ["crop", message("input.fit.crop")],
        ["pad", message("input.fit.pad")],
      ],
      (value) => {
        this.fit = /** @type {"crop" | "pad"} */ (value);
        if (this.brought) on.again();
      },
    );
    this.again = make("button", { type: "button", textContent: message("input.again") });
    this.again.dataset.lt = "input-again";
    this.again.onclick = () => on.again();
    this.camera = make("button", { type: "button" });
    this.camera.dataset.lt = "input-camera";
    this.camera.onclick = () => on.camera();
    this.help = make("p", { className: "help" });
    this.help.dataset.lt = "input-help";
    this.element = make(
      "div",
      { className: "bring" },
      this.uses,
      this.drop,
      this.fits,
      this.again,
      this.camera,
      this.help,
    );
    this.#drawWays();
  }

  /** Return whether what is chosen is followed, so that strength and part matter. */
  get steers() {
    return this.way === "camera" || (this.way === "film" && this.use === "source");
  }

  /**
   * @param {ModelFacts} model
   * @param {ModelFacts[]} models
   */
  offer(model, models) {
    this.model = model;
    this.models = models;
    if (this.way !== "text" && !model.inputs.includes(this.way)) this.way = "text";
    this.#drawWays();
  }

  #drawWays() {
    const { model } = this;
    const rows = WAYS.map(([way, name, picture]) => {
      const word = message(name);
      const input = make("input", { type: "radio", name: "lt-input", value: way, ariaLabel: word });
      input.checked = way === this.way;
      input.disabled = way !== "text" && !model?.inputs.includes(way);
      input.onchange = () => {
        this.way = way;
        this.on.chosen();
      };
      return make(
        "label",
        { title: model && input.disabled ? this.lacks(way) : "" },
        input,
        icon(picture),
        word,
      );
    });
    this.ways.replaceChildren(...rows);
  }

  /**
   * Say which models have what the present one lacks.
   *
   * @param {Way} way
   */
  lacks(way) {
    const others = this.models.filter(({ inputs }) => way !== "text" && inputs.includes(way));
    const names = others.slice(0, MOST_NAMED).map(({ name }) => name);
    const more = others.length - names.length;
    const all = [...names, ...(more ? [message("input.more", { count: more })] : [])].join(", ");
    const model = this.model?.name ?? message("input.lacks.this");
    const lack = way === "text" ? "" : message(`input.lacks.${way}`, { model });
    if (!all) return message("input.lacks.none", { lack });
    return message("input.lacks.others", { lack, names: all, n: others.length });
  }

  /**
   * Choose a way. Returns whether the model has it.
   *
   * @param {InputKind} way
   */
  choose(way) {
    if (!this.model?.inputs.includes(way)) return false;
    this.way = way;
    for (const input of this.ways.querySelectorAll("input")) input.checked = input.value === way;
    this.on.chosen();
    return true;
  }

  /**
   * @param {{ live: boolean, filming: boolean }} now whether there is a session, and whether the camera is on
   */
  draw({ live, filming }) {
    const { way } = this;
    if (!live) this.brought = null;
    this.drop.hidden = way === "text" || way === "camera";
    if (way === "image" || way === "film") this.file.accept = ACCEPTED[way];
    this.uses.hidden = way !== "film";
    this.fits.hidden = this.drop.hidden;
    this.again.hidden = this.brought?.kind !== way || this.steers;
    this.again.textContent = message(way === "film" ? "input.again.film" : "input.again");
    this.camera.hidden = way !== "camera";
    this.camera.textContent = message(filming ? "input.camera.off" : "input.camera.on");
    const missing = WAYS.filter(([one]) => one !== "text" && this.model && !this.model.inputs.includes(one));
    this.help.textContent = [message(`input.${way}.help`), ...missing.map(([one]) => this.lacks(one))].join(
      " ",
    );
  }

  /**
   * @param {string} name
   * @param {string} label
   * @param {[string, string][]} values the first is chosen
   * @param {(value: string) => void} chosen
   */
  #either(name, label, values, chosen) {
    const choices = values.map(([value, word], i) => {
      const input = make("input", { type: "radio", name, value, checked: !i });
      input.onchange = () => {
        chosen(value);
        this.on.chosen();
      };
      return make("label", {}, input, word);
    });
    return make("div", { className: "segments", role: "radiogroup", ariaLabel: label }, ...choices);
  }
}
