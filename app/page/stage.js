// @ts-check
// Runs the stage: the picture, its blurred surroundings, the newest frame when the picture stops, and words over it.

import { part, show } from "./elements.js";
import { LastFrame } from "./last_frame.js";

/** @import { StageState, Words } from "./stage_state.js" */

const COPY_EVERY = 500; // ms
const SAMPLED = new Set(["first", "busy", "failed"]); // states that show the sample
const PLAYING = new Set(["live", "paused"]); // states that show the session's own picture

export class Stage {
  /** @param {HTMLElement} root */
  constructor(root) {
    this.root = root;
    this.element = part(root, "stage", HTMLElement);
    this.video = part(root, "video", HTMLVideoElement);
    this.last = new LastFrame(
      this.video,
      part(root, "last", HTMLCanvasElement),
      part(root, "ambient", HTMLCanvasElement),
    );
    this.sample = part(root, "sample", HTMLVideoElement);
    this.overlay = part(root, "overlay", HTMLElement);
    this.status = part(root, "status", HTMLElement);
    this.title = part(root, "title", HTMLElement);
    this.word = part(root, "word", HTMLElement);
    this.progress = part(root, "progress", HTMLProgressElement);
    this.facts = part(root, "facts", HTMLElement);
    this.why = part(root, "why", HTMLElement);
    this.plain = part(root, "plain", HTMLButtonElement);
    /** @type {StageState} */
    this.state = "first";
    this.sample.poster = new URL("media/sample.webp", import.meta.url).href;
    this.#tools();
    setInterval(() => this.#copy(), COPY_EVERY);
  }

  /**
   * Show a state.
   *
   * @param {StageState} state
   * @param {Words} words
   */
  show(state, words) {
    if (state !== this.state && PLAYING.has(this.state)) this.last.keep();
    this.state = this.root.dataset.state = state;
    this.word.textContent = words.badge;
    this.title.textContent = words.title;
    this.title.hidden = !words.title;
    if (this.status.textContent !== words.text) show(this.status, words.text, words.bad);
    this.progress.hidden = !words.progress;
    if (words.progress) Object.assign(this.progress, words.progress);
    this.overlay.hidden = state === "live";
    this.facts.hidden = !SAMPLED.has(state);
    for (const button of this.overlay.querySelectorAll("[data-when]")) {
      const when = button.getAttribute("data-when") ?? "";
      if (button instanceof HTMLElement) button.hidden = !when.split(" ").includes(state);
    }
    this.why.hidden ||= !words.bad;
    this.#layers();
  }

  /** Show the layers of the present state: the sample, the newest frame, or the session's picture. */
  #layers() {
    const sampled = SAMPLED.has(this.state) || (this.state === "starting" && !this.last.kept);
    if (sampled === this.sample.hidden) {
      this.sample.hidden = !sampled;
      if (sampled) this.#playSample();
      else this.sample.pause();
    }
    if (PLAYING.has(this.state)) this.#revealPicture();
    else this.last.canvas.hidden = sampled || !this.last.kept;
    this.video.classList.toggle("behind", !this.last.canvas.hidden || sampled);
  }

  /** Take the kept frame away once a newer one is on the screen. */
  #revealPicture() {
    if (this.last.canvas.hidden) return;
    const reveal = () => {
      if (PLAYING.has(this.state)) this.last.canvas.hidden = true;
    };
    if (this.state === "live" && "requestVideoFrameCallback" in this.video) {
      this.video.requestVideoFrameCallback(reveal);
    } else reveal();
  }

  #playSample() {
    if (!this.sample.src) this.sample.src = new URL("media/sample.mp4", import.meta.url).href;
    if (matchMedia("(prefers-reduced-motion: reduce)").matches) return;
    this.sample.play().catch(() => {}); // the poster stays
  }

  #copy() {
    if (document.hidden) return;
    const { canvas } = this.last;
    if (PLAYING.has(this.state) && canvas.hidden) this.last.keep();
    this.last.tint(!this.sample.hidden ? this.sample : !canvas.hidden ? canvas : this.video);
  }

  /**
   * Return the picture that is shown as an image file in a data URL; empty while there is none.
   *
   * @param {number} size pixels of its longer side; 0: as large as it is
   * @param {"image/png" | "image/jpeg"} type
   */
  picture(size, type) {
    this.last.keep();
    if (!this.last.kept) return "";
    const { canvas } = this.last;
    if (!size) return canvas.toDataURL(type);
    const scale = size / Math.max(canvas.width, canvas.height);
    const copy = document.createElement("canvas");
    Object.assign(copy, { width: canvas.width * scale, height: canvas.height * scale });
    copy.getContext("2d")?.drawImage(canvas, 0, 0, copy.width, copy.height);
    return copy.toDataURL(type, 0.7);
  }

  fullScreen() {
    if (document.fullscreenElement) document.exitFullscreen();
    else this.element.requestFullscreen?.(); // not on every phone
  }

  /** Save the picture as a PNG file. */
  snapshot() {
    const href = this.picture(0, "image/png");
    if (!href) return;
    const link = document.createElement("a");
    Object.assign(link, { href, download: `longtake-${new Date().toISOString().slice(0, 19)}.png` });
    link.click();
  }

  #tools() {
    part(this.root, "full", HTMLButtonElement).onclick = () => this.fullScreen();
    part(this.root, "shot", HTMLButtonElement).onclick = () => this.snapshot();
    this.plain.onclick = () => {
      this.plain.ariaPressed = String(this.root.classList.toggle("plain"));
    };
    const small = part(this.root, "pip", HTMLButtonElement);
    small.hidden = !document.pictureInPictureEnabled;
    small.onclick = () => {
      if (document.pictureInPictureElement) document.exitPictureInPicture();
      else this.video.requestPictureInPicture().catch(() => {}); // refused before the first frame
    };
  }
}
