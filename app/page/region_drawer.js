// @ts-check
// Shows on the picture which part of it is drawn, and lets a person draw that part by pointer.

import { make } from "./elements.js";

const LEAST = 5; // per cent of the picture's sides

/** @typedef {[number, number, number, number]} Box left, top, width and height in whole per cent of the picture */

export class RegionDrawer {
  /**
   * @param {HTMLElement} stage
   * @param {HTMLVideoElement} video that lies in it, as large as it fits
   * @param {(box: Box | null) => void} drawn called with the part that was drawn; null: it was given up
   */
  constructor(stage, video, drawn) {
    this.stage = stage;
    this.video = video;
    this.drawn = drawn;
    this.box = make("div", { className: "region", hidden: true });
    this.layer = make("div", { className: "regions", hidden: true }, this.box);
    this.layer.dataset.lt = "regions";
    this.drawing = false;
    /** @type {Box | null} */
    this.shown = null;
    stage.append(this.layer);
    new ResizeObserver(() => this.#place()).observe(stage);
    video.addEventListener("resize", () => this.#place());
    this.#listen();
  }

  /**
   * Show a part; null: none.
   *
   * @param {Box | null} box
   */
  show(box) {
    this.shown = box;
    if (!this.drawing) this.#draw(box);
  }

  /** Begin to draw, or give it up. */
  toggle() {
    this.drawing = !this.drawing;
    this.layer.classList.toggle("drawing", this.drawing);
    this.#draw(this.shown);
  }

  /** @param {Box | null} box */
  #draw(box) {
    this.layer.hidden = !box && !this.drawing;
    this.box.hidden = !box;
    this.#place();
    if (!box) return;
    const [left, top, width, height] = box.map((n) => `${n}%`);
    Object.assign(this.box.style, { left, top, width, height });
  }

  /** Lay the layer over the picture, which is as large as it fits into the stage. */
  #place() {
    const { videoWidth, videoHeight } = this.video;
    const { clientWidth, clientHeight } = this.stage;
    if (!videoWidth || this.layer.hidden) return;
    const scale = Math.min(clientWidth / videoWidth, clientHeight / videoHeight);
    const [width, height] = [videoWidth * scale, videoHeight * scale];
    const pixels = [(clientWidth - width) / 2, (clientHeight - height) / 2, width, height];
    const [left, top, across, down] = pixels.map((n) => `${n}px`);
    Object.assign(this.layer.style, { left, top, width: across, height: down });
  }

  #listen() {
    /** @type {[number, number] | null} */
    let from = null;
    /** @param {PointerEvent} e @returns {[number, number]} */
    const at = (e) => {
      const { left, top, width, height } = this.layer.getBoundingClientRect();
      return [share(e.clientX - left, width), share(e.clientY - top, height)];
    };
    this.layer.onpointerdown = (e) => {
      if (!this.drawing) return;
      e.preventDefault();
      this.layer.setPointerCapture(e.pointerId);
      from = at(e);
    };
    this.layer.onpointermove = (e) => {
      if (from) this.#draw(boxOf(from, at(e)));
    };
    this.layer.onpointerup = (e) => {
      if (!from) return;
      const box = boxOf(from, at(e));
      from = null;
      this.toggle();
      this.drawn(box[2] >= LEAST && box[3] >= LEAST ? box : null);
    };
    this.layer.onpointercancel = () => {
      from = null;
      this.#draw(this.shown);
    };
    addEventListener("keydown", (e) => {
      if (e.key !== "Escape" || !this.drawing) return;
      from = null;
      this.toggle();
      this.drawn(null);
    });
  }
}

/**
 * @param {number} part
 * @param {number} whole
 */
function share(part, whole) {
  return Math.max(0, Math.min(100, Math.round((100 * part) / whole)));
}

/**
 * @param {[number, number]} a corner
 * @param {[number, number]} b corner opposite to it
 * @returns {Box}
 */
function boxOf(a, b) {
  return [Math.min(a[0], b[0]), Math.min(a[1], b[1]), Math.abs(a[0] - b[0]), Math.abs(a[1] - b[1])];
}
