// @ts-check
// Runs the page of an avatar: its face, what it says, and interruptions.

import { ask, messageOf } from "./api.js";
import { part, show } from "./elements.js";
import { AvatarBadge } from "./avatar_badge.js";
import { AvatarSpeech } from "./avatar_speech.js";
import { AvatarStage } from "./avatar_stage.js";
import { Cast } from "./cast.js";
import { ConversationLog } from "./conversation_log.js";
import { FaceChoice } from "./face_choice.js";
import { obeyKeys } from "./hotkeys.js";
import { drawIcons } from "./icons.js";
import { LevelMeter } from "./level_meter.js";
import { offerLogout } from "./logout.js";
import { decimals, message, named, translate } from "./messages.js";
import { Microphone } from "./microphone.js";
import { SessionClient } from "./session_client.js";
import { ShareLinks } from "./share_links.js";
import { Silence } from "./silence.js";
import { avatarStatus } from "./status_words.js";
import { TabPair } from "./tab_pair.js";
import { applyTheme } from "./theme.js";
import { Toast } from "./toast.js";

/** @import { FaceFacts, ModelFacts, Session } from "./api.js" */
/** @import { MetersEvent, ServerEvent } from "./types.js" */

const BASE = "../";

class AvatarPage {
  /** @param {HTMLElement} root */
  constructor(root) {
    this.root = root;
    translate(root);
    drawIcons(root);
    applyTheme(part(root, "theme", HTMLButtonElement));
    this.stage = new AvatarStage(root);
    this.video = part(root, "video", HTMLVideoElement);
    this.badge = new AvatarBadge(part(root, "state", HTMLElement));
    this.statusLine = part(root, "status", HTMLElement);
    this.note = part(root, "note", HTMLElement);
    this.sync = part(root, "sync", HTMLElement);
    this.identity = part(root, "identity", HTMLElement);
    this.facts = part(root, "facts", HTMLElement);
    this.microphoneButton = part(root, "microphone", HTMLButtonElement);
    this.take = part(root, "take", HTMLAnchorElement);
    this.record = part(root, "record", HTMLAnchorElement);
    /** @type {ModelFacts | undefined} */
    this.model = undefined;
    this.joined = false;
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
    this.toast = new Toast(part(root, "toast", HTMLElement));
    this.log = new ConversationLog(part(root, "log", HTMLElement));
    this.speech = new AvatarSpeech(root, this.client, this.silence, this.log, tell);
    this.tabs = new TabPair(root, "talk", "face");
    this.faces = new FaceChoice(root, BASE, tell, (face) => this.cast.wear(face));
    this.cast = new Cast(root, this.faces, (src) => this.#chose(src));
    this.links = new ShareLinks(root, this.client, (text, bad) => {
      tell(text, bad);
      this.toast.show(text);
    });
    this.start = part(root, "start", HTMLButtonElement);
    this.end = part(root, "end", HTMLButtonElement);
    const spokenLevel = new LevelMeter(part(root, "in", HTMLElement));
    this.microphone = new Microphone(this.microphoneButton, spokenLevel, this.client, tell);
    this.#listen();
    this.#sessionChanged();
    offerLogout(root, BASE).catch(() => {}); // without an answer there is nothing to offer
    this.#load().catch((e) => show(this.statusLine, messageOf(e), true));
  }

  #listen() {
    this.start.onclick = () => this.#pressStart();
    this.end.onclick = () => this.client.end();
    this.video.onclick = () => {
      if (!this.client.session) return;
      this.video.muted = false;
      this.heardLevel.resume();
      this.video.play();
    };
    document.addEventListener("keydown", (e) => this.#escape(e));
    obeyKeys((key) => this.#actOf(key));
  }

  async #load() {
    /** @type {[ModelFacts[], FaceFacts]} */
    const [models, faces] = await Promise.all([ask(`${BASE}api/models`), ask(`${BASE}api/faces`)]);
    this.model = models.find((model) => model.speaks);
    this.speech.offerText(faces.speaks_text);
    this.facts.textContent = demands(this.model);
    this.start.disabled = !this.model?.here;
    this.faces.offer(faces, this.model?.size ?? "128x128");
    await this.client.resume();
  }

  // -- start and end -------------------------------------------------------------------------------------

  /**
   * Show the faces that were chosen; while others are live, offer to start anew with them.
   *
   * @param {string} src address of their picture
   */
  #chose(src) {
    const { names: name, size: n } = this.cast;
    if (this.client.session) {
      this.toast.show(message("talk.anew", { n, name }), message("talk.anew.now", { n, name }), () => {
        this.client.end();
        this.stage.choose(src);
        this.#begin();
      });
    } else this.stage.choose(src);
    this.#drawStart();
  }

  #pressStart() {
    if (this.client.leaveLine()) show(this.statusLine, message("line.left"));
    else this.#begin();
  }

  #drawStart() {
    const { session, place } = this.client;
    const { names: name, size: n } = this.cast;
    this.start.hidden = Boolean(session);
    this.end.hidden = !session;
    const word = n ? message("talk.start.as", { n, name }) : message("talk.start");
    this.start.textContent = place === null ? word : message("talk.leave");
  }

  #begin() {
    const { model } = this;
    if (!model) return;
    this.video.muted = false;
    const body = () => ({ model: model.name, barge_in: this.speech.policy, ...this.cast.body });
    const word = model.loaded ? message("line.starting") : message("line.loading", { model: model.name });
    this.client.begin("api/sessions", body, word, ({ note }) => {
      if (note) this.tell(note, true);
    });
  }

  #sessionChanged() {
    const { session } = this.client;
    this.#drawStart();
    this.links.draw();
    this.stage.draw(Boolean(session), Boolean(this.client.connection?.talk));
    if (Boolean(session) !== this.joined) this.tabs.show(session ? "talk" : "face");
    this.joined = Boolean(session);
    if (!session) this.toast.hide();
    this.#drawMicrophone();
    this.speech.draw();
    if (session) {
      this.#offer(session);
      return;
    }
    this.badge.rest(this.client.outcome ? "ended" : "ready");
    this.stage.endCaption();
    this.log.settle();
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
    this.speech.tellUse();
    if (this.video.srcObject) this.heardLevel.follow(this.video.srcObject);
    else this.heardLevel.followElement(this.video);
    this.#playAloud();
    if (this.microphone.stream) {
      this.microphone.send().catch((e) => this.microphone.close(messageOf(e), true));
    }
    this.#drawMicrophone();
    if (this.microphoneButton.disabled) {
      this.tell(message("talk.nochannel"));
    }
  }

  /** Offer the microphone where it can be sent: a socket carries none. */
  #drawMicrophone() {
    const { session, connection } = this.client;
    this.microphoneButton.disabled = !session || connection?.transport === "WebSocket";
  }

  #playAloud() {
    this.video.play().catch((e) => {
      if (e.name !== "NotAllowedError") return; // the connection has changed to a socket, which starts playback itself
      this.video.muted = true; // browsers allow sound only after a click or a key
      this.client.connection?.play();
      this.tell(message("line.hear"));
    });
  }

  // -- events --------------------------------------------------------------------------------------------

  /** @param {ServerEvent} event */
  #heard(event) {
    switch (event.type) {
      case "hello":
        this.speech.offerSpeakers(event.speakers ?? []);
        break;
      case "status":
        if (event.state) this.badge.take(event.state, event.speaking ?? []);
        if (event.barge_in) this.speech.bargeIn.value = event.barge_in; // of a session that was started elsewhere, too
        break;
      case "avatar":
        this.badge.heard(event);
        break;
      case "caption":
        this.stage.showCaption(event);
        break;
      case "utterance.ended":
        this.stage.endCaption(event.utterance);
        break;
      case "interrupted":
        this.speech.stopped(event.speaker);
        this.log.interrupted(event.why, event.heard ?? []);
        if (event.why !== "asked to")
          this.tell(message("talk.interrupted", { why: named("talk.why", event.why) }));
        this.silence.arrives(event.frame, this.client.fps);
        break;
      case "slow":
        this.badge.lag(event.slow);
        break;
      case "meters":
        if ((event.speaker ?? "") === this.speech.speaker) this.#showMeters(event);
        break;
      case "refused":
        if (event.id === this.speech.interruptId) this.silence.end();
        this.tell(event.why, true);
        break;
      case "warning":
        this.tell(event.why, true);
        break;
    }
  }

  /** @param {MetersEvent} meters */
  #showMeters({ sync, lag_ms, identity }) {
    const late = `${lag_ms !== null && lag_ms > 0 ? "+" : ""}${lag_ms}`;
    this.sync.textContent =
      sync === null ? message("talk.sync") : message("talk.sync.value", { sync: decimals(sync, 2), late });
    this.identity.textContent = message("talk.identity.value", { identity: decimals(identity, 2) });
  }

  /**
   * Interrupt with Escape, also from the text field. A key that is held down counts once.
   *
   * @param {KeyboardEvent} e
   */
  #escape(e) {
    if (e.key === "Escape" && !e.repeat && this.client.session) this.speech.interrupt();
  }

  /**
   * Return what a key does outside of the text field.
   *
   * @param {string} key
   */
  #actOf(key) {
    if (!this.client.session) return undefined;
    /** @type {Record<string, () => void>} */
    const acts = { i: () => this.speech.interrupt(), m: () => this.microphoneButton.click() };
    return acts[key];
  }
}

/**
 * Describe the model that draws avatars, or say why there is none.
 *
 * @param {ModelFacts | undefined} model
 */
function demands(model) {
  if (!model) return message("talk.nospeaker");
  if (!model.here) return message("talk.pull", { model: model.name });
  return message("talk.model", { model: model.name, size: model.size, fps: model.fps });
}

/**
 * Bring the avatar page's markup to life.
 *
 * @param {HTMLElement} root
 */
export function mount(root) {
  new AvatarPage(root);
  root.inert = false; // until now a click would have done nothing
}
