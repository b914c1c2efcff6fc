// @ts-check
// Runs the page of an avatar: its face, what it says, and interruptions.

import { ApiError, ask, messageOf, posted } from "./api.js";
import { part, show } from "./elements.js";
import { FaceChoice } from "./face_choice.js";
import { LevelMeter } from "./level_meter.js";
import { offerLogout } from "./logout.js";
import { Microphone } from "./microphone.js";
import { SessionClient } from "./session_client.js";
import { ShareLinks } from "./share_links.js";
import { Silence } from "./silence.js";
import { StartButton } from "./start_button.js";
import { avatarStatus } from "./status_words.js";

/** @import { FaceFacts, ModelFacts, Session } from "./api.js" */
/** @import { AvatarState, MetersEvent, MicrophoneUse, ServerEvent } from "./types.js" */

const BASE = "../";
const CONFLICT = 409; // HTTP status of a sound that was interrupted before it arrived: no failure
const TYPING = "input[data-lt=text], textarea, select";

class AvatarPage {
  /** @param {HTMLElement} root */
  constructor(root) {
    this.root = root;
    this.video = part(root, "video", HTMLVideoElement);
    this.state = part(root, "state", HTMLElement);
    this.statusLine = part(root, "status", HTMLElement);
    this.note = part(root, "note", HTMLElement);
    this.sync = part(root, "sync", HTMLElement);
    this.identity = part(root, "identity", HTMLElement);
    this.facts = part(root, "facts", HTMLElement);
    this.text = part(root, "text", HTMLInputElement);
    this.sayButton = part(root, "say", HTMLButtonElement);
    this.sound = part(root, "sound", HTMLInputElement);
    this.interrupt = part(root, "interrupt", HTMLButtonElement);
    this.microphoneButton = part(root, "microphone", HTMLButtonElement);
    this.take = part(root, "take", HTMLAnchorElement);
    this.record = part(root, "record", HTMLAnchorElement);
    /** @type {ModelFacts | undefined} */
    this.model = undefined;
    this.readsText = false;
    /** @type {number | null} of the newest interruption that was sent */
    this.interruptId = null;
    /** @param {string} text */
    const tell = (text, bad = false) => show(this.note, text, bad);
    this.tell = tell;
    this.heardLevel = new LevelMeter(part(root, "out", HTMLElement));
    this.client = new SessionClient(this.video, BASE, "longtake.avatar", {
      told: (text, bad) => show(this.statusLine, text, bad),
      changed: () => this.#sessionChanged(),
      heard: (event) => this.#heard(event),
      opened: () => this.#opened(),
      measured: (figures) => show(this.statusLine, avatarStatus(this.client, figures)),
    });
    this.silence = new Silence(this.video, this.client.frames, this.heardLevel);
    this.faces = new FaceChoice(root, BASE, tell);
    this.links = new ShareLinks(root, this.client, tell);
    this.start = new StartButton(part(root, "start", HTMLButtonElement), this.client, () => this.#begin());
    const spokenLevel = new LevelMeter(part(root, "in", HTMLElement));
    this.microphone = new Microphone(this.microphoneButton, spokenLevel, this.client, tell);
    this.#listen();
    this.#sessionChanged();
    offerLogout(root, BASE).catch(() => {}); // without an answer there is nothing to offer
    this.#load().catch((e) => show(this.statusLine, messageOf(e), true));
  }

  #listen() {
    this.interrupt.onclick = () => this.#interrupt();
    this.sayButton.onclick = () => this.#say();
    this.text.onkeydown = (e) => {
      if (e.key === "Enter" && !e.isComposing && !e.repeat) this.#say();
    };
    this.sound.onchange = () => {
      const file = this.sound.files?.[0];
      this.sound.value = "";
      if (file) this.#play(file);
    };
    this.video.onclick = () => {
      if (!this.client.session) return;
      this.video.muted = false;
      this.heardLevel.resume();
      this.video.play();
    };
    for (const radio of this.#uses()) radio.onchange = () => this.#tellUse();
    document.addEventListener("keydown", (e) => this.#key(e));
  }

  async #load() {
    /** @type {[ModelFacts[], FaceFacts]} */
    const [models, faces] = await Promise.all([ask(`${BASE}api/models`), ask(`${BASE}api/faces`)]);
    this.model = models.find((model) => model.speaks);
    this.readsText = faces.speaks_text;
    this.facts.textContent = demands(this.model);
    this.start.button.disabled = !this.model?.here;
    if (!this.readsText) {
      this.text.disabled = true;
      this.text.placeholder = "text needs the program espeak-ng on the server";
    }
    this.faces.offer(faces, this.model?.size ?? "128x128");
    show(this.statusLine, "ready");
    await this.client.resume();
  }

  // -- start and end -------------------------------------------------------------------------------------

  #begin() {
    const { model } = this;
    if (!model) return;
    this.video.muted = false;
    const body = () => ({ model: model.name, ...this.faces.look });
    const word = model.loaded ? "starting" : `loading ${model.name}`;
    this.client.begin("api/sessions", body, word, ({ note }) => {
      if (note) this.tell(note, true);
    });
  }

  #sessionChanged() {
    const { session } = this.client;
    this.start.draw();
    this.links.draw();
    for (const control of [this.interrupt, this.microphoneButton, this.sound]) control.disabled = !session;
    this.sayButton.disabled = !session || !this.readsText;
    this.state.classList.toggle("off", !session);
    if (session) {
      this.#offer(session);
      return;
    }
    this.silence.end();
    this.microphone.close();
    this.heardLevel.follow(null);
  }

  /** @param {Session} session */
  #offer({ take }) {
    this.take.href = `${BASE}api/takes/${take}`;
    this.record.href = `${BASE}api/takes/${take}/sound`;
    for (const link of [this.take, this.record]) link.hidden = false;
  }

  /** Play and send sound over a connection that has just been made, or made again. */
  #opened() {
    this.silence.end();
    this.#tellUse();
    if (this.video.srcObject) this.heardLevel.follow(this.video.srcObject);
    else this.heardLevel.followElement(this.video);
    this.#playAloud();
    if (this.microphone.stream) {
      this.microphone.send().catch((e) => this.microphone.close(messageOf(e), true));
    }
    this.microphoneButton.disabled = this.client.connection?.transport === "WebSocket";
    if (this.microphoneButton.disabled) {
      this.tell("WebRTC does not get through here: the avatar is heard, but no microphone can be used");
    }
  }

  #playAloud() {
    this.video.play().catch((e) => {
      if (e.name !== "NotAllowedError") return; // the connection has changed to a socket, which starts playback itself
      this.video.muted = true; // browsers allow sound only after a click or a key
      this.client.connection?.play();
      this.tell("click the picture to hear it");
    });
  }

  // -- speech ---------------------------------------------------------------------------------------------

  async #say() {
    const text = this.text.value.trim() || this.text.placeholder;
    if (!this.client.session || this.text.disabled || !text) return;
    this.text.value = ""; // at once, so that the next text can be typed while the server answers
    this.text.placeholder = ""; // the example is offered once: a second Enter must not say it
    try {
      await this.client.post("say", posted({ text }));
      this.tell("");
    } catch (e) {
      this.text.value ||= text;
      this.#tellFailure(e);
    }
  }

  /** @param {File} file of sound */
  async #play(file) {
    this.tell(`sending ${file.name}`);
    try {
      const { seconds } = await this.client.post("audio", { body: file });
      this.tell(`${file.name}: ${seconds} s`);
    } catch (e) {
      this.#tellFailure(e);
    }
  }

  /** @param {unknown} error */
  #tellFailure(error) {
    this.tell(messageOf(error), !(error instanceof ApiError && error.status === CONFLICT));
  }

  /** Interrupt the avatar: it falls silent here at once, and at the server a round trip later. */
  #interrupt() {
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
  #tellUse() {
    const chosen = [...this.#uses()].find((radio) => radio.checked);
    if (!chosen) return;
    this.client.send({ type: "microphone", use: /** @type {MicrophoneUse} */ (chosen.value) });
  }

  // -- events --------------------------------------------------------------------------------------------

  /** @param {ServerEvent} event */
  #heard(event) {
    switch (event.type) {
      case "status":
        if (event.state) this.#showState(event.state);
        break;
      case "avatar":
        this.#showState(event.state);
        break;
      case "interrupted":
        if (event.why !== "asked to") this.tell(`interrupted: ${event.why}`);
        this.silence.arrives(event.frame, this.client.fps);
        break;
      case "meters":
        this.#showMeters(event);
        break;
      case "refused":
        if (event.id === this.interruptId) this.silence.end();
        this.tell(event.why, true);
        break;
      case "warning":
        this.tell(event.why, true);
        break;
    }
  }

  /** @param {AvatarState} state */
  #showState(state) {
    this.state.textContent = state;
    this.state.className = `state ${state}`;
  }

  /** @param {MetersEvent} meters */
  #showMeters({ sync, lag_ms, identity }) {
    const late = `${lag_ms !== null && lag_ms > 0 ? "+" : ""}${lag_ms} ms`;
    this.sync.textContent = sync === null ? "sync –" : `sync ${sync.toFixed(2)}, ${late}`;
    this.identity.textContent = `identity ${identity.toFixed(2)}`;
  }

  /** @param {KeyboardEvent} e */
  #key(e) {
    if (e.repeat || !this.client.session) return; // a key that is held down counts once
    if (e.key === "Escape") {
      this.#interrupt();
      return;
    }
    const typing = e.target instanceof Element && e.target.closest(TYPING);
    if (typing || e.ctrlKey || e.metaKey || e.altKey) return;
    if (e.key === "i") this.#interrupt();
    else if (e.key === "m") this.microphoneButton.click();
    else return;
    e.preventDefault();
  }
}

/**
 * Describe the model that draws avatars, or say why there is none.
 *
 * @param {ModelFacts | undefined} model
 */
function demands(model) {
  if (!model) return "no model here speaks";
  if (!model.here) return `not here: longtake models pull ${model.name}`;
  return `${model.name}: ${model.size} at ${model.fps} fps`;
}

/**
 * Bring the avatar page's markup to life.
 *
 * @param {HTMLElement} root
 */
export function mount(root) {
  new AvatarPage(root);
}
