// @ts-check
// Runs Pause, Undo, Reroll and Record.

import { part } from "./elements.js";
import { icon } from "./icons.js";
import { message } from "./messages.js";

/** @import { SessionClient } from "./session_client.js" */

export class Transport {
  /**
   * @param {HTMLElement} root
   * @param {SessionClient} client
   */
  constructor(root, client) {
    this.client = client;
    this.pause = part(root, "pause", HTMLButtonElement);
    this.pauseWord = part(root, "pauseword", HTMLElement);
    this.undo = part(root, "undo", HTMLButtonElement);
    this.reroll = part(root, "reroll", HTMLButtonElement);
    this.record = part(root, "record", HTMLButtonElement);
    this.recordWord = part(root, "recordword", HTMLElement);
    this.recording = false;
    this.pause.onclick = () => this.togglePause();
    this.undo.onclick = () => client.send({ type: "undo" });
    this.reroll.onclick = () => client.send({ type: "seed", seed: Math.floor(Math.random() * 2 ** 31) });
    this.record.onclick = () => client.send({ type: this.recording ? "stop_recording" : "record" });
  }

  togglePause() {
    this.client.send({ type: this.client.phase === "paused" ? "resume" : "pause" });
  }

  /** Follow whether there is a session, and whether it is paused. */
  draw() {
    const none = !this.client.session;
    for (const button of [this.pause, this.undo, this.reroll, this.record]) button.disabled = none;
    if (none) this.drawRecord(null);
    const paused = this.client.phase === "paused" && !none;
    const word = message(paused ? "deck.resume" : "deck.pause");
    if (this.pauseWord.textContent === word) return;
    this.pauseWord.textContent = word;
    this.pause.querySelector("svg")?.replaceWith(icon(paused ? "play" : "pause"));
  }

  /** @param {number | null} seconds of the recording that is running; null if none is */
  drawRecord(seconds) {
    this.recording = seconds !== null;
    this.record.classList.toggle("on", this.recording);
    this.recordWord.textContent =
      seconds === null
        ? message("deck.record")
        : message("deck.record.stop", { seconds: Math.floor(seconds) });
  }
}
