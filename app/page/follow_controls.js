// @ts-check
// Runs the controls of what is followed: how far the picture may leave it, and which part of the picture is drawn.

import { make } from "./elements.js";
import { WHOLE } from "./input_state.js";
import { decimals, message } from "./messages.js";

/** @import { Box } from "./region_drawer.js" */
/** @import { Followed } from "./input_state.js" */
/** @import { ModelFacts } from "./api.js" */

/** @type {("left" | "top" | "width" | "height")[]} */
const SIDES = ["left", "top", "width", "height"];
/** @type {Box} */
const ALL = [0, 0, 100, 100];

/**
 * @typedef {object} FollowListener
 * @property {(change: { strength?: number, region?: string }) => void} change called when a person has changed something
 * @property {() => void} draw called when the part is to be drawn on the picture
 * @property {(box: Box | null) => void} show called with the part to show on the picture
 */

export class FollowControls {
  /** @param {FollowListener} on */
  constructor(on) {
    this.on = on;
    this.usual = 0.5;
    this.range = make("input", { type: "range", step: "0.01", id: "lt-strength" });
    this.range.dataset.lt = "strength";
    this.number = make("output", { className: "number" });
    this.range.oninput = () => this.#tell();
    this.range.onchange = () => on.change({ strength: this.range.valueAsNumber });
    this.sides = SIDES.map((side, i) => {
      const field = make("input", {
        type: "number",
        min: "0",
        max: "100",
        step: "1",
        ariaLabel: message("follow.percent", { side: message(`follow.${side}`) }),
      });
      field.valueAsNumber = ALL[i] ?? 0;
      field.dataset.lt = `region-${side}`;
      field.onchange = () => this.#typed();
      return field;
    });
    this.pen = make("button", { type: "button", textContent: message("follow.draw"), ariaPressed: "false" });
    this.pen.dataset.lt = "region-draw";
    this.pen.onclick = () => {
      this.pen.ariaPressed = String(this.pen.ariaPressed !== "true");
      on.draw();
    };
    this.whole = make("button", {
      type: "button",
      textContent: message("follow.all"),
      title: message("follow.all.note"),
    });
    this.whole.dataset.lt = "region-all";
    this.whole.onclick = () => this.take(ALL);
    const label = make("label", {
      htmlFor: "lt-strength",
      className: "name",
      textContent: message("follow.strength"),
    });
    this.element = make(
      "div",
      { className: "following" },
      make(
        "div",
        { className: "setting" },
        make("div", { className: "row" }, label, make("span", { className: "grow" }), this.number),
        this.range,
        make("p", {
          className: "help",
          textContent: message("follow.strength.note"),
        }),
      ),
      make(
        "fieldset",
        { className: "setting" },
        make("legend", { textContent: message("follow.part") }),
        make("div", { className: "row" }, this.pen, this.whole),
        make(
          "div",
          { className: "sides" },
          ...this.sides.map((field, i) => make("label", {}, message(`follow.${SIDES[i] ?? "left"}`), field)),
        ),
        make("p", {
          className: "help",
          textContent: message("follow.part.note"),
        }),
      ),
    );
  }

  /**
   * Follow the range of a model.
   *
   * @param {NonNullable<ModelFacts["strength"]>} strength
   */
  offer({ low, high, usual }) {
    Object.assign(this.range, { min: String(low), max: String(high) });
    this.usual = usual;
    this.range.valueAsNumber = usual;
    this.#tell();
  }

  /** Return what a command says of strength and region. */
  get chosen() {
    return { strength: this.range.valueAsNumber, region: this.region === WHOLE ? undefined : this.region };
  }

  get region() {
    return this.sides.map((field) => `${field.valueAsNumber}%`).join(", ");
  }

  /**
   * Show what the take does; a slider or a field that is held stays as it is.
   *
   * @param {Followed | null} followed
   */
  follow(followed) {
    if (!followed) return;
    if (!this.range.matches(":active")) this.range.valueAsNumber = followed.strength ?? this.usual;
    const box = followed.region.split(",").map((text) => Number.parseFloat(text));
    if (box.length === 4 && !this.element.contains(document.activeElement)) this.#fill(box);
    this.#tell();
  }

  /**
   * Take a part that was drawn; null: it was given up.
   *
   * @param {Box | null} box
   */
  take(box) {
    this.pen.ariaPressed = "false";
    if (!box) return;
    this.#fill(box);
    this.on.change({ region: this.region });
  }

  #typed() {
    const numbers = this.sides.map((field) => Math.round(field.valueAsNumber) || 0);
    const [left, top] = numbers.map((n) => Math.max(0, Math.min(99, n)));
    const width = Math.max(1, Math.min(100 - (left ?? 0), numbers[2] ?? 100));
    const height = Math.max(1, Math.min(100 - (top ?? 0), numbers[3] ?? 100));
    this.#fill([left ?? 0, top ?? 0, width, height]);
    this.on.change({ region: this.region });
  }

  /** @param {number[]} box */
  #fill(box) {
    for (const [i, field] of this.sides.entries()) field.valueAsNumber = box[i] ?? 0;
    this.on.show(this.region === WHOLE ? null : /** @type {Box} */ (box));
  }

  #tell() {
    const text = decimals(this.range.valueAsNumber, 2);
    if (this.number.textContent !== text) this.number.textContent = text;
  }
}
