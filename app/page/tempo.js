// @ts-check
// Follows a tempo that is tapped, and holds cues back so that they land on the chunk border nearest to a beat.

/** @import { Timeline } from "./timeline.js" */
/** @import { StatusEvent } from "./types.js" */

const PAUSE = 2000; // ms after which taps begin anew
const TAPS = 8; // newest taps that count
const BEATS = 2; // that a cue waits at most
const GAIN = 15; // ms by which a later border must be nearer to its beat

export class Tempo {
  constructor() {
    /** @type {number[]} times of the newest taps in ms */
    this.taps = [];
    this.on = false; // whether cues wait for a beat
    this.border = 0; // time in ms at which a chunk border is shown
    this.chunk = 0; // length of a chunk in ms; 0: not known yet
  }

  /** Return the length of a beat in ms; 0: none is known. */
  get beat() {
    const [first = 0] = this.taps;
    const last = this.taps.at(-1) ?? 0;
    return this.taps.length > 1 ? (last - first) / (this.taps.length - 1) : 0;
  }

  /** Return beats a minute. */
  get bpm() {
    return this.beat ? 60_000 / this.beat : 0;
  }

  /** @param {number} now in ms */
  tap(now) {
    if (now - (this.taps.at(-1) ?? 0) > PAUSE) this.taps = [];
    this.taps = [...this.taps, now].slice(-TAPS);
  }

  /**
   * Take a tempo that is known, with a beat now.
   *
   * @param {number} bpm
   * @param {number} now in ms
   */
  set(bpm, now) {
    this.taps = [now - 60_000 / bpm, now];
  }

  /**
   * Follow a session: where the next chunk border is that a cue can land on.
   *
   * @param {StatusEvent} status
   * @param {Timeline} timeline
   */
  hear({ latent, playhead }, timeline) {
    const ahead = timeline.seconds(latent) - playhead / timeline.fps;
    const length = timeline.seconds(latent + timeline.chunk) - timeline.seconds(latent);
    this.follow(performance.now() + 1000 * ahead, 1000 * length);
  }

  /**
   * Follow where the chunk borders are.
   *
   * @param {number} border time in ms at which one is shown
   * @param {number} chunk length of a chunk in ms
   */
  follow(border, chunk) {
    this.border = border;
    this.chunk = chunk;
  }

  /**
   * Return how many ms a cue is to wait, which would land on the border that is shown at `border` or later.
   */
  get wait() {
    const { beat, chunk } = this;
    if (!this.on || !beat || !chunk) return 0;
    let best = 0;
    for (let n = 1; n * chunk <= BEATS * beat; n++) if (this.#off(n) < this.#off(best) - GAIN) best = n;
    return best * chunk;
  }

  /** Return how many ms the border on which a cue would land now is off its nearest beat. */
  get off() {
    return this.beat && this.chunk ? this.#off(this.wait / this.chunk) : 0;
  }

  /** @param {number} n borders later */
  #off(n) {
    const since = this.border + n * this.chunk - (this.taps.at(-1) ?? 0);
    const rest = ((since % this.beat) + this.beat) % this.beat;
    return Math.min(rest, this.beat - rest);
  }
}
