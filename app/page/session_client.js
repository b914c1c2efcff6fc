// @ts-check
// Begins or joins a session on the server, finds it again after a reload, sends commands, measures and ends it.

import { ApiError, ask, fetchFile, messageOf, posted } from "./api.js";
import { CUES, CommandTimes } from "./command_times.js";
import { message, named } from "./messages.js";
import { PlaceInLine } from "./place_in_line.js";
import { PresentedFrames } from "./presented_frames.js";
import { StreamMeasures } from "./stream_measures.js";

/** @import { Session } from "./api.js" */
/** @import { Connection } from "./connection.js" */
/** @import { Figures } from "./stream_measures.js" */
/** @import { Command, ServerEvent, SessionState, StatusEvent } from "./types.js" */

const MEASURE_EVERY = 500; // ms

/**
 * A command without its number, which the client adds.
 *
 * @template {Command} T
 * @typedef {T extends unknown ? Omit<T, "id"> : never} Unnumbered
 */

/**
 * @typedef {object} ClientListener
 * @property {(text: string, bad?: boolean) => void} told shows a text in the status line
 * @property {() => void} changed called when a session was joined, lost or has ended, and when a place in line changed
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
    this.opened = false; // whether the session's connection was ever open
    /** @type {number | null} place in line for a busy device */
    this.place = null;
    /** @type {{ why: string, bad: boolean, status?: number } | null} how the last session ended or failed to begin, with the
     * HTTP status of a refusal; null before that */
    this.outcome = null;
    /** @type {SessionState | ""} */
    this.phase = "";
    this.model = "";
    this.fps = 0;
    this.sound = false; // whether the film has sound
    /** @type {StatusEvent | null} the newest status */
    this.status = null;
    this.times = new CommandTimes();
    // events go to every window of a session, so windows must not use the same ids, which are integers below 2 ** 53
    this.nextId = crypto.getRandomValues(new Uint32Array(1))[0] * 2 ** 20;
    /** @type {Set<number>} ids of commands whose events are not passed on */
    this.quiet = new Set();
    /** @type {Map<number, string>} cues that the server has not answered, by their ids: a lost connection may have lost them */
    this.unanswered = new Map();
    this.measures = new StreamMeasures();
    addEventListener("pagehide", () => this.connection?.close());
    setInterval(() => {
      if (!video.isConnected) this.connection?.close();
      else this.#measure();
    }, MEASURE_EVERY);
  }

  /**
   * Begin a session now, or once its place in line is called if the device is busy.
   *
   * @param {string} path of the POST that begins it
   * @param {() => object} body of the POST; called at each try
   * @param {string} word shown in the status line meanwhile
   * @param {(session: Session) => void} [joined] called once it plays
   */
  async begin(path, body, word, joined) {
    this.line.leave();
    if (this.starting || this.session) return;
    this.starting = true;
    this.outcome = null;
    this.on.told(word);
    this.on.changed();
    try {
      import("./connection.js").catch(() => {}); // meanwhile; joining asks again and tells why it cannot be had
      const init = posted({ ...body(), ticket: this.line.ticket });
      const session = /** @type {Session} */ (await ask(this.base + path, init));
      sessionStorage.setItem(this.keptAs, JSON.stringify(session));
      await this.#join(session);
      joined?.(session);
    } catch (e) {
      if (e instanceof ApiError && e.status === 503 && e.place) {
        this.on.told(e.message);
        this.place = e.place.place;
        this.line.stand(e.place.ticket, () => this.begin(path, body, word, joined));
      } else this.#finish(messageOf(e), true, e instanceof ApiError ? e.status : undefined);
    } finally {
      this.starting = false;
      this.on.changed();
    }
  }

  /** Leave the line. Returns whether there was a place to leave. */
  leaveLine() {
    const stood = this.line.waiting;
    this.line.leave();
    this.place = null;
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
    this.place = null;
    this.status = null;
    this.opened = false;
    this.connection = null;
    this.on.changed();
    const { Connection } = await import("./connection.js");
    if (this.session !== session) return; // it was ended meanwhile
    this.connection = new Connection(this.video, this.frames, this.base, session, {
      heard: (event) => this.#heard(event),
      opened: () => {
        this.opened = true;
        for (const text of this.unanswered.values()) this.connection?.talk?.(text);
        this.on.opened();
        this.on.changed();
      },
      lost: () => {
        this.measures.forget();
        this.times.interrupt();
        this.on.told(message("line.reconnecting"));
        this.on.changed();
      },
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
    this.#finish(message("line.ended"));
  }

  /**
   * @param {string} why shown to a person
   * @param {number} [status] of the HTTP answer that refused it
   */
  #finish(why, bad = false, status = undefined) {
    this.session = null;
    this.place = null;
    this.outcome = { why, bad, status };
    this.times.sent.clear();
    this.quiet.clear();
    this.unanswered.clear();
    sessionStorage.removeItem(this.keptAs);
    this.connection?.close();
    this.on.changed();
    this.on.told(why, bad);
  }

  /**
   * Send a command. Returns its id; null while no connection is open.
   *
   * @param {Unnumbered<Command>} command
   * @param {{ quiet?: boolean }} how quiet: its events are not passed on to the page
   */
  send(command, { quiet = false } = {}) {
    if (!this.session || !this.connection?.talk) return null;
    const id = this.nextId++;
    if (!("at" in command)) this.times.begin(id, command.type, this.phase === "live"); // else it waits for its time
    if (quiet) this.quiet.add(id);
    const text = JSON.stringify({ id, ...command });
    if (CUES.has(command.type)) this.unanswered.set(id, text);
    this.connection.talk(text);
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
   * Fetch a file of the session, with its key; throws an ApiError if the server refuses.
   *
   * @param {string} path below the session's own
   * @returns {Promise<Blob>}
   */
  async file(path) {
    if (!this.session) throw new Error(message("line.nosession"));
    const { id, key } = this.session;
    return fetchFile(`${this.base}api/sessions/${id}/${path}`, { headers: { "x-longtake-key": key ?? "" } });
  }

  /**
   * @param {string} path
   * @param {RequestInit} init
   */
  async #ask(path, init) {
    if (!this.session) throw new Error(message("line.nosession"));
    const headers = new Headers(init.headers);
    headers.set("x-longtake-key", this.session.key ?? "");
    return ask(`${this.base}api/sessions/${this.session.id}/${path}`, { ...init, headers });
  }

  /** @param {ServerEvent} event */
  #heard(event) {
    if ((event.type === "accepted" || event.type === "refused") && event.id !== null)
      this.unanswered.delete(event.id);
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
        this.times.accepted(event.id);
        break;
      case "refused":
      case "taken_back":
        if (event.id !== null) this.times.sent.delete(event.id);
        break;
      case "shown":
        this.#measureWait(event.id, event.frame);
        break;
      case "phase":
        this.phase = event.phase;
        if (event.phase === "paused") this.times.interrupt();
        break;
    }
    this.on.heard(event);
    if (event.type === "phase" && (event.phase === "ended" || event.phase === "failed")) {
      this.#finish(event.why || named("line", event.phase), true);
    }
  }

  /**
   * Measure the ms from sending a prompt to presenting its first frame.
   *
   * @param {number} id of the command
   * @param {number} frame its first frame
   */
  #measureWait(id, frame) {
    const sentAt = this.times.shown(id);
    if (sentAt === null) return;
    this.frames.whenShown(frame, this.fps, (at) => {
      this.times.keep(at - sentAt);
      this.on.seen?.(at - sentAt);
    });
  }

  async #measure() {
    if (!this.session || !this.connection) return;
    const now = performance.now();
    const { frames: decoded, bytes, roundTrip } = await this.connection.stats();
    if (!this.session || this.connection.returning) return;
    // Firefox does not count the frames that an element plays from a connection
    const frames = decoded ?? this.video.getVideoPlaybackQuality().totalVideoFrames;
    // over a socket the round trip is the ms until a command was accepted
    const figures = this.measures.add({ now, frames, bytes, roundTrip: roundTrip ?? this.times.answered });
    if (figures) this.on.measured(figures);
  }
}
