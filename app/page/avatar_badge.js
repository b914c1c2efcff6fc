// @ts-check
// Says in the badge over the picture what an avatar does, and in a dialogue who speaks.

import { listed, message, named } from "./messages.js";

/** @import { AvatarEvent, AvatarState } from "./types.js" */

export class AvatarBadge {
  /** @param {HTMLElement} element */
  constructor(element) {
    this.element = element;
    /** @type {AvatarState | "ready" | "ended"} of the avatar, or of all speakers together */
    this.state = "ready";
    /** @type {string[]} speakers of a dialogue that speak now */
    this.speaking = [];
    this.slow = false; // whether the server says that drawing is too slow
  }

  /** @param {"ready" | "ended"} state of a page without a session */
  rest(state) {
    this.slow = false;
    this.speaking = [];
    this.state = state;
    this.#draw();
  }

  /**
   * Take what a status tells: the state of all, and who speaks.
   *
   * @param {AvatarState} state
   * @param {string[]} speaking empty for one avatar
   */
  take(state, speaking) {
    this.state = state;
    this.speaking = speaking;
    this.#draw();
  }

  /**
   * Take a change: that of one speaker of a dialogue is no change of all.
   *
   * @param {AvatarEvent} event
   */
  heard({ state, speaker }) {
    if (speaker) {
      const others = this.speaking.filter((name) => name !== speaker);
      this.speaking = state === "speaking" ? [...others, speaker] : others;
    } else this.state = state;
    this.#draw();
  }

  /** @param {boolean} slow */
  lag(slow) {
    this.slow = slow;
    this.#draw();
  }

  #draw() {
    const { state, speaking } = this;
    const word = named("talk.state", state);
    const told =
      state === "speaking" && speaking.length
        ? message("talk.state.of", { names: listed(speaking), state: word })
        : word;
    this.element.textContent = this.slow ? message("talk.slow", { state: told }) : told;
    this.element.className = `state ${state}`;
  }
}
