// @ts-check
// Runs the studio page: a prompt, and a take that follows it.

import { messageOf } from "./api.js";
import { part, show } from "./elements.js";
import { LoraSliders } from "./lora_sliders.js";
import { offerLogout } from "./logout.js";
import { ModelChoice } from "./model_choice.js";
import { PromptBar } from "./prompt_bar.js";
import { SessionClient } from "./session_client.js";
import { ShareLinks } from "./share_links.js";
import { Slots } from "./slots.js";
import { StartButton } from "./start_button.js";
import { filmStatus } from "./status_words.js";
import { TakeList } from "./take_list.js";
import { RewindingTimeline } from "./timeline.js";

/** @import { LookAhead, ServerEvent, SetCommand } from "./types.js" */

/**
 * @typedef {object} Option a field of the form under "More"
 * @property {SetCommand["name"] | "look_ahead" | "seed"} name
 * @property {string} value
 */

/**
 * @typedef {object} Options what the next session begins with
 * @property {number | null} seed null: a random one
 * @property {LookAhead} look_ahead
 * @property {Partial<Record<SetCommand["name"], string>>} set
 */

const TYPING = "input, textarea, select, [contenteditable]";

class Studio {
  /** @param {HTMLElement} root */
  constructor(root) {
    this.video = part(root, "video", HTMLVideoElement);
    this.statusLine = part(root, "status", HTMLElement);
    this.note = part(root, "note", HTMLElement);
    this.sheet = part(root, "sheet", HTMLElement);
    this.pause = part(root, "pause", HTMLButtonElement);
    this.cut = part(root, "cut", HTMLButtonElement);
    this.undo = part(root, "undo", HTMLButtonElement);
    this.reroll = part(root, "reroll", HTMLButtonElement);
    this.record = part(root, "record", HTMLButtonElement);
    this.render = part(root, "render", HTMLButtonElement);
    this.download = part(root, "take", HTMLAnchorElement);
    this.root = root;
    this.take = ""; // id
    this.unknown = ""; // words of the newest prompt that the model does not understand
    this.recording = false;
    /** @type {Options} */
    this.options = { seed: null, look_ahead: "smooth", set: {} };
    this.client = new SessionClient(this.video, "", "longtake.session", {
      told: (text, bad) => show(this.statusLine, text, bad),
      changed: () => this.#sessionChanged(),
      heard: (event) => this.#heard(event),
      opened: () => this.#prepareSlots(),
      measured: (figures) => show(this.statusLine, filmStatus(this.client, figures)),
      seen: (wait) => this.#tell(`on screen after ${Math.round(wait)} ms`),
    });
    this.links = new ShareLinks(root, this.client, (text, bad) => this.#tell(text, bad));
    this.start = new StartButton(part(root, "start", HTMLButtonElement), this.client, () => this.#begin());
    this.prompt = new PromptBar(root, (how) => this.#say(this.prompt.text, how));
    this.loras = new LoraSliders(part(root, "loras", HTMLElement), (command) => this.client.send(command));
    this.slots = new Slots(part(root, "slots", HTMLElement), (text) => this.#say(text));
    this.models = new ModelChoice(root, (model) => this.prompt.offer(model.understands));
    this.takes = new TakeList(
      root,
      (take) => this.#goOn(take),
      (text, bad) => this.#tell(text, bad),
    );
    this.timeline = new RewindingTimeline(part(root, "timeline", HTMLElement), (latent) =>
      this.client.send({ type: "rewind", latent }),
    );
    this.#listen();
    show(this.statusLine, "ready");
    offerLogout(root, "").catch(() => {}); // without an answer there is nothing to offer
    this.#load();
  }

  #listen() {
    this.pause.onclick = () => this.#togglePause();
    this.cut.onclick = () => this.#say(this.prompt.text, { cut: true });
    this.undo.onclick = () => this.client.send({ type: "undo" });
    this.reroll.onclick = () => this.client.send({ type: "seed", seed: Math.floor(Math.random() * 2 ** 31) });
    this.record.onclick = () => this.client.send({ type: this.recording ? "stop_recording" : "record" });
    this.render.onclick = () => this.takes.render(this.take);
    part(this.root, "help", HTMLButtonElement).onclick = () => this.#toggleHelp();
    document.addEventListener("keydown", (e) => this.#key(e));
    // the preset buttons and the form under "More" belong to Gradio
    document.addEventListener("longtake:preset", (e) =>
      this.#preset(/** @type {CustomEvent<string>} */ (e).detail),
    );
    document.addEventListener("longtake:option", (e) =>
      this.#option(/** @type {CustomEvent<Option>} */ (e).detail),
    );
  }

  async #load() {
    try {
      await this.models.load();
      await this.client.resume();
    } catch (e) {
      show(this.statusLine, messageOf(e), true);
    }
  }

  // -- start and end --------------------------------------------------------------------------------------------

  #begin() {
    const { seed, look_ahead, set } = this.options;
    const model = this.models.name;
    const body = { prompt: this.prompt.textOrExample, model, look_ahead, set, seed: seed ?? undefined };
    const word = this.models.loaded ? "starting" : `loading ${model}`;
    this.client.begin(
      "api/sessions",
      () => body,
      word,
      ({ note }) => {
        if (note) this.#tell(note, true);
      },
    );
  }

  /**
   * Continue a take that lies on the server.
   *
   * @param {string} take id
   */
  async #goOn(take) {
    this.client.end();
    const { look_ahead } = this.options;
    await this.client.begin(`api/takes/${take}/continue`, () => ({ look_ahead }), "going on");
    this.root.scrollIntoView();
  }

  #sessionChanged() {
    const { session } = this.client;
    this.start.draw();
    this.links.draw();
    for (const button of [this.pause, this.cut, this.undo, this.reroll, this.record])
      button.disabled = !session;
    if (session) return;
    this.loras.offer([]);
    this.recording = false;
    this.#drawRecord();
    if (this.client.line.waiting) return;
    this.models.load().catch(() => {}); // shows the speed of the session that ended; its failure shows elsewhere
  }

  // -- prompts and events ----------------------------------------------------------------------------------------

  /**
   * Send a prompt to the running take, or begin a take with it.
   *
   * @param {string} text
   * @param {{ blend?: number, cut?: boolean }} how
   */
  #say(text, { blend = 1, cut = false } = {}) {
    if (!text) return;
    this.unknown = "";
    if (this.client.session) {
      this.client.send({ type: "prompt", text, blend, cut });
    } else {
      this.prompt.text = text;
      this.#begin();
    }
  }

  /** @param {string} text */
  #preset(text) {
    this.prompt.text = text;
    this.#say(text);
  }

  /** @param {Option} option */
  #option({ name, value }) {
    if (name === "seed") {
      this.options.seed = /^\s*\d+\s*$/.test(value) ? Number(value) : null;
    } else if (name === "look_ahead") {
      this.options.look_ahead = /** @type {LookAhead} */ (value);
      this.client.send({ type: "look_ahead", value: this.options.look_ahead });
    } else {
      this.options.set[name] = value;
      this.client.send({ type: "set", name, value });
    }
  }

  /** @param {ServerEvent} event */
  #heard(event) {
    switch (event.type) {
      case "hello":
        this.loras.offer(event.loras);
        break;
      case "timeline":
        this.loras.follow(event.cues);
        this.take = event.take;
        this.timeline.cues = event.cues;
        this.timeline.draw();
        this.#offerTake();
        break;
      case "status":
        this.timeline.status = event;
        this.timeline.draw();
        this.recording = event.recorded_s !== null;
        this.#drawRecord();
        break;
      case "accepted":
        this.#tell("accepted");
        break;
      case "encoded":
        this.#tellUnknown(event.not_understood, event.notes ?? []);
        break;
      case "live":
        this.#tell(`lands on latent ${event.latent}`);
        break;
      case "taken_back":
        this.#tell("taken back");
        break;
      case "refused":
      case "warning":
        this.#tell(event.why, true);
        break;
      case "recording":
        this.recording = event.on;
        this.#drawRecord();
        this.#tell(event.on ? "recording" : event.why || "recorded: see Takes", Boolean(event.why));
        break;
      case "phase":
        this.pause.textContent = event.phase === "paused" ? "Resume" : "Pause";
        break;
    }
  }

  /** @param {string} text */
  #tell(text, bad = false) {
    show(this.note, this.unknown ? `${text} · ${this.unknown}` : text, bad);
  }

  /**
   * @param {Record<string, string[]>} words that the model does not understand -> words near to them
   * @param {string[]} notes what else to know of how it reads the prompt
   */
  #tellUnknown(words, notes) {
    const unknown = Object.entries(words).map(([word, near]) =>
      near.length ? `${word} (near: ${near.join(", ")})` : word,
    );
    const told = [...(unknown.length ? [`not understood: ${unknown.join("; ")}`] : []), ...notes];
    if (!told.length) return;
    this.unknown = told.join(" · ");
    this.#tell("accepted");
  }

  #offerTake() {
    if (!this.client.session) return;
    this.download.href = `api/takes/${this.take}`;
    for (const element of [this.download, this.render]) element.hidden = false;
  }

  #drawRecord() {
    const seconds = Math.floor(this.client.status?.recorded_s ?? 0);
    this.record.classList.toggle("on", this.recording);
    this.record.textContent = this.recording ? `Stop ${seconds} s` : "Record";
  }

  #togglePause() {
    this.client.send({ type: this.client.phase === "paused" ? "resume" : "pause" });
  }

  /** Let the server encode the texts of the slots before they are played. */
  #prepareSlots() {
    for (const text of this.slots.kept) this.client.send({ type: "prepare", text }, { quiet: true });
  }

  // -- keys -----------------------------------------------------------------------------------------------------

  /** @param {KeyboardEvent} e */
  #key(e) {
    const slot = /^Digit([1-9])$/.exec(e.code)?.[1]; // with Alt, some keyboards report another character
    if (e.altKey && slot) {
      this.slots.keep(Number(slot), this.prompt.text);
      this.#prepareSlots();
      e.preventDefault();
      return;
    }
    const typing = e.target instanceof Element && e.target.closest(TYPING);
    if (typing || e.ctrlKey || e.metaKey || e.altKey) return;
    const act = this.#actOf(e.key);
    if (!act) return;
    act();
    e.preventDefault();
  }

  /**
   * Return what a key without modifiers does.
   *
   * @param {string} key
   * @returns {(() => void) | undefined}
   */
  #actOf(key) {
    const kept = /^[1-9]$/.test(key) && this.slots.texts[Number(key)];
    if (kept) return () => this.#say(kept);
    /** @type {Record<string, () => void>} */
    const acts = {
      " ": () => this.#togglePause(),
      "/": () => this.prompt.focus(),
      "?": () => this.#toggleHelp(),
      c: () => this.#say(this.prompt.text, { cut: true }),
      f: () => this.video.requestFullscreen?.(), // not on every phone
      r: () => this.reroll.click(),
      s: () => this.video.classList.toggle("sharp"),
      u: () => this.undo.click(),
      v: () => this.record.click(),
    };
    return acts[key];
  }

  #toggleHelp() {
    this.sheet.hidden = !this.sheet.hidden;
  }
}

/**
 * Bring the studio's markup to life.
 *
 * @param {HTMLElement} root
 */
export function mount(root) {
  new Studio(root);
}
