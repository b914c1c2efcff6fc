// @ts-check
// Draws a take as blocks that say what changed, with a ruler, pictures, the playhead and what has left memory.

import { make, part } from "./elements.js";
import { Filmstrip } from "./filmstrip.js";
import { changeLabel, clock, frameOf } from "./scene_labels.js";
import { inputLabel, scenesOf, signOf } from "./scenes.js";
import { drawBlocks, joinNarrow } from "./timeline_blocks.js";

/** @import { Phrases } from "./scene_labels.js" */
/** @import { Scene } from "./scenes.js" */
/** @import { Block, Sight } from "./timeline_blocks.js" */
/** @import { CueToCome, StatusEvent, TimelineEvent } from "./types.js" */

const STEPS = [1, 2, 5, 10, 30, 60, 300, 600]; // seconds between two marks of the ruler
const MARK_WIDTH = 70; // pixels between two marks, at least
const ROOM = 0.12; // of the length of a take that goes on, for what is to come
const HALF_A_PIXEL = 0.5; // by which what is drawn may be out of place
const WIDTH_UNSEEN = 400; // pixels that are drawn for while nothing of the timeline is in sight
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
    this.zoomed = 1; // 1: the whole take
    this.version = 0; // of the cues
    this.wholeDrawn = 0; // latents of the whole width for which the blocks were drawn
    this.drawn = ""; // what the blocks were drawn from
    /** @type {{ known: Phrases, labels: Map<string, string> }} labels by the prompt before and the prompt */
    this.labelled = { known: this.known, labels: new Map() };
    this.atEnd = true; // whether the end of the take is in sight, and is kept there
    this.reel.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    new ResizeObserver(() => this.draw()).observe(this.reel);
  }

  /** @param {TimelineEvent} event */
  follow(event) {
    if (event.take !== this.take) {
      const [parent, latent] = (event.parent ?? "").split("@");
      this.film.forget(parent === this.take && latent ? Number(latent) : 0);
    }
    this.take = event.take;
    this.cues = scenesOf(event.cues);
    this.version += 1;
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
    const before = this.cues[index - 1]?.prompt ?? "";
    if (scene && !scene.prompted) return inputLabel(scene, (latent) => clock(this.seconds(latent)));
    return this.#changed(before, scene?.prompt ?? "");
  }

  /**
   * Say what a prompt changes. Comparing two prompts takes a while, so that it is done once.
   *
   * @param {string} before
   * @param {string} prompt
   */
  #changed(before, prompt) {
    const { labels } = this.labelled;
    const key = `${before}\n${prompt}`;
    const label = labels.get(key) ?? changeLabel(before, prompt, this.known);
    labels.set(key, label);
    return label;
  }

  draw() {
    const { playhead = 0, oldest = 0 } = this.status ?? {};
    const { whole } = this;
    const width = this.reel.clientWidth || WIDTH_UNSEEN;
    const scale = (width * this.zoomed) / whole;
    /** @param {number} latent */
    const share = (latent) => `${(100 * Math.min(latent, whole)) / whole}%`;
    this.gone.style.width = share(oldest ?? 0);
    this.head.style.left = share(playhead);
    if (Math.abs(whole - this.wholeDrawn) * scale >= HALF_A_PIXEL) this.wholeDrawn = whole;
    const toCome = this.toCome
      .map((cue) => (cue.id === this.dragged?.id ? { ...cue, at: this.dragged.at } : cue))
      .sort((a, b) => a.at - b.at);
    const now = this.cueAt(playhead);
    const page = Math.floor(this.reel.scrollLeft / width);
    const { version, wholeDrawn, waits, zoomed } = this;
    const drawn = JSON.stringify([version, wholeDrawn, now, page, width, zoomed, waits, toCome]);
    if (drawn === this.drawn && this.labelled.known === this.known) return;
    this.drawn = drawn;
    if (this.labelled.known !== this.known) this.labelled = { known: this.known, labels: new Map() };
    // the width of the reel on each side of what is in sight, so that scrolling shows no gap
    const sight = { from: ((page - 1) * width) / scale, to: ((page + 3) * width) / scale, scale, share };
    const blocks = [...joinNarrow(this.#past(now), scale), ...this.#coming(toCome)];
    this.blocks.replaceChildren(...drawBlocks(blocks, sight));
    this.#drawRuler(sight);
    this.film.draw(this.strip, whole, sight);
    this.#keepEndInSight();
  }

  /**
   * Return the blocks of the scenes so far.
   *
   * @param {number} now number of the one that plays
   * @returns {Block[]}
   */
  #past(now) {
    return this.cues.map((cue, i) => ({
      from: cue.landed ?? 0,
      to: this.cues[i + 1]?.landed ?? this.length,
      label: () => this.label(i),
      title: cue.prompt ?? "",
      plays: i === now,
      sign: signOf(cue),
      hue: (i * 67 + 210) % 360,
    }));
  }

  /**
   * Return the blocks of the prompt that waits to land, and of those that wait for their time.
   *
   * @param {CueToCome[]} toCome
   * @returns {Block[]}
   */
  #coming(toCome) {
    const { length, whole } = this;
    const last = this.cues.at(-1)?.prompt ?? "";
    const next = this.waits.slice(0, 1).map((prompt) => ({
      from: length,
      to: length * (1 + ROOM),
      label: () => this.#changed(last, prompt),
      title: prompt,
      waits: true,
    }));
    const planned = toCome.map((cue, i) => ({
      from: cue.at,
      to: Math.min(toCome[i + 1]?.at ?? whole, cue.at + whole * ROOM),
      label: () => this.#changed(toCome[i - 1]?.prompt ?? last, cue.prompt),
      title: cue.prompt,
      waits: true,
      cue: cue.id,
    }));
    return [...next, ...planned];
  }

  /** @param {Sight} sight */
  #drawRuler({ from, to, scale, share }) {
    if (!this.ruler.clientWidth) return; // it is folded
    const second = (scale * this.fps) / 4; // pixels
    const step = STEPS.find((one) => one * second >= MARK_WIDTH) ?? 1800;
    const marks = [];
    const end = Math.min(this.seconds(this.whole), this.seconds(to));
    for (let at = step * Math.floor(this.seconds(from) / step); at <= end; at += step) {
      const mark = make("span", { textContent: clock(at) });
      mark.style.left = share((at * this.fps) / 4);
      marks.push(mark);
    }
    this.ruler.replaceChildren(...marks);
  }

  #scrolled() {
    const { scrollLeft, scrollWidth, clientWidth } = this.reel;
    this.atEnd = scrollLeft + clientWidth >= scrollWidth - 1;
    this.draw();
  }

  #keepEndInSight() {
    if (this.atEnd && !this.reel.matches(":hover")) this.reel.scrollLeft = this.reel.scrollWidth;
  }

  /** @param {number} zoom 1: the whole take */
  zoom(zoom) {
    this.zoomed = zoom;
    this.element.style.width = `${100 * zoom}%`;
    this.drawn = "";
    this.draw();
  }
}
