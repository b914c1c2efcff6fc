// @ts-check
// Sends what an avatar is to say: texts, sound files and the use of the microphone; and interrupts it.

import { ApiError, messageOf, posted } from "./api.js";
import { linesOf, turnsOf } from "./dialogue_text.js";
import { make, part } from "./elements.js";
import { icon } from "./icons.js";
import { message } from "./messages.js";

/** @import { ConversationLog } from "./conversation_log.js" */
/** @import { Turn } from "./dialogue_text.js" */
/** @import { SessionClient } from "./session_client.js" */
/** @import { Silence } from "./silence.js" */
/** @import { BargeIn, MicrophoneUse } from "./types.js" */

const CONFLICT = 409; // HTTP status of a sound that was interrupted before it arrived: no failure
const MOST_TEXT = 2000; // characters of a turn
const AHEAD = 30; // seconds of a dialogue's turns that wait at the server; the others wait here
const LOOK_EVERY = 100; // ms

export class AvatarSpeech {
  /**
   * @param {HTMLElement} root
   * @param {SessionClient} client
   * @param {Silence} silence
   * @param {ConversationLog} log
   * @param {(text: string, bad?: boolean) => void} tell shows a message
   */
  constructor(root, client, silence, log, tell) {
    this.root = root;
    this.client = client;
    this.silence = silence;
    this.log = log;
    this.tell = tell;
    this.text = part(root, "text", HTMLTextAreaElement);
    this.sayButton = part(root, "say", HTMLButtonElement);
    this.sound = part(root, "sound", HTMLInputElement);
    this.stopButton = part(root, "interrupt", HTMLButtonElement);
    this.bargeIn = part(root, "bargein", HTMLSelectElement);
    this.speakerChoice = part(root, "speaker", HTMLSelectElement);
    /** @type {string[]} of a dialogue */
    this.speakers = [];
    this.readsText = false;
    this.hushList = part(root, "hush", HTMLElement);
    /** @type {Map<string | undefined, number>} interruptions so far of each speaker; one avatar has no name */
    this.stops = new Map();
    /** @type {number | null} of the newest interruption that was sent */
    this.interruptId = null;
    this.stopButton.onclick = () => this.interrupt();
    this.sayButton.onclick = () => this.#say();
    this.text.onkeydown = (e) => {
      if (e.key !== "Enter" || e.shiftKey || e.isComposing) return;
      e.preventDefault();
      if (!e.repeat) this.#say();
    };
    this.sound.onchange = () => {
      const file = this.sound.files?.[0];
      this.sound.value = "";
      if (file) this.#play(file);
    };
    this.bargeIn.onchange = () => this.client.send({ type: "barge_in", policy: this.policy });
    for (const radio of this.#uses()) radio.onchange = () => this.tellUse();
  }

  /** @param {boolean} reads whether the server can read a text aloud */
  offerText(reads) {
    this.readsText = reads;
    if (reads) return;
    this.text.disabled = true;
    this.text.placeholder = message("talk.text.none");
  }

  /**
   * Offer the speakers of a dialogue; none for one avatar.
   *
   * @param {string[]} speakers in the order of their faces
   */
  offerSpeakers(speakers) {
    if (speakers.join() === this.speakers.join()) return;
    this.speakers = speakers;
    this.speakerChoice.replaceChildren(...speakers.map((name) => new Option(name)));
    this.speakerChoice.hidden = this.hushList.hidden = !speakers.length;
    this.hushList.replaceChildren(...speakers.map((name) => this.#hushButton(name)));
    this.text.maxLength = speakers.length ? MOST_TEXT * 100 : MOST_TEXT;
    const [first = "", second = ""] = speakers;
    if (this.readsText)
      this.text.placeholder = first
        ? message("talk.text.turns", { first, second })
        : message("talk.text.hint");
  }

  /** The speaker of a dialogue who is chosen; empty for one avatar. */
  get speaker() {
    return this.speakerChoice.value;
  }

  /** What the voice of a listener does to an avatar that speaks. */
  get policy() {
    return /** @type {BargeIn} */ (this.bargeIn.value);
  }

  /** Enable what a session permits. */
  draw() {
    const { session } = this.client;
    const hush = this.hushList.querySelectorAll("button");
    for (const control of [this.stopButton, this.sound, ...hush]) control.disabled = !session;
    this.sayButton.disabled = !session || !this.readsText;
  }

  async #say() {
    const text = this.text.value.trim() || this.text.placeholder;
    if (!this.client.session || this.text.disabled || !text) return;
    /** @type {Turn[]} */
    let turns = [{ text }];
    try {
      if (this.speakers.length) turns = turnsOf(text, this.speakers, this.speaker);
    } catch (e) {
      this.tell(messageOf(e), true);
      return;
    }
    this.text.value = ""; // at once, so that the next text can be typed while the server answers
    this.text.placeholder = ""; // the example is offered once: a second Enter must not say it
    this.tell("");
    try {
      const left = await this.#sayInTurn(turns);
      if (left) this.tell(message("talk.turns.left", { n: left }));
    } catch (e) {
      this.#tellFailure(e);
    }
    this.text.value ||= linesOf(turns);
  }

  /**
   * Send turns one after the other, and take those that were said out of the list. Those of a speaker who is
   * interrupted meanwhile are left, so most turns wait here and not at the server. Returns how many are left.
   *
   * @param {Turn[]} turns
   */
  async #sayInTurn(turns) {
    const before = new Map(this.stops);
    const { session } = this.client;
    /** @type {Turn[]} */
    const left = [];
    let ahead = 0; // seconds that wait to be said
    while (turns.length && this.client.session === session) {
      const [turn] = turns;
      if (this.stops.get(turn.speaker) !== before.get(turn.speaker)) {
        left.push(turn);
        turns.shift();
        continue;
      }
      const { status } = this.client;
      if (ahead > AHEAD) {
        await new Promise((looked) => setTimeout(looked, LOOK_EVERY));
        if (this.client.status !== status) ahead = this.client.status?.to_say_s ?? 0;
        continue;
      }
      turns.shift();
      try {
        const { utterance, seconds } = await this.client.post("say", posted(turn));
        ahead += seconds;
        this.log.add({ ...turn, how: message("talk.by.typed"), utterance });
      } catch (e) {
        left.push(turn);
        const conflict = e instanceof ApiError && e.status === CONFLICT;
        if (conflict && this.stops.get(turn.speaker) !== before.get(turn.speaker)) continue;
        turns.unshift(...left);
        throw e;
      }
    }
    turns.unshift(...left);
    return turns.length;
  }

  /** @param {File} file of sound */
  async #play(file) {
    this.tell(message("talk.sending", { name: file.name }));
    const { speaker } = this;
    const path = speaker ? `audio?speaker=${encodeURIComponent(speaker)}` : "audio";
    try {
      const { seconds, utterance } = await this.client.post(path, { body: file });
      this.tell(message("talk.sent", { name: file.name, seconds }));
      const text = message("talk.said.file", { name: file.name, seconds });
      this.log.add({ speaker, how: message("talk.by.file"), text, utterance });
    } catch (e) {
      this.#tellFailure(e);
    }
  }

  /** @param {unknown} error */
  #tellFailure(error) {
    this.tell(messageOf(error), !(error instanceof ApiError && error.status === CONFLICT));
  }

  /** Interrupt the avatar: it falls silent here at once, and at the server a round trip later. */
  interrupt() {
    if (!this.client.session) return;
    this.stopped();
    this.silence.begin();
    this.interruptId = this.client.send({ type: "interrupt" });
    if (this.interruptId !== null) return;
    this.client.post("interrupt").catch((e) => {
      this.silence.end();
      this.tell(messageOf(e), true);
    });
  }

  /**
   * Make the button that interrupts one speaker of a dialogue; the turns of the others go on.
   *
   * @param {string} name
   */
  #hushButton(name) {
    const button = make("button", { className: "quiet", disabled: !this.client.session }, icon("stop"), name);
    button.title = button.ariaLabel = message("talk.hush.one", { name });
    button.onclick = () => {
      this.stopped(name);
      const path = `interrupt?speaker=${encodeURIComponent(name)}`;
      this.client.post(path).catch((e) => this.tell(messageOf(e), true));
    };
    return button;
  }

  /**
   * Note that a speaker was interrupted, here or by the server, or without a name all: the turns that were not sent yet
   * are kept.
   *
   * @param {string | null} [speaker]
   */
  stopped(speaker) {
    for (const name of speaker ? [speaker] : [undefined, ...this.speakers])
      this.stops.set(name, (this.stops.get(name) ?? 0) + 1);
  }

  #uses() {
    return this.root.querySelectorAll(/** @type {"input"} */ ("input[name=lt-use]"));
  }

  /** Tell the server how to use the microphone: to speak through the avatar, or to listen. */
  tellUse() {
    const chosen = [...this.#uses()].find((radio) => radio.checked);
    if (!chosen) return;
    this.client.send({ type: "microphone", use: /** @type {MicrophoneUse} */ (chosen.value) });
  }
}
