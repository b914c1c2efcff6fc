// @ts-check
// Plays fragmented MP4 in a video element by Media Source Extensions (W3C), near the newest picture.

const MOST_BEHIND = 1.5; // seconds behind the newest picture before playback jumps
const JUMP_TO = 0.3; // seconds behind it after a jump
const MOST_HELD = 30; // seconds of the past that are buffered
const HELD = 15; // seconds that stay when the past is dropped

/**
 * Return the browser's class of media sources, undefined if it has none. A phone may have the managed one alone.
 *
 * @returns {typeof MediaSource | undefined}
 */
export function mediaSource() {
  return Reflect.get(window, "ManagedMediaSource") ?? Reflect.get(window, "MediaSource");
}

/** One stream, from its codec to its last fragment. */
export class FragmentPlayer {
  /**
   * @param {HTMLVideoElement} video
   * @param {typeof MediaSource} Source
   */
  constructor(video, Source) {
    this.video = video;
    this.media = new Source();
    /** @type {SourceBuffer | null} */
    this.buffer = null;
    /** @type {ArrayBuffer[]} */
    this.waiting = [];
    video.srcObject = null;
    video.disableRemotePlayback = true; // else a managed source does not open
    video.src = URL.createObjectURL(this.media);
  }

  /** @param {string} codec such as avc1.42c01f */
  begin(codec) {
    const open = () => {
      this.buffer = this.media.addSourceBuffer(`video/mp4; codecs="${codec}"`);
      this.buffer.mode = "segments";
      this.buffer.onupdateend = () => {
        this.#chase();
        this.#feed();
      };
      this.#feed();
    };
    if (this.media.readyState === "open") open();
    else this.media.addEventListener("sourceopen", open, { once: true });
  }

  /** @param {ArrayBuffer} fragment */
  add(fragment) {
    this.waiting.push(fragment);
    this.#feed();
  }

  #feed() {
    if (!this.buffer || this.buffer.updating) return;
    const next = this.waiting.shift();
    if (next) this.buffer.appendBuffer(next);
  }

  /** Stay near the newest picture, and forget old ones. */
  #chase() {
    const { buffer, video } = this;
    const ranges = buffer?.buffered;
    if (!buffer || !ranges?.length) return;
    const start = ranges.start(0);
    const end = ranges.end(ranges.length - 1);
    if (video.currentTime < start || end - video.currentTime > MOST_BEHIND) {
      video.currentTime = Math.max(start, end - JUMP_TO);
    }
    if (end - start > MOST_HELD && !buffer.updating) buffer.remove(0, end - HELD);
    video.play().catch(() => {}); // a page that nobody has touched may not play yet
  }
}
