// @ts-check
// Draws a take as blocks that say what changed, with a ruler, pictures, the playhead and what has left memory.

import { make, part } from "./elements.js";
import { Filmstrip } from "./filmstrip.js";
import { icon } from "./icons.js";
import { changeLabel, clock, frameOf } from "./scene_labels.js";
import { inputLabel, scenesOf, signOf } from "./scenes.js";

/** @import { Phrases } from "./scene_labels.js" */
/** @import { Scene } from "./scenes.js" */
/** @import { CueToCome, StatusEvent, TimelineEvent } from "./types.js" */

const STEPS = [1, 2, 5, 10, 30, 60, 300, 600]; // seconds between two marks of the ruler
const MARK_WIDTH = 70; // pixels between two marks, at least
const ROOM = 0.12; // of the length of a take that goes on, for what is to come
const BEHIND_LAST = 1.25; // how much further the timeline reaches than the last prompt to come

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
    /** @type {CueToCome[]} prompts that wait for a latent, by latent */
    this.toCome = [];
    /** @type {{ id: number, at: number } | null} where one of them is dragged */
    this.dragged = null;
    this.goesOn = false; // whether there is a session, so that something can be asked for at a time to come
    this.chunk = 3; // latents
    this.firstChunk = 3; // latents
    /** @type {StatusEvent | null} */
    this.status = null;
    this.wholeBefore = 0; // latents of the whole width when a drag began
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
    this.toCome = event.to_come ?? [];
    this.draw();
  }

  /** Return how many latents the whole width stands for. */
  get whole() {
    const room = this.goesOn || this.waits.length ? 1 + ROOM : 1;
    const last = this.dragged ? 0 : (this.toCome.at(-1)?.at ?? 0);
    return Math.max(this.length * room, last * BEHIND_LAST, this.dragged ? this.wholeBefore : 0);
  }

  /**
   * Return the latent under a pointer; it may lie behind the end of what is drawn.
   *
   * @param {number} x of the pointer in the window
   */
  latentAt(x) {
    const box = this.blocks.getBoundingClientRect();
    return Math.max(0, Math.floor(((x - box.left) / box.width) * this.whole));
  }

  /**
   * Return the chunk border nearest to a latent, of those where something can still land.
   *
   * @param {number} latent
   */
  border(latent) {
    const { chunk, firstChunk: first } = this;
    return Math.max(this.status?.latent ?? 0, first + Math.round((latent - first) / chunk) * chunk);
  }

  /**
   * Return whether a prompt to come, other than `own`, lands where one for a latent does.
   *
   * @param {number} latent
   * @param {CueToCome} [own]
   */
  isTaken(latent, own) {
    const { chunk, firstChunk: first } = this;
    /** @param {number} at */
    const lands = (at) => Math.max(this.status?.latent ?? 0, first + Math.ceil((at - first) / chunk) * chunk);
    return this.toCome.some(({ id, at }) => id !== own?.id && lands(at) === lands(latent));
  }

  /** @param {number} seconds of the take */
  latentOf(seconds) {
    return Math.ceil((seconds * this.fps) / 4);
  }

  /**
   * Return the prompt that waits for the chunk at a latent.
   *
   * @param {number} latent
   */
  toComeAt(latent) {
    return this.toCome.find(({ at }) => at <= latent && latent < at + this.chunk);
  }

  /**
   * Show where a prompt to come is dragged; null: nowhere.
   *
   * @param {{ id: number, at: number } | null} dragged
   */
  drag(dragged) {
    if (dragged && !this.dragged) this.wholeBefore = this.whole; // the width stands still under the pointer
    this.dragged = dragged;
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
    const { whole } = this;
    const toCome = this.toCome
      .map((cue) => (cue.id === this.dragged?.id ? { ...cue, at: this.dragged.at } : cue))
      .sort((a, b) => a.at - b.at);
    /** @param {number} latent */
    const share = (latent) => `${(100 * Math.min(latent, whole)) / whole}%`;
    this.gone.style.width = share(oldest ?? 0);
    this.head.style.left = share(playhead);
    const drawn = JSON.stringify([
      this.cues,
      this.waits,
      toCome,
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
      block.style.width = share(this.length * ROOM);
      blocks.push(block);
    }
    for (const [i, cue] of toCome.entries()) {
      const block = make("div", {
        className: "block waits",
        textContent: changeLabel(toCome[i - 1]?.prompt ?? last, cue.prompt, this.known),
        title: cue.prompt,
      });
      block.dataset.cue = String(cue.id);
      block.style.left = share(cue.at);
      block.style.width = share(Math.min((toCome[i + 1]?.at ?? whole) - cue.at, whole * ROOM));
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
