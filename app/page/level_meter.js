// How loud a stream is, for a meter; looks ten times a second and holds nothing else.
(() => {
  "use strict";
  const FLOOR = -60; // dBFS, where a meter begins

  class Level {
    constructor(element) {
      this.element = element;
      setInterval(() => this.draw(), 100);
    }

    follow(stream) { // null: nothing more
      this.source?.disconnect(this.analyser);
      this.source = null;
      if (stream?.getAudioTracks().length) this.tap((context) => context.createMediaStreamSource(stream));
    }

    followElement(media) { // one that plays a file, which is no stream
      this.follow(null);
      this.tap((context) => {
        if (!this.played) { // an element is tapped once in its life, and from then on heard only if it is passed on
          this.played = context.createMediaElementSource(media);
          this.played.connect(context.destination);
        }
        return this.played;
      });
    }

    tap(source) {
      this.context = this.context || new AudioContext();
      this.resume();
      this.analyser = this.analyser || Object.assign(this.context.createAnalyser(), { fftSize: 2048 });
      this.source = source(this.context);
      this.source.connect(this.analyser);
    }

    resume() { this.context?.resume(); } // a browser holds it until the page was touched

    now() { // dBFS
      if (!this.source) return FLOOR;
      const samples = new Float32Array(this.analyser.fftSize);
      this.analyser.getFloatTimeDomainData(samples);
      return Math.max(FLOOR, 10 * Math.log10(samples.reduce((sum, x) => sum + x * x, 0) / samples.length + 1e-12));
    }

    draw() {
      this.level = this.now();
      this.element.style.setProperty("--level", Math.round((100 * (this.level - FLOOR)) / -FLOOR));
    }
  }

  window.longtake = Object.assign(window.longtake || {}, { Level });
})();
