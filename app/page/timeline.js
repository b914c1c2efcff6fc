// @ts-check
// Draws a take as blocks that say what changed, with a ruler, pictures, the playhead and what has left memory.

import { make, part } from "./elements.js";
import { Filmstrip } from "./filmstrip.js";
import { icon } from "./icons.js";
import { changeLabel, clock, frameOf } from "./scene_labels.js";
import { inputLabel, scenesOf, signOf } from "./scenes.js";

/** @import { Phrases } from "./scene_labels.js" */
/** @import { Scene } from "./scenes.js" */
/** @import { StatusEvent, TimelineEvent } from "./types.js" */

const STEPS = [1, 2, 5, 10, 30, 60, 300, 600]; // seconds between two marks of the ruler
const MARK_WIDTH = 70; // pixels between two marks, at least
const WAITING_SHARE = 0.12; // of the width, for a prompt that waits

export class Timeline {
  /** @param {HTMLElement} root */
  constructor(root) {
    this.element = part(root, "timeline", HTMLElement);
    this.reel = part(root, "reel", HTMLElement);
    this.ruler = part(root, "ruler", HTMLElement);
    this.strip = part(root, "strip", HTMLCanvasElement);
    this.blocks = part(root, "blocks", HTMLElement);
    this.gone = part(root, "gone", HTMLElement);
    this.head = part(root, "head", HTMLElement);
    this.film = new Filmstrip();
    /** @type {Phrases} */
    this.known = {};
    this.take = "";
    this.fps = 16;
    /** @type {Scene[]} */
    this.cues = [];
    /** @type {string[]} prompts that wait to land */
    this.waits = [];
    /** @type {StatusEvent | null} */
    this.status = null;
    this.drawn = ""; // what the blocks were drawn from
  }

  /** @param {TimelineEvent} event */
  follow(event) {
    if (event.take !== this.take) {
      const [parent, latent] = (event.parent ?? "").split("@");
      this.film.forget(parent === this.take && latent ? Number(latent) : 0);
    }
    this.take = event.take;
    this.cues = scenesOf(event.cues);
    this.draw();
  }

  /** Return the length of the take in latents. */
  get length() {
    return Math.max(this.status?.latent ?? 0, 1);
  }

  /**
   * Return the number of the prompt that plays at a latent; -1 before the first.
   *
   * @param {number} latent
   */
  cueAt(latent) {
    return this.cues.findLastIndex((cue) => (cue.landed ?? 0) <= latent);
  }

  /** @param {number} latent */
  seconds(latent) {
    return frameOf(latent) / this.fps;
  }

  /** @param {number} index of a prompt */
  label(index) {
    const scene = this.cues[index];
    if (scene && !scene.prompted) return inputLabel(scene, (latent) => clock(this.seconds(latent)));
    return changeLabel(this.cues[index - 1]?.prompt ?? "", this.cues[index]?.prompt ?? "", this.known);
  }

  draw() {
    const { playhead = 0, oldest = 0 } = this.status ?? {};
    const room = this.waits.length ? 1 + WAITING_SHARE : 1;
    const whole = this.length * room;
    /** @param {number} latent */
    const share = (latent) => `${(100 * Math.min(latent, whole)) / whole}%`;
    this.gone.style.width = share(oldest ?? 0);
    this.head.style.left = share(playhead);
    const drawn = JSON.stringify([
      this.cues,
      this.waits,
      Math.round(whole),
      Math.floor(playhead),
      this.known.subject,
    ]);
    if (drawn === this.drawn) return;
    this.drawn = drawn;
    const now = this.cueAt(playhead);
    const ends = this.cues.map((_, i) => this.cues[i + 1]?.landed ?? this.length);
    const blocks = this.cues.map((cue, i) => {
      const from = cue.landed ?? 0;
      const block = make("div", { className: i === now ? "block now" : "block", title: cue.prompt ?? "" });
      const sign = signOf(cue);
      if (sign) block.append(icon(sign));
      block.append(this.label(i));
      block.style.left = share(from);
      block.style.width = share(Math.max((ends[i] ?? from) - from, 0));
      block.style.setProperty("--hue", String((i * 67 + 210) % 360));
      return block;
    });
    const last = this.cues.at(-1)?.prompt ?? "";
    const [next] = this.waits;
    if (next) {
      const block = make("div", {
        className: "block waits",
        textContent: changeLabel(last, next, this.known),
        title: next,
      });
      block.style.left = share(this.length);
      block.style.width = share(this.length * WAITING_SHARE);
      blocks.push(block);
    }
    this.blocks.replaceChildren(...blocks);
    this.#drawRuler(whole, share);
    this.film.draw(this.strip, whole);
    this.#keepHeadInSight();
  }

  /**
   * @param {number} whole latents over the whole width
   * @param {(latent: number) => string} share
   */
  #drawRuler(whole, share) {
    const width = this.ruler.clientWidth;
    if (!width) return; // it is folded
    const seconds = this.seconds(whole);
    const step = STEPS.find((one) => (one / seconds) * width >= MARK_WIDTH) ?? 1800;
    const marks = [];
    for (let at = 0; at <= seconds; at += step) {
      const mark = make("span", { textContent: clock(at) });
      mark.style.left = share((at * this.fps) / 4);
      marks.push(mark);
    }
    this.ruler.replaceChildren(...marks);
  }

  #keepHeadInSight() {
    const { scrollWidth, clientWidth } = this.reel;
    if (scrollWidth > clientWidth + 1 && !this.reel.matches(":hover")) this.reel.scrollLeft = scrollWidth;
  }

  /** @param {number} zoom 1: the whole take */
  zoom(zoom) {
    this.element.style.width = `${100 * zoom}%`;
    this.drawn = "";
    this.draw();
  }
}
