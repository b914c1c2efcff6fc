// The avatar's page: who speaks, what it says, and who interrupts it.
(() => {
  "use strict";
  const BASE = "../";
  const KEPT = "longtake.avatar"; // what a reload of the page needs to go on
  const UNMUTE_AFTER = 1500; // ms, should the first silent frame never be seen
  const QUIET = -55; // dBFS

  class Avatar {
    constructor(root) {
      this.root = root;
      for (const name of ["video", "state", "out", "in", "sync", "identity", "status", "start", "interrupt",
        "text", "say", "sound", "microphone", "note", "share", "take", "record", "facts"]) this[name] = root.querySelector(`[data-lt=${name}]`);
      this.faces = new window.longtake.Faces(root, (text, bad) => this.tell(text, bad));
      this.next = 1;
      this.events = [];
      this.status_ = {};
      this.screen = new window.longtake.Screen(this.video);
      this.queue = new window.longtake.Queue(this.start);
      this.heardLevel = new window.longtake.Level(this.out);
      this.spokenLevel = new window.longtake.Level(this.in);
      this.start.onclick = () => (this.session ? this.end() : this.queue.leave() ? this.word("left the line") : this.begin());
      this.interrupt.onclick = () => this.silence();
      this.say.onclick = () => this.sayText();
      this.text.onkeydown = (e) => { if (e.key === "Enter" && !e.isComposing && !e.repeat) this.sayText(); };
      this.sound.onchange = () => { const [file] = this.sound.files; this.sound.value = ""; if (file) this.play(file); };
      this.microphone.onclick = () => (this.mic ? this.closeMicrophone("the microphone is off") : this.openMicrophone());
      for (const radio of root.querySelectorAll("[name=lt-use]")) radio.onchange = () => this.tellUse();
      document.addEventListener("keydown", (e) => this.hotkey(e));
      addEventListener("pagehide", () => this.connection?.close());
      setInterval(() => { if (!root.isConnected) this.connection?.close(); else this.measure(); }, 500);
      this.enable(false);
      this.load();
    }

    async load() {
      const [models, known] = await Promise.all(["api/models", "api/faces"].map(async (path) => (await fetch(BASE + path)).json()));
      this.model = models.find((m) => m.speaks);
      this.readsText = known.speaks_text;
      this.facts.textContent = !this.model ? "no model here speaks" : this.model.here
        ? `${this.model.name}: ${this.model.size} at ${this.model.fps} fps` : `not here: longtake models pull ${this.model.name}`;
      this.start.disabled = !this.model?.here;
      if (!this.readsText) { this.text.disabled = true; this.text.placeholder = "text needs the program espeak-ng on the server"; }
      this.faces.show(known, this.model?.size || "128x128", BASE);
      this.word("ready");
      await this.resume();
    }

    // -- starting ---------------------------------------------------------------------------------------------------

    async ask(path, init) { // the answer, or an Error in the server's words
      const answer = await fetch(BASE + path, init), got = await answer.json().catch(() => ({}));
      if (!answer.ok) throw Object.assign(new Error(got.error?.message || got.error || `the server answered ${answer.status}`), { status: answer.status, place: got.error });
      return got;
    }

    async begin() {
      this.queue.leave(); // who asks again stands there once
      if (this.starting || this.session || !this.model) return;
      this.starting = true;
      this.video.muted = false;
      this.word(this.model.loaded ? "starting" : `loading ${this.model.name}`);
      try {
        const body = JSON.stringify({ model: this.model.name, ...this.faces.look, ...(this.ticket ? { ticket: this.ticket } : {}) });
        const session = await this.ask("api/sessions", { method: "POST", headers: { "content-type": "application/json" }, body });
        sessionStorage.setItem(KEPT, JSON.stringify(session));
        await this.join(session);
        if (session.note) this.tell(session.note, true);
      } catch (e) {
        if (e.status === 503 && e.place?.ticket) {
          this.word(`the device is busy: place ${e.place.place} in line`);
          this.ticket = e.place.ticket; // whoever asks again, for another face perhaps, keeps the place
          this.queue.stand(() => this.begin());
        } else this.ended(e.message, true);
      } finally {
        this.starting = false;
      }
    }

    async resume() { // after a reload of the page
      const kept = JSON.parse(sessionStorage.getItem(KEPT) || "null");
      if (!kept || this.session) return;
      if ((await fetch(`${BASE}api/sessions/${kept.id}`)).ok) await this.join(kept).catch((e) => this.ended(e.message, true));
      else sessionStorage.removeItem(KEPT);
    }

    async join(session) {
      this.session = session;
      this.start.textContent = "End";
      this.enable(true);
      this.connection = new window.longtake.Connection(this.video, this.screen, BASE, session, {
        heard: (event) => this.heard(event), opened: () => this.opened(), word: (text) => this.word(text), ended: (why) => this.ended(why, true) });
      await this.connection.open();
      this.video.onclick = () => { this.video.muted = false; this.heardLevel.resume(); this.video.play(); };
      this.share.href = `${BASE}watch/${session.id}`;
      this.take.href = `${BASE}api/takes/${session.take}`;
      this.record.href = `${BASE}api/takes/${session.take}/sound`;
      for (const link of [this.share, this.take, this.record]) link.hidden = false;
    }

    opened() { // also after a connection that was lost
      this.tellUse();
      if (this.video.srcObject) this.heardLevel.follow(this.video.srcObject); else this.heardLevel.followElement(this.video);
      this.beHeard();
      if (this.mic) this.connection.send(this.mic.getAudioTracks()[0]).catch((e) => this.closeMicrophone(e.message, true));
      this.microphone.disabled = this.connection.transport === "WebSocket";
      if (this.microphone.disabled) this.tell("WebRTC does not get through here: it is heard, but takes no microphone");
    }

    beHeard() {
      this.video.play().catch((e) => {
        if (e.name !== "NotAllowedError") return; // another way to the session was taken meanwhile, and plays by itself
        this.video.muted = true; // a page that nobody has touched yet may not be heard
        this.connection?.play();
        this.tell("click the picture to hear it");
      });
    }

    enable(on) {
      for (const b of [this.interrupt, this.microphone, this.sound]) b.disabled = !on;
      this.say.disabled = !on || !this.readsText;
      this.state.classList.toggle("off", !on);
    }

    end() {
      const { id, key } = this.session;
      fetch(`${BASE}api/sessions/${id}`, { method: "DELETE", headers: { "x-longtake-key": key }, keepalive: true }).catch(() => {});
      this.ended("ended");
    }

    ended(why, bad = false) {
      this.session = null;
      sessionStorage.removeItem(KEPT);
      this.connection?.close();
      this.closeMicrophone();
      this.heardLevel.follow(null);
      this.enable(false);
      this.start.textContent = "Start";
      this.share.hidden = true;
      this.word(why, bad);
    }

    // -- what it says -----------------------------------------------------------------------------------------------

    post(path, body, headers = {}) {
      const { id, key } = this.session;
      return this.ask(`api/sessions/${id}/${path}`, { method: "POST", headers: { "x-longtake-key": key, ...headers }, body });
    }

    async sayText() {
      const text = this.text.value.trim() || this.text.placeholder;
      if (!this.session || this.text.disabled || !text) return;
      this.text.value = ""; // at once: what is typed while the server reads this one is the next
      this.text.placeholder = ""; // once anything was said, Enter pressed twice does not say the example
      try {
        await this.post("say", JSON.stringify({ text }), { "content-type": "application/json" });
        this.tell("");
      } catch (e) {
        this.text.value ||= text;
        this.tell(e.message, e.status !== 409); // what an interruption was meant for as well
      }
    }

    async play(file) {
      this.tell(`sending ${file.name}`);
      try {
        const { seconds } = await this.post("audio", file);
        this.tell(`${file.name}: ${seconds} s`);
      } catch (e) { this.tell(e.message, e.status !== 409); }
    }

    silence() { // here at once; the server's own silence follows
      if (!this.session) return;
      this.video.muted = true;
      clearTimeout(this.unmuting);
      this.unmuting = setTimeout(() => { this.video.muted = false; }, UNMUTE_AFTER);
      if (!this.send({ type: "interrupt" })) this.post("interrupt").catch((e) => this.tell(e.message, true));
    }

    unmute() { // once nothing of what was interrupted is left in the browser's own buffers
      if (this.heardLevel.now() > QUIET && this.video.muted) { setTimeout(() => this.unmute(), 20); return; }
      clearTimeout(this.unmuting);
      this.video.muted = false;
    }

    send(command) {
      if (!this.connection?.talk) return null;
      const id = this.next++;
      this.connection.talk(JSON.stringify({ id, ...command }));
      return id;
    }

    // -- microphone -------------------------------------------------------------------------------------------------

    async openMicrophone() {
      if (this.asking) return; // the browser's question is still open, and every yes would be a capture of its own
      if (!navigator.mediaDevices) { this.tell("a browser gives its microphone only to HTTPS or localhost", true); return; }
      this.asking = true;
      try {
        const { session } = this, processing = { echoCancellation: true, noiseSuppression: true, autoGainControl: true };
        const stream = await navigator.mediaDevices.getUserMedia({ audio: processing }), [track] = stream.getAudioTracks();
        if (!session || this.session !== session) { track.stop(); return; } // it was for one that is over
        this.mic = stream;
        track.onended = () => this.closeMicrophone("the microphone is gone", true);
        await this.connection.send(track);
        if (this.mic !== stream) return; // pressed again meanwhile
        this.spokenLevel.follow(stream);
        this.microphone.classList.add("on");
        this.tell("");
      } catch (e) {
        const words = { NotAllowedError: "the microphone was not allowed", NotFoundError: "there is no microphone" };
        this.closeMicrophone(words[e.name] || e.message, true);
      } finally {
        this.asking = false;
      }
    }

    closeMicrophone(why = "", bad = false) {
      this.mic?.getTracks().forEach((track) => { track.onended = null; track.stop(); });
      this.mic = null;
      this.connection?.send(null).catch(() => {});
      this.spokenLevel.follow(null);
      this.microphone.classList.remove("on");
      if (why) this.tell(why, bad);
    }

    tellUse() { this.send({ type: "microphone", use: this.root.querySelector("[name=lt-use]:checked").value }); }

    // -- what is heard ----------------------------------------------------------------------------------------------

    heard(event) {
      this.events.push({ ...event, at: performance.now() });
      if (this.events.length > 500) this.events.shift();
      switch (event.type) {
        case "hello": this.fps = event.fps; this.phase = event.phase; break;
        case "status": this.status_ = event; this.screen.startsAt(event.first_pts); this.showState(event.state); break;
        case "avatar": this.showState(event.state); break;
        case "interrupted":
          if (event.why !== "asked to") this.tell(`interrupted: ${event.why}`);
          this.screen.ask(event.frame, this.fps, () => this.unmute());
          break;
        case "meters": this.showMeters(event); break;
        case "refused": case "warning": this.tell(event.why, true); break;
        case "phase":
          this.phase = event.phase;
          if (["ended", "failed"].includes(event.phase)) this.ended(event.why || event.phase);
          break;
      }
    }

    showState(state) {
      this.state.textContent = state;
      this.state.className = `state ${state}`;
    }

    showMeters({ sync, lag_ms, identity }) {
      this.sync.textContent = sync === null ? "sync –" : `sync ${sync.toFixed(2)}, ${lag_ms > 0 ? "+" : ""}${lag_ms} ms`;
      this.identity.textContent = `identity ${identity.toFixed(2)}`;
    }

    hotkey(e) {
      if (e.repeat) return; // a key that is held down asks once
      if (e.key === "Escape" && this.session) { this.silence(); return; }
      if (e.target.closest?.("input[data-lt=text], textarea, select") || e.ctrlKey || e.metaKey || e.altKey || !this.session) return;
      if (e.key === "i") this.silence();
      else if (e.key === "m") this.microphone.click();
      else return;
      e.preventDefault();
    }

    tell(text, bad = false) {
      this.note.textContent = text;
      this.note.classList.toggle("bad", bad);
    }

    word(text, bad = false) {
      this.status.textContent = text;
      this.status.classList.toggle("bad", bad);
    }

    async measure() {
      if (!this.session || !this.connection || this.connection.returning) return;
      const now = performance.now(), frames = this.video.getVideoPlaybackQuality().totalVideoFrames, old = this.measured;
      const { rtt } = await this.connection.stats();
      this.measured = { now, frames };
      if (!old || !this.session) return;
      const s = this.status_, words = [this.phase, this.connection.transport || "connecting"];
      if (s.generated_fps) words.push(`${s.generated_fps} fps made`);
      words.push(`${Math.max(0, Math.round((1000 * (frames - old.frames)) / (now - old.now)))} fps played`);
      if (s.buffer_ms !== undefined) words.push(`${s.buffer_ms} ms ahead`);
      if (s.to_say_s) words.push(`${s.to_say_s} s to say`);
      if (rtt !== null) words.push(`RTT ${Math.round(rtt)} ms`);
      this.word(words.filter(Boolean).join(" · "));
    }
  }

  Object.assign(window.longtake, { mountAvatar(root) { window.longtake.avatar = new Avatar(root); } });
})();
