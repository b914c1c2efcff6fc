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
      this.source?.disconnect();
      this.source = null;
      if (!stream || !stream.getAudioTracks().length) return;
      this.context = this.context || new AudioContext();
      this.context.resume();
      this.analyser = this.analyser || Object.assign(this.context.createAnalyser(), { fftSize: 2048 });
      this.source = this.context.createMediaStreamSource(stream);
      this.source.connect(this.analyser);
    }

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
