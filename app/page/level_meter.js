// @ts-check
// How loud a sound is, as a bar that is redrawn ten times a second.

const FLOOR = -60; // dBFS, where the bar begins
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
    /** @type {AudioNode | null} what is heard now */
    this.source = null;
    /** @type {MediaElementAudioSourceNode | null} */
    this.played = null;
    this.samples = new Float32Array(WINDOW);
    setInterval(() => this.#draw(), DRAW_EVERY);
  }

  /** @param {MediaProvider | null} stream null: nothing more */
  follow(stream) {
    if (this.analyser) this.source?.disconnect(this.analyser);
    this.source = null;
    if (!(stream instanceof MediaStream) || !stream.getAudioTracks().length) return;
    this.#tap((context) => context.createMediaStreamSource(stream));
  }

  /** @param {HTMLMediaElement} media one that plays a file, which is no stream */
  followElement(media) {
    this.follow(null);
    this.#tap((context) => {
      if (!this.played) {
        // an element is tapped once in its life, and from then on heard only if it is passed on
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

  /** Begin to listen, which a browser refuses until the page was touched. */
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
