// @ts-check
// Begins or joins a session on the server, finds it again after a reload, sends commands, measures and ends it.

import { ApiError, ask, messageOf, posted } from "./api.js";
import { Connection } from "./connection.js";
import { PlaceInLine } from "./place_in_line.js";
import { PresentedFrames } from "./presented_frames.js";

/** @import { Session } from "./api.js" */
/** @import { Command, ServerEvent, SessionState, StatusEvent } from "./types.js" */

const MEASURE_EVERY = 500; // ms
const WAITS_KEPT = 200;
const CUES = new Set(["prompt", "seed", "set"]); // types of commands that are accepted first and shown later

/**
 * @typedef {object} Sent a command that was sent
 * @property {number} at when, by performance.now()
 * @property {boolean} isCue whether it will also be shown
 */

/**
 * @typedef {object} Figures what was measured over the last half second
 * @property {number} playedFps
 * @property {number | null} kbits a second; null where it is not known
 * @property {number | null} roundTrip ms
 */

/**
 * A command without its number, which the client adds.
 *
 * @template {Command} T
 * @typedef {T extends unknown ? Omit<T, "id"> : never} Unnumbered
 */

/**
 * @typedef {object} ClientListener
 * @property {(text: string, bad?: boolean) => void} told shows a text in the status line
 * @property {() => void} changed called when a session was joined or has ended, or a place in line was taken or left
 * @property {(event: ServerEvent) => void} heard called with each event, after the client's own fields are updated
 * @property {() => void} opened called when commands can be sent, also after a lost connection was made again
 * @property {(figures: Figures) => void} measured called twice a second
 * @property {(wait: number) => void} [seen] called with the ms from sending a prompt to presenting its first frame
 */

export class SessionClient {
  /**
   * @param {HTMLVideoElement} video where the session plays
   * @param {string} base where the server's addresses begin: "" or "../"
   * @param {string} keptAs the name under which a reload of the page finds the session again
   * @param {ClientListener} on
   */
  constructor(video, base, keptAs, on) {
    this.video = video;
    this.base = base;
    this.keptAs = keptAs;
    this.on = on;
    this.frames = new PresentedFrames(video);
    this.line = new PlaceInLine();
    /** @type {Session | null} */
    this.session = null;
    /** @type {Connection | null} */
    this.connection = null;
    this.starting = false;
    /** @type {SessionState | ""} */
    this.phase = "";
    this.model = "";
    this.fps = 0;
    this.sound = false; // whether the film has sound
    /** @type {StatusEvent | null} the newest status */
    this.status = null;
    /** @type {number[]} ms from prompt to screen, the newest last */
    this.waits = [];
    // events go to every window of a session, so windows must not use the same ids, which are integers below 2 ** 53
    this.nextId = crypto.getRandomValues(new Uint32Array(1))[0] * 2 ** 20;
    /** @type {Map<number, Sent>} commands whose last answer has not come, by their ids */
    this.sent = new Map();
    /** @type {Set<number>} ids of commands whose events are not passed on */
    this.quiet = new Set();
    /** @type {number | null} ms until the newest command was accepted */
    this.answered = null;
    /** @type {{ now: number, frames: number, bytes: number | null } | null} */
    this.counted = null;
    addEventListener("pagehide", () => this.connection?.close());
    setInterval(() => {
      if (!video.isConnected) this.connection?.close();
      else this.#measure();
    }, MEASURE_EVERY);
  }

  // -- start and end --------------------------------------------------------------------------------------------

  /**
   * Begin a session now, or once its place in line is called if the device is busy.
   *
   * @param {string} path of the POST that begins it
   * @param {() => object} body of the POST; called at each try
   * @param {string} word shown in the status line meanwhile
   * @param {(session: Session) => void} [joined] called once it plays
   */
  async begin(path, body, word, joined) {
    this.leaveLine();
    if (this.starting || this.session) return;
    this.starting = true;
    this.on.told(word);
    try {
      const init = posted({ ...body(), ticket: this.line.ticket });
      const session = /** @type {Session} */ (await ask(this.base + path, init));
      sessionStorage.setItem(this.keptAs, JSON.stringify(session));
      await this.#join(session);
      joined?.(session);
    } catch (e) {
      if (e instanceof ApiError && e.status === 503 && e.place) {
        this.on.told(e.message);
        this.line.stand(e.place.ticket, () => this.begin(path, body, word, joined));
        this.on.changed();
      } else this.#finish(messageOf(e), true);
    } finally {
      this.starting = false;
    }
  }

  /** Leave the line. Returns whether there was a place to leave. */
  leaveLine() {
    const stood = this.line.waiting;
    this.line.leave();
    if (stood) this.on.changed();
    return stood;
  }

  /** Join the session that this page had before it was reloaded, if the server still has it. */
  async resume() {
    /** @type {Session | null} */
    const kept = JSON.parse(sessionStorage.getItem(this.keptAs) || "null");
    if (!kept || this.session) return;
    const headers = { "x-longtake-key": kept.key ?? "" };
    if ((await fetch(`${this.base}api/sessions/${kept.id}`, { headers })).ok)
      await this.watch({ ...kept, ice: null });
    else sessionStorage.removeItem(this.keptAs);
  }

  /**
   * Join a session. A failure is shown in the status line.
   *
   * @param {Session} session
   */
  async watch(session) {
    await this.#join(session).catch((e) => this.#finish(messageOf(e), true));
  }

  /**
   * Connect to a session; throws an Error if the server does not answer the offer.
   *
   * @param {Session} session
   */
  async #join(session) {
    this.session = session;
    this.phase = "";
    this.on.changed();
    this.connection = new Connection(this.video, this.frames, this.base, session, {
      heard: (event) => this.#heard(event),
      opened: () => this.on.opened(),
      lost: () => this.on.told("reconnecting"),
      ended: (why) => this.#finish(why, true),
    });
    await this.connection.open();
  }

  /** End the session over HTTP: a command on a channel that is closed at once may not arrive. */
  end() {
    if (!this.session) return;
    const { id, key } = this.session;
    const headers = { "x-longtake-key": key ?? "" };
    fetch(`${this.base}api/sessions/${id}`, { method: "DELETE", headers, keepalive: true }).catch(() => {});
    this.#finish("ended");
  }

  /** @param {string} why shown to a person */
  #finish(why, bad = false) {
    this.session = null;
    this.sent.clear();
    this.quiet.clear();
    sessionStorage.removeItem(this.keptAs);
    this.connection?.close();
    this.on.changed();
    this.on.told(why, bad);
  }

  // -- commands and events --------------------------------------------------------------------------------------

  /**
   * Send a command. Returns its id; null while no connection is open.
   *
   * @param {Unnumbered<Command>} command
   * @param {{ quiet?: boolean }} how quiet: its events are not passed on to the page
   */
  send(command, { quiet = false } = {}) {
    if (!this.session || !this.connection?.talk) return null;
    const id = this.nextId++;
    this.sent.set(id, { at: performance.now(), isCue: CUES.has(command.type) });
    if (quiet) this.quiet.add(id);
    this.connection.talk(JSON.stringify({ id, ...command }));
    return id;
  }

  /**
   * Post to the session, with its key. Returns the answer's JSON; throws an ApiError if the server refuses.
   *
   * @param {string} path below the session's own
   * @param {RequestInit} init
   */
  async post(path, init = {}) {
    return this.#ask(path, { ...init, method: "POST" });
  }

  /**
   * Delete something of the session, with its key; throws an ApiError if the server refuses.
   *
   * @param {string} path below the session's own
   */
  async delete(path) {
    await this.#ask(path, { method: "DELETE" });
  }

  /**
   * @param {string} path
   * @param {RequestInit} init
   */
  async #ask(path, init) {
    if (!this.session) throw new Error("there is no session");
    const headers = new Headers(init.headers);
    headers.set("x-longtake-key", this.session.key ?? "");
    return ask(`${this.base}api/sessions/${this.session.id}/${path}`, { ...init, headers });
  }

  /** @param {ServerEvent} event */
  #heard(event) {
    if ("id" in event && event.id !== null && this.quiet.has(event.id)) return;
    switch (event.type) {
      case "hello":
        this.model = event.model;
        this.fps = event.fps;
        this.sound = event.sound;
        this.phase = event.phase;
        break;
      case "status":
        this.status = event;
        this.frames.startsAt(event.first_pts);
        break;
      case "accepted":
        this.#measureAnswer(event.id);
        break;
      case "refused":
      case "taken_back":
        if (event.id !== null) this.sent.delete(event.id);
        break;
      case "shown":
        this.#measureWait(event.id, event.frame);
        break;
      case "phase":
        this.phase = event.phase;
        break;
    }
    this.on.heard(event);
    if (event.type === "phase" && (event.phase === "ended" || event.phase === "failed")) {
      this.#finish(event.why || event.phase, true);
    }
  }

  // -- measuring ------------------------------------------------------------------------------------------------

  /**
   * Measure the ms from sending a command until it was accepted.
   *
   * @param {number} id of the command, which another window may have sent
   */
  #measureAnswer(id) {
    const sent = this.sent.get(id);
    if (sent === undefined) return;
    this.answered = performance.now() - sent.at;
    if (!sent.isCue) this.sent.delete(id);
  }

  /**
   * Measure the ms from sending a prompt to presenting its first frame.
   *
   * @param {number} id of the command
   * @param {number} frame its first frame
   */
  #measureWait(id, frame) {
    const sent = this.sent.get(id);
    if (sent === undefined) return;
    this.sent.delete(id);
    this.frames.whenShown(frame, this.fps, (at) => {
      this.waits.push(at - sent.at);
      if (this.waits.length > WAITS_KEPT) this.waits.shift();
      this.on.seen?.(at - sent.at);
    });
  }

  async #measure() {
    if (!this.session || !this.connection) return;
    const now = performance.now();
    const { frames: decoded, bytes, roundTrip } = await this.connection.stats();
    // Firefox does not count the frames that an element plays from a connection
    const frames = decoded ?? this.video.getVideoPlaybackQuality().totalVideoFrames;
    const old = this.counted;
    this.counted = { now, frames, bytes };
    if (!old || !this.session || this.connection.returning) return;
    const seconds = (now - old.now) / 1000;
    const came = bytes === null || old.bytes === null ? null : bytes - old.bytes;
    this.on.measured({
      playedFps: Math.max(0, Math.round((frames - old.frames) / seconds)),
      kbits: came === null ? null : Math.round((8 * came) / seconds / 1000),
      roundTrip: roundTrip ?? this.answered, // over a socket: ms until a command was accepted
    });
  }
}
