// @ts-check
// Runs the stage of an avatar: the chosen face before the start, then its picture, then the newest frame of it; and the
// captions of what it says.

import { make, part } from "./elements.js";
import { LastFrame } from "./last_frame.js";

/** @import { CaptionEvent } from "./types.js" */

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
    this.caption = part(root, "caption", HTMLElement);
    this.captioned = ""; // name of the utterance that the caption is of
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

  /**
   * Show what is said, and in a dialogue by whom.
   *
   * @param {CaptionEvent} event
   */
  showCaption({ utterance, speaker, text }) {
    this.captioned = utterance;
    this.caption.replaceChildren(...(speaker ? [make("b", { textContent: `${speaker}: ` })] : []), text);
  }

  /**
   * Take the caption of an utterance away; without a name any.
   *
   * @param {string} [utterance]
   */
  endCaption(utterance = this.captioned) {
    if (utterance === this.captioned) this.caption.replaceChildren();
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
