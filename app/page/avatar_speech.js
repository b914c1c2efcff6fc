// @ts-check
// Sends what an avatar is to say: texts, sound files and the use of the microphone; and interrupts it.

import { ApiError, messageOf, posted } from "./api.js";
import { part } from "./elements.js";
import { message } from "./messages.js";

/** @import { ConversationLog } from "./conversation_log.js" */
/** @import { SessionClient } from "./session_client.js" */
/** @import { Silence } from "./silence.js" */
/** @import { BargeIn, MicrophoneUse } from "./types.js" */

const CONFLICT = 409; // HTTP status of a sound that was interrupted before it arrived: no failure

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
    this.readsText = false;
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

  /** What the voice of a listener does to an avatar that speaks. */
  get policy() {
    return /** @type {BargeIn} */ (this.bargeIn.value);
  }

  /** Enable what a session permits. */
  draw() {
    const { session } = this.client;
    for (const control of [this.stopButton, this.sound]) control.disabled = !session;
    this.sayButton.disabled = !session || !this.readsText;
  }

  async #say() {
    const text = this.text.value.trim() || this.text.placeholder;
    if (!this.client.session || this.text.disabled || !text) return;
    this.text.value = ""; // at once, so that the next text can be typed while the server answers
    this.text.placeholder = ""; // the example is offered once: a second Enter must not say it
    try {
      await this.client.post("say", posted({ text }));
      this.log.add(message("talk.by.typed"), text);
      this.tell("");
    } catch (e) {
      this.text.value ||= text;
      this.#tellFailure(e);
    }
  }

  /** @param {File} file of sound */
  async #play(file) {
    this.tell(message("talk.sending", { name: file.name }));
    try {
      const { seconds } = await this.client.post("audio", { body: file });
      this.tell(message("talk.sent", { name: file.name, seconds }));
      this.log.add(message("talk.by.file"), message("talk.said.file", { name: file.name, seconds }));
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
    this.silence.begin();
    this.interruptId = this.client.send({ type: "interrupt" });
    if (this.interruptId !== null) return;
    this.client.post("interrupt").catch((e) => {
      this.silence.end();
      this.tell(messageOf(e), true);
    });
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
