// @ts-check
// Shows a take as blocks of prompts, with the playhead and the part that one can no longer go back to.

import { make } from "./elements.js";

/** @import { StatusEvent, TimelineEvent } from "./types.js" */

const LEAST = 0.01; // latents: the least width of a block

export class Timeline {
  /** @param {HTMLElement} element */
  constructor(element) {
    this.element = element;
    /** @type {TimelineEvent["cues"]} */
    this.cues = [];
    /** @type {StatusEvent | null} */
    this.status = null;
  }

  draw() {
    const { latent = 0, playhead = 0, oldest = 0 } = this.status ?? {};
    const length = Math.max(latent, 1);
    /** @param {number | null} at */
    const share = (at) => `${(100 * Math.min(at ?? 0, length)) / length}%`;
    const gone = make("div", { className: "gone" });
    gone.style.width = share(oldest);
    const head = make("div", { className: "head" });
    head.style.left = share(playhead);
    this.element.replaceChildren(...this.#blocks(length), gone, head);
  }

  /** @param {number} length of the take in latents */
  #blocks(length) {
    const cues = this.cues.filter((cue) => cue.prompt);
    return cues.flatMap((cue, i) => {
      const last = i + 1 === cues.length;
      const from = cue.landed ?? 0;
      const to = last ? length : (cues[i + 1]?.landed ?? 0);
      if (to < from) return [];
      const block = make("div", {
        className: ["block", last ? "now" : "", cue.cut ? "cut" : ""].filter(Boolean).join(" "),
        title: `${cue.prompt} (from latent ${from})`,
        textContent: cue.prompt ?? "",
      });
      block.style.flexGrow = String(Math.max(to - from, LEAST));
      block.style.setProperty("--hue", String((i * 67 + 210) % 360));
      return [block];
    });
  }
}

/** A timeline that goes back to a latent at a click, and to the start with the Home key. */
export class RewindingTimeline extends Timeline {
  /**
   * @param {HTMLElement} element
   * @param {(latent: number) => void} rewind goes back to a latent
   */
  constructor(element, rewind) {
    super(element);
    element.onclick = (e) => rewind(this.#latentAt(e.clientX));
    element.onkeydown = (e) => {
      if (e.key === "Home") rewind(0);
    };
  }

  /** @override */
  draw() {
    super.draw();
    this.element.ariaValueMax = String(Math.max(this.status?.latent ?? 0, 1));
    this.element.ariaValueNow = String(this.status?.playhead ?? 0);
  }

  /** @param {number} x of the pointer in the window */
  #latentAt(x) {
    const box = this.element.getBoundingClientRect();
    const latent = Math.floor(((x - box.left) / box.width) * (this.status?.latent ?? 0));
    return latent > 0 ? Math.max(latent, this.status?.oldest ?? 0) : 0;
  }
}
