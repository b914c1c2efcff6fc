// @ts-check
// Runs the stage of an avatar: the chosen face before the start, then its picture, then the newest frame of it.

import { part } from "./elements.js";
import { LastFrame } from "./last_frame.js";

const COPY_EVERY = 500; // ms

export class AvatarStage {
  /** @param {HTMLElement} root */
  constructor(root) {
    this.root = root;
    this.video = part(root, "video", HTMLVideoElement);
    this.chosen = part(root, "chosen", HTMLImageElement);
    this.last = new LastFrame(
      this.video,
      part(root, "last", HTMLCanvasElement),
      part(root, "ambient", HTMLCanvasElement),
    );
    const element = part(root, "stage", HTMLElement);
    part(root, "full", HTMLButtonElement).onclick = () => {
      if (document.fullscreenElement) document.exitFullscreen();
      else element.requestFullscreen?.(); // not on every phone
    };
    setInterval(() => this.#copy(), COPY_EVERY);
  }

  /**
   * Show the face that is chosen for the next start.
   *
   * @param {string} src
   */
  choose(src) {
    this.chosen.src = src;
    this.last.kept = false;
    this.draw(this.root.dataset.state === "live", true);
  }

  /**
   * @param {boolean} joined whether there is a session
   * @param {boolean} connected whether its picture arrives
   */
  draw(joined, connected) {
    if (!connected) this.last.keep();
    this.root.dataset.state = joined ? "live" : "before";
    const { canvas, kept } = this.last;
    canvas.hidden = !kept || (joined && connected);
    this.chosen.hidden = joined ? Boolean(this.video.videoWidth) || kept : kept || !this.chosen.src;
    if (!joined || this.chosen.hidden) return;
    this.video.addEventListener("playing", () => this.#reveal(), { once: true });
  }

  #reveal() {
    if (this.root.dataset.state === "live") this.chosen.hidden = true;
  }

  #copy() {
    if (document.hidden) return;
    if (this.chosen.hidden && this.last.canvas.hidden) this.last.keep();
    this.last.tint(
      !this.chosen.hidden ? this.chosen : !this.last.canvas.hidden ? this.last.canvas : this.video,
    );
  }
}
