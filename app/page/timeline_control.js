// @ts-check
// Lets a person look along the timeline by pointer and keys, and open the scene at a moment. Looking changes nothing.

import { make, part } from "./elements.js";
import { message } from "./messages.js";
import { clock } from "./scene_labels.js";

/** @import { CuesToCome } from "./cues_to_come.js" */
/** @import { Timeline } from "./timeline.js" */
/** @import { CueToCome } from "./types.js" */

const FAR = 5; // seconds of Page Up and Page Down
const MOST_ZOOM = 16;
const AHEAD = 60; // seconds behind the end to which the arrow keys go
const LATER = 10; // seconds behind the end, for which a button asks
const FOLDED_BELOW = 1000; // pixels of the window's height under which the pictures are folded at first
const KEPT_AS = "longtake.folded";
const SEEN = 6; // latents behind a scene's first one, at which it is seen; the picture in its row is as near to that
const THUMB = 56; // pixels of the sides of a picture in the list

/**
 * @typedef {object} SceneListener
 * @property {(latent: number) => void} recall brings the scene back that stood at a latent
 * @property {(latent: number) => void} branch goes back to a latent
 * @property {(text: string) => void} edit puts a prompt into the field
 * @property {(act: (cues: CuesToCome) => void) => void} planned does something with what is to come
 */

export class TimelineControl {
  /**
   * @param {HTMLElement} root
   * @param {Timeline} timeline
   * @param {SceneListener} on
   */
  constructor(root, timeline, on) {
    this.timeline = timeline;
    this.on = on;
    this.hover = part(root, "hover", HTMLElement);
    this.dialog = part(root, "scene", HTMLDialogElement);
    this.deck = part(root, "deck", HTMLElement);
    this.list = part(root, "cues", HTMLElement);
    /** @type {number | null} latent to which the keys have gone; null: the playhead */
    this.cursor = null;
    this.zoomed = 1;
    /** @type {Map<string, HTMLLIElement>} rows of the list by what they were made from */
    this.rows = new Map();
    /** @type {Map<HTMLCanvasElement, number>} pictures of the list that are empty so far -> latent of their scene */
    this.blank = new Map();
    const { element } = timeline;
    element.addEventListener("pointermove", (e) => this.#tell(timeline.latentAt(e.clientX)));
    element.addEventListener("pointerleave", () => this.#hide());
    element.addEventListener("blur", () => this.#hide());
    element.onclick = (e) => {
      const block = e.target instanceof Element ? e.target.closest("[data-cue]") : null;
      const cue = timeline.toCome.find(({ id }) => String(id) === block?.getAttribute("data-cue"));
      this.open(cue?.at ?? timeline.latentAt(e.clientX), cue);
    };
    element.onkeydown = (e) => this.#key(e);
    this.#zoom(part(root, "wider", HTMLButtonElement), part(root, "closer", HTMLButtonElement));
    this.#fold(part(root, "fold", HTMLButtonElement));
  }

  /** Draw what follows the status: the value for screen readers, and the list of cues on a phone. */
  draw() {
    const { element, status, length } = this.timeline;
    const at = this.cursor ?? status?.playhead ?? 0;
    element.ariaValueMax = String(Math.max(length, at));
    element.ariaValueNow = String(at);
    element.ariaValueText = `${clock(this.timeline.seconds(at))}, ${this.#about(at)}`;
    this.#illustrate();
  }

  /** Draw the pictures of the list that have been seen since; what has passed unseen stays empty. */
  #illustrate() {
    const { film, status } = this.timeline;
    for (const [picture, latent] of this.blank) {
      const seen = film.near(latent + SEEN, SEEN);
      if (seen) picture.getContext("2d")?.drawImage(seen, 0, 0);
      if (seen || (status?.playhead ?? 0) > latent + 3 * SEEN) this.blank.delete(picture);
    }
  }

  /**
   * Return what plays at a latent, or will play.
   *
   * @param {number} latent
   */
  #about(latent) {
    const { timeline } = this;
    const cue = timeline.toComeAt(latent);
    if (cue) return message("cue.label", { prompt: cue.prompt });
    return latent > timeline.length ? message("cue.free") : timeline.label(timeline.cueAt(latent));
  }

  /** Draw the list of cues, the newest first, behind those that are to come. */
  drawList() {
    const { toCome, goesOn } = this.timeline;
    /**
     * @param {number} latent
     * @param {string} label
     * @param {CueToCome} [cue]
     */
    const planned = (latent, label, cue) => {
      const time = make("span", {
        className: "number pale",
        textContent: clock(this.timeline.seconds(latent)),
      });
      const button = make("button", {}, time, make("span", { className: "clipped", textContent: label }));
      button.onclick = () => this.on.planned((cues) => cues.open(latent, cue));
      return make("li", { className: "planned" }, button);
    };
    const later = this.timeline.length + this.timeline.latentOf(LATER);
    const coming = toCome
      .map((cue) => planned(cue.at, message("cue.label", { prompt: cue.prompt }), cue))
      .reverse();
    const rows = this.timeline.cues.map((_, i) => this.#row(i));
    this.rows = new Map(rows);
    const more = goesOn ? [planned(later, message("cue.more"))] : [];
    const focused = document.activeElement; // rows are put in again, which takes the focus from them
    this.list.replaceChildren(...more, ...coming, ...rows.map(([, row]) => row).reverse());
    for (const picture of this.blank.keys()) if (!picture.isConnected) this.blank.delete(picture);
    if (focused instanceof HTMLElement && this.list.contains(focused)) focused.focus({ preventScroll: true });
  }

  /**
   * Return the row of a scene with what it was made from. One that is there already is taken again: an hour has hundreds.
   *
   * @param {number} index
   * @returns {[string, HTMLLIElement]}
   */
  #row(index) {
    const { timeline } = this;
    const at = timeline.cues[index]?.landed ?? 0;
    const title = timeline.cues[index]?.prompt ?? "";
    const label = timeline.label(index);
    const key = JSON.stringify([at, title, label]);
    const kept = this.rows.get(key);
    if (kept) return [key, kept];
    const time = make("span", { className: "number pale", textContent: clock(timeline.seconds(at)) });
    const picture = make("canvas", { width: THUMB, height: THUMB, ariaHidden: "true" });
    this.blank.set(picture, at);
    const button = make(
      "button",
      { title },
      picture,
      time,
      make("span", { className: "clipped", textContent: label }),
    );
    button.onclick = () => this.open(at);
    return [key, make("li", {}, button)];
  }

  /**
   * Show the time and the picture at a latent, above it.
   *
   * @param {number} latent
   */
  #tell(latent) {
    const { timeline } = this;
    const picture = timeline.film.near(latent, 6);
    const time = `${clock(timeline.seconds(latent), 1)} · ${this.#about(latent)}`;
    const copy = picture && make("canvas", { width: picture.width, height: picture.height });
    if (picture) copy?.getContext("2d")?.drawImage(picture, 0, 0);
    this.hover.replaceChildren(...(copy ? [copy] : []), time);
    this.hover.hidden = false;
    const box = timeline.blocks.getBoundingClientRect();
    const deck = this.deck.getBoundingClientRect();
    const x = box.left - deck.left + Math.min(1, latent / timeline.whole) * box.width;
    const half = this.hover.offsetWidth / 2;
    this.hover.style.left = `${Math.max(half, Math.min(deck.width - half, x))}px`;
  }

  #hide() {
    this.hover.hidden = true;
    this.cursor = null;
  }

  /** @param {KeyboardEvent} e */
  #key(e) {
    const { length, status, fps, goesOn, chunk, toCome } = this.timeline;
    const at = this.cursor ?? status?.playhead ?? 0;
    const last = goesOn ? Math.max(length + this.timeline.latentOf(AHEAD), toCome.at(-1)?.at ?? 0) : length;
    const cue = this.timeline.toComeAt(at);
    if (cue && this.#change(e, cue)) {
      e.preventDefault();
      return;
    }
    const far = (FAR * fps) / 4;
    /** @type {Record<string, number>} */
    const goes = {
      ArrowLeft: at - chunk,
      ArrowRight: at + chunk,
      PageUp: at - far,
      PageDown: at + far,
      Home: 0,
      End: length,
    };
    const to = goes[e.key];
    if (e.key === "Enter") this.open(Math.floor(at));
    else if (to === undefined) return;
    else {
      this.cursor = Math.max(0, Math.min(last, to));
      this.#tell(this.cursor);
      this.draw();
    }
    e.preventDefault();
  }

  /**
   * Move or take back the prompt to come that the keys have gone to. Returns whether the key does so. One that is moved
   * leaps over others.
   *
   * @param {KeyboardEvent} e
   * @param {CueToCome} cue
   */
  #change(e, cue) {
    const { timeline } = this;
    const { chunk, status } = timeline;
    const step = { ArrowLeft: -chunk, ArrowRight: chunk }[e.key];
    if (e.altKey && step) {
      const soonest = status?.latent ?? 0;
      let to = timeline.border(cue.at);
      do to += step;
      while (to > soonest && timeline.isTaken(to, cue));
      to = Math.max(soonest, to);
      if (!timeline.isTaken(to, cue)) this.cursor = to; // else it stays
      this.on.planned((cues) => cues.move(cue, to));
    } else if (e.key === "Delete" || e.key === "Backspace") this.on.planned((cues) => cues.takeBack(cue));
    else return false;
    return true;
  }

  /**
   * Open the scene at a latent, and offer to bring it back or to branch there, or what is to come there.
   *
   * @param {number} latent
   * @param {CueToCome} [planned] what is to come there
   */
  open(latent, planned = this.timeline.toComeAt(latent)) {
    const { timeline } = this;
    if (timeline.goesOn && (latent > timeline.length || planned)) {
      this.#hide();
      this.on.planned((cues) => cues.open(latent, planned));
      return;
    }
    const index = timeline.cueAt(latent);
    const cue = timeline.cues[index];
    if (!cue?.prompt) return;
    const text = cue.prompt;
    const oldest = timeline.status?.oldest ?? null;
    const held = latent === 0 || (oldest !== null && latent >= oldest);
    const reach =
      oldest === null
        ? message("scene.reach.start")
        : message("scene.reach", { time: clock(timeline.seconds(oldest)) });
    const title = `${clock(timeline.seconds(latent), 1)} · ${timeline.label(index)}`;
    this.dialog.replaceChildren(
      make("h2", { textContent: title }),
      make("p", { className: "what soft", textContent: text }),
      make("p", { className: "help", textContent: held ? "" : reach }),
      make(
        "div",
        { className: "row" },
        this.#button(message("scene.recall"), "recall", () => this.on.recall(latent), "go"),
        this.#button(message("scene.branch"), "branch", () => this.on.branch(latent), "", !held),
        this.#button(message("scene.edit"), "edit", () => this.on.edit(text)),
        this.#button(message("scene.close"), "close", () => {}, "quiet"),
      ),
    );
    this.#hide();
    this.dialog.showModal();
  }

  /**
   * @param {string} textContent
   * @param {string} name
   * @param {() => void} act
   * @param {string} className
   */
  #button(textContent, name, act, className = "", disabled = false) {
    const button = make("button", { textContent, className, disabled });
    button.dataset.lt = `scene-${name}`;
    button.onclick = () => {
      this.dialog.close();
      act();
    };
    return button;
  }

  /**
   * @param {HTMLButtonElement} wider
   * @param {HTMLButtonElement} closer
   */
  #zoom(wider, closer) {
    /** @param {number} factor */
    const by = (factor) => {
      this.zoomed = Math.max(1, Math.min(MOST_ZOOM, this.zoomed * factor));
      wider.disabled = this.zoomed <= 1;
      closer.disabled = this.zoomed >= MOST_ZOOM;
      this.timeline.zoom(this.zoomed);
    };
    wider.onclick = () => by(0.5);
    closer.onclick = () => by(2);
  }

  /** @param {HTMLButtonElement} button */
  #fold(button) {
    /** @param {boolean} folded */
    const draw = (folded) => {
      this.deck.classList.toggle("folded", folded);
      button.ariaExpanded = String(!folded);
      button.title = message(folded ? "deck.fold.show" : "deck.fold.hide");
      this.timeline.zoom(this.zoomed);
    };
    const kept = localStorage.getItem(KEPT_AS);
    draw(kept ? kept === "yes" : innerHeight < FOLDED_BELOW && innerWidth > 760);
    button.onclick = () => {
      const folded = !this.deck.classList.contains("folded");
      localStorage.setItem(KEPT_AS, folded ? "yes" : "no");
      draw(folded);
    };
  }
}
