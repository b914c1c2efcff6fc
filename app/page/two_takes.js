// @ts-check
// Plays the films of two takes side by side and in step, so that a person can choose the one to go on from.

import { make } from "./elements.js";
import { message } from "./messages.js";
import { clock } from "./scene_labels.js";

/**
 * @typedef {object} OneTake
 * @property {string} id
 * @property {string} name
 * @property {string} film address
 * @property {boolean} goesOn whether it can be continued
 */

const APART = 0.15; // seconds by which the films may differ before the second one is moved

export class TwoTakes {
  /**
   * @param {OneTake[]} takes
   * @param {{ chosen: (take: string) => void, back: () => void }} on
   */
  constructor(takes, on) {
    this.films = takes.map(({ film, name }) => {
      const video = make("video", { src: film, muted: true, playsInline: true, preload: "auto" });
      video.ariaLabel = name;
      return video;
    });
    this.button = make("button", { type: "button", textContent: message("two.pause") });
    this.button.dataset.lt = "two-play";
    this.button.onclick = () => (this.leader.paused ? this.play() : this.pause());
    this.place = make("input", { type: "range", min: "0", max: "1", step: "0.01", value: "0" });
    this.place.ariaLabel = message("two.place");
    this.place.oninput = () => this.#seek(Number(this.place.value));
    this.time = make("span", { className: "number" });
    for (const film of this.films) {
      film.addEventListener("timeupdate", () => film === this.leader && this.#follow());
      film.addEventListener("ended", () => film === this.leader && this.pause());
    }
    const columns = takes.map((take, i) => {
      const letter = "AB"[i] ?? "";
      const go = make("button", {
        type: "button",
        textContent: message("two.go", { letter }),
        disabled: !take.goesOn,
      });
      go.dataset.lt = `two-${letter.toLowerCase()}`;
      go.onclick = () => on.chosen(take.id);
      const name = make("figcaption", { className: "clipped", textContent: `${letter} · ${take.name}` });
      return make("figure", {}, this.films[i] ?? "", name, go);
    });
    const back = make("button", { type: "button", className: "quiet", textContent: message("two.back") });
    back.onclick = on.back;
    /** @type {HTMLElement[]} */
    this.elements = [
      make(
        "div",
        { className: "row" },
        make("h2", { className: "grow", textContent: message("two.title") }),
        back,
      ),
      make("div", { className: "two" }, ...columns),
      make("div", { className: "row" }, this.button, this.place, this.time),
    ];
  }

  /** Return the film whose time the other one follows: the longer one. */
  get leader() {
    return this.films.reduce((a, b) => ((b.duration || 0) > (a.duration || 0) ? b : a));
  }

  play() {
    if (this.leader.ended) this.#seek(0);
    for (const film of this.films) film.play().catch(() => {}); // it plays with the button
    this.button.textContent = message("two.pause");
  }

  pause() {
    for (const film of this.films) film.pause();
    this.button.textContent = message("two.play");
  }

  /** @param {number} seconds */
  #seek(seconds) {
    for (const film of this.films) film.currentTime = Math.min(seconds, film.duration || seconds);
    this.#follow();
  }

  #follow() {
    const { currentTime, duration } = this.leader;
    if (duration) this.place.max = String(duration);
    this.place.value = String(currentTime);
    this.time.textContent = clock(currentTime, 1);
    for (const film of this.films) {
      const ends = film.duration || currentTime;
      if (film !== this.leader && Math.abs(film.currentTime - currentTime) > APART && currentTime < ends)
        film.currentTime = currentTime;
    }
  }
}
