// The studio's player: what a person does and sees; cues and their timeline.
(() => {
  "use strict";
  if (window.longtake?.mount) return;

  const KEPT = "longtake.session"; // what a reload of the page needs to go on
  const SLOTS = "longtake.slots";

  class Player {
    constructor(root, options) {
      this.root = root;
      this.options = { model: "pocket", seed: null, look_ahead: "smooth", set: {}, base: "", ...options };
      this.saved = JSON.parse(localStorage.getItem(SLOTS) || "null") || new Array(10).fill("");
      this.sent = new Map(); // message id -> time of sending
      this.quiet = new Set(); // messages that nobody typed
      this.waits = []; // ms from Enter to the screen
      this.next = 1;
      this.events = [];
      this.cues = [];
      this.state = {};
      for (const name of ["video", "prompt", "start", "pause", "cut", "undo", "reroll", "timeline", "status", "note",
        "share", "take", "render", "record", "chips", "help", "slots", "blend", "model", "facts"]) this[name] = root.querySelector(`[data-lt=${name}]`);
      this.screen = new window.longtake.Screen(this.video);
      this.queue = new window.longtake.Queue(this.start);
      if (this.start) this.start.onclick = () => (this.session ? this.end() : this.queue.leave() ? this.say_status("left the line") : this.begin());
      const on = (element, what) => { if (element) element.onclick = what; };
      on(this.pause, () => this.togglePause());
      on(this.cut, () => this.say({ cut: true }));
      on(this.undo, () => this.send({ type: "undo" }));
      on(this.reroll, () => this.send({ type: "seed", seed: Math.floor(Math.random() * 2 ** 31) }));
      on(this.record, () => this.send({ type: this.recording ? "stop_recording" : "record" }));
      on(this.render, () => this.takes.render(this.line));
      on(this.help, () => this.toggleHelp());
      if (this.model) this.model.onchange = () => this.choose(this.model.value);
      if (this.prompt) this.takes = new window.longtake.Takes(this);
      if (this.prompt) this.prompt.addEventListener("keydown", (e) => this.promptKey(e));
      if (this.prompt) this.prompt.addEventListener("input", () => this.suggest());
      if (this.timeline) this.timeline.onclick = (e) => this.rewindTo(e);
      if (this.timeline) this.timeline.onkeydown = (e) => { if (e.key === "Home") this.send({ type: "rewind", latent: 0 }); };
      document.addEventListener("keydown", (e) => this.hotkey(e));
      addEventListener("pagehide", () => this.connection?.close());
      setInterval(() => { if (!root.isConnected) this.connection?.close(); else this.measure(); }, 500);
      this.say_status("ready");
      if (this.prompt) this.loadModels().then(() => this.resume());
    }

    // -- starting ---------------------------------------------------------------------------------------------------

    async loadModels() {
      const models = (await (await fetch("api/models")).json()).filter((m) => !m.speaks); // those have their own page
      this.models = Object.fromEntries(models.map((m) => [m.name, m]));
      this.model.replaceChildren(...models.map((m) => new Option(m.here ? m.name : `${m.name} (not here)`, m.name)));
      this.choose(this.options.model);
      this.drawSlots();
    }

    choose(name) { // what a model asks for is said before it is loaded
      const m = this.models[name], gb = (mb) => (mb < 1000 ? `${mb} MB` : `${(mb / 1000).toFixed(1)} GB`);
      this.options.model = this.model.value = name;
      const speed = m.measured ? `made ${m.measured.fps} fps here (${m.measured.by}, ${m.measured.on})` : "not measured here";
      const files = m.here ? `${gb(m.disk_mb)} on disk` : `not here: longtake models pull ${name}`;
      this.facts.textContent = [`${m.size} at ${m.fps} fps`, `${gb(m.memory_mb)} of memory`, files, speed].join(" · ");
      this.facts.title = m.title;
      this.drawChips();
    }

    async begin() {
      const o = this.options, text = this.prompt.value.trim() || this.prompt.placeholder;
      const body = { prompt: text, model: o.model, look_ahead: o.look_ahead, set: o.set, ...(o.seed === null ? {} : { seed: o.seed }) };
      await this.create("api/sessions", body, this.models[o.model].loaded ? "starting" : `loading ${o.model}`);
    }

    async goOn(take) { // continue a take that lies on the server
      if (this.session) this.end();
      await this.create(`api/takes/${take}/continue`, { look_ahead: this.options.look_ahead }, "going on");
      this.root.scrollIntoView();
    }

    async create(url, body, what) {
      this.queue.leave(); // who asks again, for this or something else, stands there once
      if (this.starting || this.session) return;
      this.starting = true;
      this.say_status(what);
      try {
        const answer = await fetch(url, { method: "POST", headers: { "content-type": "application/json" },
          body: JSON.stringify({ ...body, ...(this.ticket ? { ticket: this.ticket } : {}) }) });
        const got = await answer.json();
        if (answer.status === 503 && got.error.place) {
          this.say_status(`the device is busy: place ${got.error.place} in line`);
          this.ticket = got.error.ticket; // whoever asks again, for something else perhaps, keeps the place
          this.queue.stand(() => this.create(url, body, what));
          return;
        }
        if (!answer.ok) throw new Error(typeof got.error === "string" ? got.error : JSON.stringify(got.error));
        sessionStorage.setItem(KEPT, JSON.stringify(got));
        await this.join(got);
      } catch (e) {
        this.ended(e.message, true);
      } finally {
        this.starting = false;
      }
    }

    async resume() { // after a reload of the page
      const kept = JSON.parse(sessionStorage.getItem(KEPT) || "null");
      if (!kept || this.session) return;
      const there = await fetch(`api/sessions/${kept.id}`);
      if (there.ok) await this.join(kept).catch((e) => this.ended(e.message, true));
      else sessionStorage.removeItem(KEPT);
    }

    async watch(id) { // a share link: pictures, sound after a click, and timeline; no control
      this.video.onclick = () => { this.video.muted = !this.video.muted; };
      await this.join({ id, key: null, ice: [], sound: true }).catch((e) => this.ended(e.message, true));
    }

    async join(session) {
      this.session = session;
      if (this.start) this.start.textContent = "End";
      this.enable(true);
      this.connection = new window.longtake.Connection(this.video, this.screen, this.options.base, session, {
        heard: (event) => this.heard(event), opened: () => this.prepareSlots(), word: (text) => this.say_status(text),
        ended: (why) => this.ended(why, true) });
      await this.connection.open();
    }

    enable(on) { for (const b of ["pause", "cut", "undo", "reroll", "record"]) if (this[b]) this[b].disabled = !on; }

    end() { // over HTTP: what is sent on a channel that closes at once may not arrive
      const { id, key } = this.session;
      fetch(`api/sessions/${id}`, { method: "DELETE", headers: { "x-longtake-key": key }, keepalive: true }).catch(() => {});
      this.ended("ended");
    }

    ended(why, bad = false) {
      this.session = null;
      this.recording = false;
      sessionStorage.removeItem(KEPT);
      this.connection?.close();
      this.enable(false);
      this.drawRecord();
      if (this.share) this.share.hidden = true;
      if (this.start) this.start.textContent = "Start";
      this.say_status(why, bad);
      if (this.models) this.loadModels(); // the session was a measurement
    }

    // -- what is said and heard -------------------------------------------------------------------------------------

    send(command) {
      if (!this.connection?.talk || !this.session) return null;
      const id = this.next++;
      this.sent.set(id, performance.now());
      this.connection.talk(JSON.stringify({ id, ...command }));
      return id;
    }

    say({ cut = false, blend = 1, text = this.prompt.value.trim() } = {}) {
      if (!text) return;
      this.unknown = "";
      if (!this.session) { this.prompt.value = text; this.begin(); return; }
      this.send({ type: "prompt", text, blend, cut });
    }

    heard(event) {
      this.events.push(event);
      if (this.events.length > 500) this.events.shift();
      if (this.quiet.has(event.id)) return;
      const waited = this.sent.has(event.id) ? performance.now() - this.sent.get(event.id) : null;
      switch (event.type) {
        case "hello": this.chunk = event.chunk; this.fps = event.fps; this.film = event.model; this.phase = event.phase; this.sounds = event.sound; break;
        case "timeline": this.cues = event.cues; this.line = event.take; this.drawTimeline(); this.offerTake(); break;
        case "status": this.state = event; this.screen.startsAt(event.first_pts); this.drawTimeline(); this.drawRecord(); break;
        case "accepted": if (waited !== null) this.answered = waited; this.tell("accepted"); break;
        case "encoded": this.tellUnknown(event.not_understood); break;
        case "live": this.tell(`lands on latent ${event.latent}`); break;
        case "shown":
          if (waited !== null) this.screen.ask(event.frame, this.fps, (at) => this.seen(at - this.sent.get(event.id)));
          break;
        case "taken_back": this.tell("taken back"); break;
        case "refused": case "warning": this.tell(event.why, true); break;
        case "recording":
          this.recording = event.on;
          this.drawRecord();
          this.tell(event.on ? "recording" : event.why || "recorded: see Takes", Boolean(event.why));
          break;
        case "phase":
          this.phase = event.phase;
          if (this.pause) this.pause.textContent = event.phase === "paused" ? "Resume" : "Pause";
          if (["ended", "failed"].includes(event.phase)) this.ended(event.why || event.phase);
          break;
      }
    }

    seen(waited) { // a prompt has come on the screen
      this.waits.push(waited);
      if (this.waits.length > 200) this.waits.shift();
      this.tell(`on screen after ${Math.round(waited)} ms`);
    }

    tell(text, bad = false) {
      if (!this.note) return;
      this.note.textContent = this.unknown ? `${text} · ${this.unknown}` : text;
      this.note.classList.toggle("bad", bad);
    }

    tellUnknown(words) {
      const unknown = Object.entries(words || {});
      if (!unknown.length) return;
      this.unknown = "not understood: " + unknown.map(([w, near]) => w + (near.length ? ` (near: ${near.join(", ")})` : "")).join("; ");
      this.tell("accepted");
    }

    offerTake() {
      if (!this.take || !this.session) return;
      this.render.hidden = false;
      this.take.href = `${this.options.base}api/takes/${this.line}`;
      this.take.hidden = false;
      if (this.share) { this.share.hidden = false; this.share.href = `${this.options.base}watch/${this.session.id}`; }
    }

    drawRecord() {
      if (!this.record) return;
      if (this.state.recorded_s !== undefined && this.session) this.recording = this.state.recorded_s !== null;
      this.record.classList.toggle("on", Boolean(this.recording));
      this.record.textContent = this.recording ? `Stop ${Math.floor(this.state.recorded_s || 0)} s` : "Record";
    }

    togglePause() { this.send({ type: this.phase === "paused" ? "resume" : "pause" }); }

    // -- timeline ---------------------------------------------------------------------------------------------------

    drawTimeline() {
      if (!this.timeline) return;
      const length = Math.max(this.state.latent || 0, 1), blocks = this.cues.filter((c) => c.prompt);
      const parts = [];
      blocks.forEach((cue, i) => {
        const from = cue.landed || 0, to = i + 1 < blocks.length ? blocks[i + 1].landed : length;
        if (to < from) return;
        const block = document.createElement("div");
        block.className = "block" + (i + 1 === blocks.length ? " now" : "") + (cue.cut ? " cut" : "");
        block.style.flexGrow = Math.max(to - from, 0.01);
        block.style.setProperty("--hue", (i * 67 + 210) % 360);
        block.title = `${cue.prompt} (from latent ${from})`;
        block.textContent = cue.prompt;
        parts.push(block);
      });
      const head = document.createElement("div");
      head.className = "head";
      head.style.left = `${(100 * Math.min(this.state.playhead || 0, length)) / length}%`;
      const gone = document.createElement("div");
      gone.className = "gone";
      gone.style.width = `${(100 * (this.state.oldest || 0)) / length}%`;
      this.timeline.replaceChildren(...parts, gone, head);
      this.timeline.ariaValueMax = length;
      this.timeline.ariaValueNow = this.state.playhead || 0;
    }

    rewindTo(e) {
      const box = this.timeline.getBoundingClientRect();
      const latent = Math.floor(((e.clientX - box.left) / box.width) * (this.state.latent || 0));
      this.send({ type: "rewind", latent: Math.max(latent, this.state.oldest && latent > 0 ? this.state.oldest : 0) });
    }

    // -- keys, slots, chips -----------------------------------------------------------------------------------------

    promptKey(e) {
      if (e.key !== "Enter" || e.isComposing) return;
      e.preventDefault();
      e.stopPropagation();
      this.say({ blend: e.shiftKey ? Number(this.blend?.value || 4) : 1, cut: e.ctrlKey || e.metaKey });
    }

    hotkey(e) {
      const typing = e.target.closest && e.target.closest("input, textarea, select, [contenteditable]");
      const slot = /^Digit([1-9])$/.exec(e.code || ""); // with Alt some keyboards give another character
      if (e.altKey && slot && this.prompt) { this.keep(slot[1]); e.preventDefault(); return; }
      if (typing || e.ctrlKey || e.metaKey || e.altKey || !this.prompt) return;
      const keys = { " ": () => this.togglePause(), u: () => this.undo.click(), r: () => this.reroll.click(),
        c: () => this.say({ cut: true }), v: () => this.record.click(), s: () => this.video.classList.toggle("sharp"), "/": () => this.prompt.focus(), "?": () => this.toggleHelp(),
        f: () => this.video.requestFullscreen && this.video.requestFullscreen() };
      if (/^[1-9]$/.test(e.key) && this.saved[e.key]) this.say({ text: this.saved[e.key] });
      else if (keys[e.key]) keys[e.key]();
      else return;
      e.preventDefault();
    }

    keep(slot) {
      this.saved[slot] = this.prompt.value.trim();
      localStorage.setItem(SLOTS, JSON.stringify(this.saved));
      this.drawSlots();
      this.prepareSlots();
    }

    prepareSlots() { // their texts are encoded before they are played
      if (this.prompt && this.session?.key) for (const text of this.saved) if (text) this.quiet.add(this.send({ type: "prepare", text }));
    }

    toggleHelp() { const sheet = this.root.querySelector("[data-lt=sheet]"); if (sheet) sheet.hidden = !sheet.hidden; }

    drawSlots() {
      const buttons = this.saved.map((text, i) => [text, i]).filter(([text]) => text).map(([text, i]) => {
        const b = document.createElement("button");
        b.textContent = `${i} ${text}`;
        b.title = text;
        b.onclick = () => this.say({ text });
        return b;
      });
      this.slots.replaceChildren(...buttons);
    }

    drawChips() {
      if (!this.chips || !this.models) return;
      const words = (this.models[this.options.model] || {}).understands || {};
      this.chips.replaceChildren(...Object.entries(words).map(([name, ways]) => {
        const select = document.createElement("select");
        select.ariaLabel = name;
        select.append(new Option(name, ""), ...ways.map((w) => new Option(w, w)));
        select.onchange = () => {
          if (select.value) this.prompt.value = this.replaced(ways, select.value);
          select.value = "";
          this.prompt.focus();
        };
        return select;
      }));
      this.known = Object.values(words).flat();
    }

    replaced(ways, chosen) { // put the phrase where one of its kind stands, or at the end
      const text = this.prompt.value;
      const old = ways.filter((w) => ` ${text} `.includes(` ${w} `)).sort((a, b) => b.length - a.length)[0];
      return old ? ` ${text} `.replace(` ${old} `, ` ${chosen} `).trim() : `${text} ${chosen}`.trim();
    }

    suggest() {
      const list = this.root.querySelector("datalist");
      if (!list || !this.known) return;
      const text = this.prompt.value, at = text.lastIndexOf(" ") + 1, word = text.slice(at).toLowerCase();
      const fits = word ? this.known.filter((w) => w.startsWith(word)).slice(0, 6) : [];
      list.replaceChildren(...fits.map((w) => new Option(text.slice(0, at) + w)));
    }

    option(name, value) { // from the form under "More"
      if (name === "look_ahead") this.send({ type: "look_ahead", value });
      if (["anchor", "on_switch", "sink_on_switch"].includes(name)) {
        this.options.set = { ...this.options.set, [name]: value };
        this.send({ type: "set", name, value });
      } else if (name === "seed") this.options.seed = /^\s*\d+\s*$/.test(value) ? Number(value) : null;
      else this.options[name] = value;
    }

    preset(text) { if (this.prompt) { this.prompt.value = text; this.say(); } }

    // -- status -----------------------------------------------------------------------------------------------------

    async measure() {
      if (!this.session || !this.connection) return;
      const now = performance.now(), quality = this.video.getVideoPlaybackQuality();
      const { bytes, rtt } = await this.connection.stats();
      this.decoded = this.connection.decoded;
      const trip = rtt ?? this.answered; // over a socket: how long a command took to be accepted
      const frames = quality.totalVideoFrames, old = this.measured;
      this.measured = { now, frames, bytes };
      if (!old || this.phase === "ended") return;
      const seconds = (now - old.now) / 1000, s = this.state, words = [];
      if (this.connection.returning) return;
      words.push(this.film || "", this.phase || s.phase || "connecting", this.connection.transport || "connecting");
      if (this.sounds && this.video.muted) words.push("click the picture to hear it");
      if (s.catching_up) words.push(`drawing the past anew: latent ${s.latent} of ${s.catching_up}`);
      if (s.generated_fps) words.push(`${s.generated_fps} fps made`);
      words.push(`${Math.max(0, Math.round((frames - old.frames) / seconds))} fps played`);
      if (s.buffer_ms !== undefined) words.push(`${s.buffer_ms} ms ahead`);
      if (this.waits.length) {
        const sorted = [...this.waits].sort((a, b) => a - b), at = (q) => Math.round(sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))]);
        words.push(`prompt to screen ${Math.round(this.waits.at(-1))} ms (p50 ${at(0.5)}, p95 ${at(0.95)})`);
      }
      if (bytes !== null && old.bytes !== null) words.push(`${Math.round((8 * (bytes - old.bytes)) / seconds / 1000)} kbit/s`);
      if (trip !== undefined) words.push(`RTT ${Math.round(trip)} ms`);
      this.say_status(words.filter(Boolean).join(" · "));
    }

    say_status(text, bad = false) {
      this.status.textContent = text;
      this.status.classList.toggle("bad", bad);
    }
  }

  Object.assign(window.longtake, {
    mount(root, options) { const player = new Player(root, options); window.longtake.player = player; return player; },
    option(name, value) { window.longtake.player?.option(name, value); return []; },
    preset(text) { window.longtake.player?.preset(text); return []; },
  });
})();
