// @ts-check
// Lets a person choose what comes in: text alone, an image, a film or a camera, and how a file is used.

import { make } from "./elements.js";
import { icon } from "./icons.js";

/** @import { InputKind, ModelFacts } from "./api.js" */

/** @typedef {"text" | InputKind} Way */
/** @typedef {"source" | "start"} FilmUse */

/** @type {[Way, string, string][]} */
const WAYS = [
  ["text", "Text", "text"],
  ["image", "Image", "picture"],
  ["film", "Film", "film"],
  ["camera", "Camera", "camera"],
];
/** @type {Record<Way, string>} */
const HELP = {
  text: "Text alone steers. Drop a picture or a film here or on the picture.",
  image: "A new scene begins with the image at the next chunk; the prompt leads on from there.",
  film: "Follow: the take moves as the film does. Go on: a new scene goes on from the film's end.",
  camera: "The take moves as the camera's picture does. What it was given is kept beside the take.",
};
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
    this.ways = make("div", { className: "segments", role: "radiogroup", ariaLabel: "Input" });
    this.file = make("input", { type: "file", ariaLabel: "A file of yours" });
    this.file.dataset.lt = "input-file";
    this.file.onchange = () => {
      const [file] = this.file.files ?? [];
      this.file.value = ""; // so that the same file can be chosen again
      if (file) on.file(file);
    };
    this.drop = make(
      "label",
      { className: "drop" },
      icon("download"),
      "Choose, drop or paste a file",
      this.file,
    );
    this.uses = this.#either(
      "lt-use",
      "How the film is used",
      [
        ["source", "Follow it"],
        ["start", "Go on from its end"],
      ],
      (value) => {
        this.use = /** @type {FilmUse} */ (value);
        if (this.brought?.kind === "film") on.again();
      },
    );
    this.fits = this.#either(
      "lt-fit",
      "Another shape is",
      [
        ["crop", "Cropped"],
        ["pad", "Given bars"],
      ],
      (value) => {
        this.fit = /** @type {"crop" | "pad"} */ (value);
        if (this.brought) on.again();
      },
    );
    this.again = make("button", { type: "button", textContent: "Begin with it again" });
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
    const rows = WAYS.map(([way, word, picture]) => {
      const input = make("input", { type: "radio", name: "lt-input", value: way, ariaLabel: word });
      input.checked = way === this.way;
      input.disabled = way !== "text" && !model.inputs.includes(way);
      input.onchange = () => {
        this.way = way;
        this.on.chosen();
      };
      return make("label", { title: input.disabled ? this.lacks(way) : "" }, input, icon(picture), word);
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
    const all = [...names, ...(more ? [`${more} more`] : [])].join(", ");
    const which = all ? `${all} ${others.length > 1 ? "do" : "does"}` : "no model here does";
    return `${this.model?.name ?? "this model"} takes no ${way}; ${which}.`;
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
    this.again.textContent = way === "film" ? "Go on from it again" : "Begin with it again";
    this.camera.hidden = way !== "camera";
    this.camera.textContent = filming ? "Turn the camera off" : "Turn the camera on";
    const missing = WAYS.filter(([one]) => one !== "text" && this.model && !this.model.inputs.includes(one));
    this.help.textContent = [HELP[way], ...missing.map(([one]) => this.lacks(one))].join(" ");
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
