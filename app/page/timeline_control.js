// @ts-check
// Lets a person look along the timeline by pointer and keys, and open the scene at a moment. Looking changes nothing.

import { make, part } from "./elements.js";
import { message } from "./messages.js";
import { clock } from "./scene_labels.js";

/** @import { Timeline } from "./timeline.js" */

const FAR = 5; // seconds of Page Up and Page Down
const MOST_ZOOM = 16;
const FOLDED_BELOW = 1000; // pixels of the window's height under which the pictures are folded at first
const KEPT_AS = "longtake.folded";

/**
 * @typedef {object} SceneListener
 * @property {(latent: number) => void} recall brings the scene back that stood at a latent
 * @property {(latent: number) => void} branch goes back to a latent
 * @property {(text: string) => void} edit puts a prompt into the field
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
    this.chunk = 3; // latents
    /** @type {number | null} latent to which the keys have gone; null: the playhead */
    this.cursor = null;
    this.zoomed = 1;
    const { element } = timeline;
    element.addEventListener("pointermove", (e) => this.#tell(this.#latentAt(e.clientX)));
    element.addEventListener("pointerleave", () => this.#hide());
    element.addEventListener("blur", () => this.#hide());
    element.onclick = (e) => this.open(this.#latentAt(e.clientX));
    element.onkeydown = (e) => this.#key(e);
    this.#zoom(part(root, "wider", HTMLButtonElement), part(root, "closer", HTMLButtonElement));
    this.#fold(part(root, "fold", HTMLButtonElement));
  }

  /** Draw what follows the status: the value for screen readers, and the list of cues on a phone. */
  draw() {
    const { element, status, length } = this.timeline;
    const at = this.cursor ?? status?.playhead ?? 0;
    element.ariaValueMax = String(length);
    element.ariaValueNow = String(at);
    element.ariaValueText = `${clock(this.timeline.seconds(at))}, ${this.timeline.label(this.timeline.cueAt(at))}`;
  }

  /** Draw the list of cues, the newest first. */
  drawList() {
    const rows = this.timeline.cues.map((cue, i) => {
      const at = cue.landed ?? 0;
      const time = make("span", { className: "number pale", textContent: clock(this.timeline.seconds(at)) });
      const button = make("button", { title: cue.prompt ?? "" }, time);
      button.append(make("span", { className: "clipped", textContent: this.timeline.label(i) }));
      button.onclick = () => this.open(at);
      return make("li", {}, button);
    });
    this.list.replaceChildren(...rows.reverse());
  }

  /** @param {number} x of the pointer in the window */
  #latentAt(x) {
    const box = this.timeline.blocks.getBoundingClientRect();
    const { length, waits } = this.timeline;
    const whole = length * (waits.length ? 1.12 : 1);
    return Math.max(0, Math.min(length, Math.floor(((x - box.left) / box.width) * whole)));
  }

  /**
   * Show the time and the picture at a latent, above it.
   *
   * @param {number} latent
   */
  #tell(latent) {
    const { timeline } = this;
    const picture = timeline.film.near(latent, 6);
    const time = `${clock(timeline.seconds(latent), 1)} · ${timeline.label(timeline.cueAt(latent))}`;
    const copy = picture && make("canvas", { width: picture.width, height: picture.height });
    if (picture) copy?.getContext("2d")?.drawImage(picture, 0, 0);
    this.hover.replaceChildren(...(copy ? [copy] : []), time);
    this.hover.hidden = false;
    const box = timeline.blocks.getBoundingClientRect();
    const deck = this.deck.getBoundingClientRect();
    const x = box.left - deck.left + (latent / timeline.length) * box.width;
    const half = this.hover.offsetWidth / 2;
    this.hover.style.left = `${Math.max(half, Math.min(deck.width - half, x))}px`;
  }

  #hide() {
    this.hover.hidden = true;
    this.cursor = null;
  }

  /** @param {KeyboardEvent} e */
  #key(e) {
    const { length, status, fps } = this.timeline;
    const at = this.cursor ?? status?.playhead ?? 0;
    const far = (FAR * fps) / 4;
    /** @type {Record<string, number>} */
    const goes = {
      ArrowLeft: at - this.chunk,
      ArrowRight: at + this.chunk,
      PageUp: at - far,
      PageDown: at + far,
      Home: 0,
      End: length,
    };
    const to = goes[e.key];
    if (e.key === "Enter") this.open(Math.floor(at));
    else if (to === undefined) return;
    else {
      this.cursor = Math.max(0, Math.min(length, to));
      this.#tell(this.cursor);
      this.draw();
    }
    e.preventDefault();
  }

  /**
   * Open the scene at a latent, and offer to bring it back or to branch there.
   *
   * @param {number} latent
   */
  open(latent) {
    const { timeline } = this;
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
