// @ts-check
// Plays fragmented MP4 in a video element by Media Source Extensions (W3C), near the newest picture.

const MOST_BEHIND = 1.5; // seconds behind the newest picture at which playback jumps
const JUMP_TO = 0.3; // seconds behind the newest picture after a jump
const MOST_HELD = 30; // seconds of the past that are buffered
const HELD = 15; // seconds of the past that stay when older ones are dropped

/**
 * Return the browser's class of media sources; undefined if it has none. Some phones have only the managed class.
 *
 * @returns {typeof MediaSource | undefined}
 */
export function mediaSource() {
  return Reflect.get(window, "ManagedMediaSource") ?? Reflect.get(window, "MediaSource");
}

/** Plays one stream, from its codec to its last fragment. */
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
    video.disableRemotePlayback = true; // a managed source opens only then
    video.src = URL.createObjectURL(this.media);
  }

  /** @param {string} codec of the stream, such as avc1.42c01f (RFC 6381) */
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

  /** Keep playback near the newest picture, and drop old ones from the buffer. */
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
    video.play().catch(() => {}); // a browser may refuse until the first click or key
  }
}
