// @ts-check
// Measures how a stream arrives: frames and bits a second over the last two seconds.

const KEPT = 5; // newest counts
const SHORTEST = 0.4; // seconds over which a rate means something

/**
 * @typedef {object} Figures what was measured over the last two seconds
 * @property {number} playedFps
 * @property {number | null} kbits a second; null where it is not known
 * @property {number | null} roundTrip ms
 */

/**
 * @typedef {object} Count what was received until a moment
 * @property {number} now ms, by performance.now()
 * @property {number} frames
 * @property {number | null} bytes
 * @property {number | null} roundTrip ms
 */

export class StreamMeasures {
  constructor() {
    /** @type {Count[]} the oldest first */
    this.counts = [];
  }

  /** Forget what was counted: a new connection counts its bytes from zero. */
  forget() {
    this.counts = [];
  }

  /**
   * Add a count. Returns the figures since the oldest one that is kept; null while there is too little to measure.
   *
   * @param {Count} count
   * @returns {Figures | null}
   */
  add(count) {
    const last = this.counts.at(-1);
    if (last && (count.frames < last.frames || (count.bytes ?? 0) < (last.bytes ?? 0))) this.forget();
    this.counts.push(count);
    if (this.counts.length > KEPT) this.counts.shift();
    const [first] = this.counts;
    if (!first) return null;
    const seconds = (count.now - first.now) / 1000;
    if (seconds < SHORTEST) return null;
    const bytes = count.bytes === null || first.bytes === null ? null : count.bytes - first.bytes;
    return {
      playedFps: Math.round((count.frames - first.frames) / seconds),
      kbits: bytes === null ? null : Math.round((8 * bytes) / seconds / 1000),
      roundTrip: count.roundTrip,
    };
  }
}
