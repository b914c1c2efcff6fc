// When a frame came on the screen: the browser's own account of what it presented, matched by media time.
(() => {
  "use strict";
  const TICKS = 90000; // of media time a second
  const NEAR = 1000; // ticks; a frame lasts thousands

  class Screen {
    constructor(video) {
      this.video = video;
      this.begin();
      if (video.requestVideoFrameCallback) this.look();
      document.addEventListener("visibilitychange", () => { if (!this.presented.length) this.unseen ||= document.hidden; });
    }

    begin() { // of a connection: its RTP times count from a random number
      this.first = null; // media time of the first frame that the server sent us
      this.firstRtp = null;
      this.unseen = document.hidden; // a hidden page is not told of its first frames, so none can be matched to a time
      this.attached = false; // until then what is presented is the old connection's
      this.presented = []; // the newest frames
      this.asked = [];
    }

    attach() { this.attached = true; } // the video shows the new connection from here on

    look() {
      this.video.requestVideoFrameCallback((_, frame) => {
        this.look();
        if (!this.attached) return;
        if (frame.rtpTimestamp === undefined) this.unseen = false; // its media time is the film's own
        else this.firstRtp ??= frame.rtpTimestamp;
        this.presented.push(frame);
        if (this.presented.length > 64) this.presented.shift();
        this.settle();
      });
    }

    startsAt(pts) { if (this.first === null && pts !== null && pts !== undefined) { this.first = pts; this.settle(); } }

    mediaTime(frame) { // in ticks; null while it cannot be known
      if (frame.rtpTimestamp === undefined) return frame.mediaTime * TICKS;
      return this.first === null || this.unseen ? null : ((frame.rtpTimestamp - this.firstRtp) >>> 0) + this.first;
    }

    // `tell` gets the time (as performance.now has it) at which the frame of that number was presented
    ask(number, fps, tell) {
      if (!this.video.requestVideoFrameCallback || this.unseen) { tell(performance.now()); return; }
      this.asked.push({ pts: Math.floor((number * TICKS) / fps) - NEAR, tell });
      this.settle();
    }

    settle() {
      this.asked = this.asked.filter(({ pts, tell }) => {
        const frame = this.presented.find((f) => { const at = this.mediaTime(f); return at !== null && at >= pts; });
        if (frame) tell(frame.expectedDisplayTime);
        return !frame;
      });
    }
  }

  window.longtake = Object.assign(window.longtake || {}, { Screen });
})();
