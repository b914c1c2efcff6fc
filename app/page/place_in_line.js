// A place in line for a device that is busy: asked for again until it is given, or left by the Start button.
(() => {
  "use strict";

  const ASK_EVERY = 2000; // ms

  class Queue {
    constructor(start) { // the button that begins a session, and leaves the line while it stands there
      this.start = start;
    }

    stand(again) {
      this.asking = setTimeout(again, ASK_EVERY);
      this.start.textContent = "Cancel";
    }

    leave() { // whether it stood there
      const stood = this.asking !== undefined;
      clearTimeout(this.asking);
      this.asking = undefined;
      if (stood) this.start.textContent = "Start";
      return stood;
    }
  }

  window.longtake = Object.assign(window.longtake || {}, { Queue });
})();
