// @ts-check
// Shows the level of a sound as a bar that is redrawn ten times a second.

const FLOOR = -60; // dBFS at the left end of the bar
const DRAW_EVERY = 100; // ms
const WINDOW = 2048; // samples

export class LevelMeter {
  /** @param {HTMLElement} bar takes its width in percent from the CSS variable --level */
  constructor(bar) {
    this.bar = bar;
    /** @type {AudioContext | null} */
    this.context = null;
    /** @type {AnalyserNode | null} */
    this.analyser = null;
    /** @type {AudioNode | null} the sound that is measured now */
    this.source = null;
    /** @type {MediaElementAudioSourceNode | null} */
    this.played = null;
    this.samples = new Float32Array(WINDOW);
    setInterval(() => this.#draw(), DRAW_EVERY);
  }

  /**
   * Measure the sound of a stream, or nothing for null.
   *
   * @param {MediaProvider | null} stream
   */
  follow(stream) {
    if (this.analyser) this.source?.disconnect(this.analyser);
    this.source = null;
    if (!(stream instanceof MediaStream) || !stream.getAudioTracks().length) return;
    this.#tap((context) => context.createMediaStreamSource(stream));
  }

  /**
   * Measure what an element plays; for an element that plays a media source instead of a stream.
   *
   * @param {HTMLMediaElement} media
   */
  followElement(media) {
    this.follow(null);
    this.#tap((context) => {
      if (!this.played) {
        // an element can be tapped only once, and from then on is heard only through this connection
        this.played = context.createMediaElementSource(media);
        this.played.connect(context.destination);
      }
      return this.played;
    });
  }

  /** @param {(context: AudioContext) => AudioNode} source */
  #tap(source) {
    this.context ??= new AudioContext();
    this.analyser ??= new AnalyserNode(this.context, { fftSize: WINDOW });
    this.resume();
    this.source = source(this.context);
    this.source.connect(this.analyser);
  }

  /** Begin to measure; a browser refuses it until the first click or key. */
  resume() {
    this.context?.resume();
  }

  /** Return the level now in dBFS, at least -60. */
  now() {
    if (!this.source || !this.analyser) return FLOOR;
    this.analyser.getFloatTimeDomainData(this.samples);
    const power = this.samples.reduce((sum, x) => sum + x * x, 0) / WINDOW;
    return Math.max(FLOOR, 10 * Math.log10(power + 1e-12));
  }

  #draw() {
    this.bar.style.setProperty("--level", String(Math.round((100 * (this.now() - FLOOR)) / -FLOOR)));
  }
}
