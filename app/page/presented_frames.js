// @ts-check
// Finds out when a frame was presented on the screen: the browser reports each frame, which is matched by media time.

const TICKS = 90000; // media time in a second
const TOLERANCE = 1000; // ticks; a frame lasts thousands
const KEPT = 64; // newest frames that are remembered

/** Follows the frames of one video element, from connection to connection. */
export class PresentedFrames {
  /** @param {HTMLVideoElement} video */
  constructor(video) {
    this.video = video;
    this.newestAt = -Infinity; // performance.now() at which the newest frame was presented
    this.supported = "requestVideoFrameCallback" in video;
    this.begin();
    if (this.supported) this.#look();
    document.addEventListener("visibilitychange", () => {
      if (!this.presented.length) this.unseen ||= document.hidden;
    });
  }

  /** Forget the frames: the RTP times of a new connection count from another random number. */
  begin() {
    /** @type {number | null} media time in ticks of the first frame that the server sent here */
    this.firstPts = null;
    /** @type {number | null} */
    this.firstRtp = null;
    // a hidden page gets no report of its first frames, so that no later one can be matched to a media time
    this.unseen = document.hidden;
    this.attached = false;
    /** @type {VideoFrameCallbackMetadata[]} */
    this.presented = [];
    /** @type {{ pts: number, done: (at: number) => void }[]} */
    this.awaited = [];
  }

  /** Begin to count frames. Until the video shows the new connection, reported frames belong to the old one. */
  attach() {
    this.attached = true;
  }

  /** @param {number | null | undefined} pts media time in ticks of the first frame; null until the server reports it */
  startsAt(pts) {
    if (this.firstPts !== null || pts === null || pts === undefined) return;
    this.firstPts = pts;
    this.#settle();
  }

  /**
   * Call `done` with the time, as performance.now() has it, at which a frame was presented.
   *
   * In a browser that does not report frames, `done` is called at once with the present time.
   *
   * @param {number} frame its number since the beginning of the take
   * @param {number} fps
   * @param {(at: number) => void} done
   */
  whenShown(frame, fps, done) {
    if (!this.supported || this.unseen) {
      done(performance.now());
      return;
    }
    this.awaited.push({ pts: Math.floor((frame * TICKS) / fps) - TOLERANCE, done });
    this.#settle();
  }

  #look() {
    this.video.requestVideoFrameCallback((_, frame) => {
      this.#look();
      this.newestAt = performance.now();
      if (!this.attached) return;
      if (frame.rtpTimestamp === undefined)
        this.unseen = false; // played from a file: the browser's media time is the film's
      else this.firstRtp ??= frame.rtpTimestamp;
      this.presented.push(frame);
      if (this.presented.length > KEPT) this.presented.shift();
      this.#settle();
    });
  }

  /**
   * @param {VideoFrameCallbackMetadata} frame
   * @returns {number | null} media time in ticks; null while it cannot be known
   */
  #mediaTime(frame) {
    if (frame.rtpTimestamp === undefined) return frame.mediaTime * TICKS;
    if (this.firstPts === null || this.firstRtp === null || this.unseen) return null;
    return ((frame.rtpTimestamp - this.firstRtp) >>> 0) + this.firstPts;
  }

  #settle() {
    this.awaited = this.awaited.filter(({ pts, done }) => {
      const frame = this.presented.find((f) => {
        const at = this.#mediaTime(f);
        return at !== null && at >= pts;
      });
      if (frame) done(frame.expectedDisplayTime);
      return !frame;
    });
  }
}
