// @ts-check
// Shows on the studio page what a session and its take are doing.

import { part } from "./elements.js";
import { message } from "./messages.js";
import { clock, sceneLabel } from "./scene_labels.js";
import { stateOf, wordsOf } from "./stage_state.js";

/** @import { ModelChoice } from "./model_choice.js" */
/** @import { PromptBar } from "./prompt_bar.js" */
/** @import { SessionClient } from "./session_client.js" */
/** @import { Slots } from "./slots.js" */
/** @import { Stage } from "./stage.js" */
/** @import { TakePictures } from "./take_pictures.js" */
/** @import { Timeline } from "./timeline.js" */
/** @import { TimelineControl } from "./timeline_control.js" */
/** @import { Transport } from "./transport.js" */
/** @import { StatusEvent } from "./types.js" */
/** @import { WaitingCues } from "./waiting_cues.js" */

const PICTURE_SIZE = 160; // pixels of the picture of a take or a slot
const HELD = new Set(["paused", "reconnecting", "catching"]); // states in which the picture stands still

/**
 * @typedef {object} Parts of the page
 * @property {SessionClient} client
 * @property {Stage} stage
 * @property {PromptBar} prompt
 * @property {Transport} transport
 * @property {Timeline} timeline
 * @property {TimelineControl} scenes
 * @property {Slots} slots
 * @property {WaitingCues} waiting
 * @property {TakePictures} pictures
 * @property {ModelChoice} models
 */

export class StudioView {
  /**
   * @param {HTMLElement} root
   * @param {Parts} parts
   */
  constructor(root, parts) {
    this.root = root;
    this.client = parts.client;
    this.stage = parts.stage;
    this.prompt = parts.prompt;
    this.transport = parts.transport;
    this.timeline = parts.timeline;
    this.scenes = parts.scenes;
    this.slots = parts.slots;
    this.waiting = parts.waiting;
    this.pictures = parts.pictures;
    this.models = parts.models;
    this.take = ""; // id
    this.told = message("stage.ready"); // newest message about the connection
    this.name = ""; // that a person gave the take
    this.now = ""; // prompt that plays
    /** @type {{ at: number, latent: number } | null} when the past began to be drawn anew */
    this.catching = null;
  }

  draw() {
    const { status } = this.client;
    const state = stateOf(this.client, Boolean(this.take));
    const seconds = this.timeline.seconds(this.timeline.status?.playhead ?? 0);
    const { cues } = this.timeline;
    const [first] = cues;
    const words = wordsOf(state, this.client, {
      take: this.name || (first?.prompt ? sceneLabel(first.prompt, this.models.understands) : ""),
      waits: this.waiting.texts,
      told: this.told,
      seconds,
      cues: cues.filter(({ prompted }) => prompted).length,
      left: this.#left(status),
    });
    this.stage.show(state, words);
    this.prompt.show(state);
    part(this.root, "nowword", HTMLElement).textContent = message(
      HELD.has(state) ? "prompt.held" : this.client.session ? "prompt.now" : "prompt.last",
    );
    part(this.root, "playing", HTMLElement).classList.toggle("held", HELD.has(state));
    part(this.root, "time", HTMLElement).textContent = clock(seconds, 1);
  }

  /** @param {StatusEvent | null} status */
  #left(status) {
    if (typeof status?.catching_up !== "number") {
      this.catching = null;
      return null;
    }
    const now = performance.now();
    this.catching ??= { at: now, latent: status.latent };
    const drawn = status.latent - this.catching.latent;
    return drawn > 0
      ? ((now - this.catching.at) / 1000 / drawn) * (status.catching_up - status.latent)
      : null;
  }

  #drawNow() {
    const { timeline } = this;
    const index = timeline.cueAt(timeline.status?.playhead ?? 0);
    const cue = timeline.cues[index];
    this.now = this.prompt.playing = cue?.prompt ?? "";
    part(this.root, "playing", HTMLElement).hidden = !this.now;
    part(this.root, "now", HTMLElement).textContent = this.now;
    part(this.root, "since", HTMLElement).textContent = cue
      ? message("deck.since", { time: clock(timeline.seconds(cue.landed ?? 0)) })
      : "";
    this.slots.mark(this.client.session ? this.now : "", this.waiting.texts);
  }

  /** @param {StatusEvent} status */
  heardStatus(status) {
    const { timeline, stage } = this;
    timeline.status = status;
    if (stage.state === "live") {
      timeline.film.add(status.playhead, stage.video);
      if (!this.pictures.of(this.take) && status.playhead > 0)
        this.pictures.keep(this.take, stage.picture(PICTURE_SIZE, "image/jpeg"));
      this.slots.illustrate(this.now, () => stage.picture(PICTURE_SIZE, "image/jpeg"));
    }
    this.transport.drawRecord(status.recorded_s);
    const viewers = part(this.root, "viewers", HTMLElement);
    viewers.hidden = status.viewers < 2;
    viewers.textContent = message("bar.watching", { n: status.viewers - 1 });
  }

  /** Draw what an event or a command may have changed. */
  follow() {
    this.transport.draw();
    this.timeline.waits = this.waiting.texts;
    this.timeline.draw();
    this.scenes.draw();
    this.#drawNow();
    this.draw();
  }

  /** Return what an empty slot keeps: what is typed, or what plays with its picture. */
  offerToSlot() {
    const text = this.prompt.textOrPlaying;
    const plays = Boolean(this.client.session) && text === this.now;
    return { text, picture: plays ? this.stage.picture(PICTURE_SIZE, "image/jpeg") : "" };
  }

  /** Keep the picture of a take that ends. */
  keepPicture() {
    this.pictures.keep(this.take, this.stage.picture(PICTURE_SIZE, "image/jpeg"));
  }
}
