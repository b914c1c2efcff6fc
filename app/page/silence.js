// @ts-check
// Mutes an interrupted avatar at once, until the browser's buffers hold nothing more of what it was saying.

/** @import { LevelMeter } from "./level_meter.js" */
/** @import { PresentedFrames } from "./presented_frames.js" */

const QUIET = -55; // dBFS; a lower level is silence
const QUIET_FOR = 300; // ms of silence that end the wait: a pause between two words is shorter
const MOST_BUFFERED = 1500; // ms; a browser buffers less sound than this
const LOOK_EVERY = 20; // ms

export class Silence {
  /**
   * @param {HTMLVideoElement} video
   * @param {PresentedFrames} frames of the video
   * @param {LevelMeter} level of the received sound
   */
  constructor(video, frames, level) {
    this.video = video;
    this.frames = frames;
    this.level = level;
    this.active = false;
    /** @type {ReturnType<typeof setInterval> | undefined} */
    this.timer = undefined;
  }

  /** Mute the video. It stays muted until the server's answer is given to `arrives`, or `end` is called. */
  begin() {
    this.active = true;
    this.video.muted = true;
  }

  /**
   * Unmute the video once the server's silence is heard here. Does nothing if `begin` was not called before.
   *
   * The silence is here when its first frame is presented and no louder sound has been heard for a while. A picture
   * that stands still, as in a hidden tab, presents no frame; then the sound that was buffered has run out by itself.
   *
   * @param {number} frame number of the first silent frame
   * @param {number} fps
   */
  arrives(frame, fps) {
    if (!this.active) return;
    clearInterval(this.timer);
    const asked = performance.now();
    let lastLoud = asked;
    /** @type {number | null} performance.now() at which the first silent frame was presented */
    let presented = null;
    const timer = setInterval(() => {
      const now = performance.now();
      if (this.level.now() > QUIET) lastLoud = now;
      if (now - Math.max(asked, this.frames.newestAt) > MOST_BUFFERED) presented ??= now;
      if (presented === null) return;
      if (now - lastLoud >= QUIET_FOR || now - presented > MOST_BUFFERED) this.end();
    }, LOOK_EVERY);
    this.timer = timer;
    this.frames.whenShown(frame, fps, () => {
      presented ??= performance.now();
    });
  }

  /** Unmute the video now: nothing was interrupted, or the connection is a new one. */
  end() {
    if (!this.active) return;
    this.active = false;
    clearInterval(this.timer);
    this.video.muted = false;
  }
}
