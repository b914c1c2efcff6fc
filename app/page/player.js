// The studio's player: video over WebRTC, or over a WebSocket where WebRTC does not get through; cues and their timeline.
(() => {
  "use strict";
  if (window.longtake) return;

  const ICE_PATIENCE = 4000; // ms without a connection before the fallback

  class Player {
    constructor(root, options) {
      this.root = root;
      this.options = { model: "pocket", seed: null, look_ahead: "smooth", set: {}, ...options };
      this.saved = new Array(10).fill("");
      this.sent = new Map(); // message id -> time of sending
      this.waits = []; // ms from Enter to the screen
      this.next = 1;
      this.events = [];
      this.cues = [];
      this.state = {};
      for (const name of ["video", "prompt", "start", "pause", "cut", "undo", "reroll", "timeline", "status", "note",
        "share", "take", "render", "chips", "help", "slots", "blend"]) this[name] = root.querySelector(`[data-lt=${name}]`);
      if (this.start) this.start.onclick = () => (this.session ? this.end() : this.begin());
      const on = (element, what) => { if (element) element.onclick = what; };
      on(this.pause, () => this.togglePause());
      on(this.cut, () => this.say({ cut: true }));
      on(this.undo, () => this.send({ type: "undo" }));
      on(this.reroll, () => this.send({ type: "seed", seed: Math.floor(Math.random() * 2 ** 31) }));
      on(this.help, () => this.toggleHelp());
      if (this.prompt) this.prompt.addEventListener("keydown", (e) => this.promptKey(e));
      if (this.prompt) this.prompt.addEventListener("input", () => this.suggest());
      if (this.timeline) this.timeline.onclick = (e) => this.rewindTo(e);
      if (this.timeline) this.timeline.onkeydown = (e) => { if (e.key === "Home") this.send({ type: "rewind", latent: 0 }); };
      document.addEventListener("keydown", (e) => this.hotkey(e));
      addEventListener("pagehide", () => this.drop());
      setInterval(() => { if (!root.isConnected) this.drop(); else this.measure(); }, 500);
      if (this.prompt) this.loadModels();
      this.say_status("ready");
    }

    // -- starting ---------------------------------------------------------------------------------------------------

    async loadModels() {
      const models = await (await fetch("api/models")).json();
      this.models = Object.fromEntries(models.map((m) => [m.name, m]));
      this.drawChips();
    }

    async begin(ticket) {
      if (this.starting) return;
      this.starting = true;
      this.say_status("starting");
      try {
        const o = this.options;
        const body = { prompt: this.prompt.value.trim() || this.prompt.placeholder, model: o.model,
          look_ahead: o.look_ahead, set: o.set, ...(o.seed === null ? {} : { seed: o.seed }), ...(ticket ? { ticket } : {}) };
        const answer = await fetch("api/sessions", { method: "POST", headers: { "content-type": "application/json" },
          body: JSON.stringify(body) });
        const got = await answer.json();
        if (answer.status === 503 && got.error.place) {
          this.say_status(`the device is busy: place ${got.error.place} in line`);
          this.starting = false;
          setTimeout(() => this.begin(got.error.ticket), 2000);
          return;
        }
        if (!answer.ok) throw new Error(typeof got.error === "string" ? got.error : JSON.stringify(got.detail || got.error));
        this.session = got;
        this.start.textContent = "End";
        await this.connect();
      } catch (e) {
        this.say_status(e.message, true);
        this.session = null;
      } finally {
        this.starting = false;
      }
    }

    async watch(id) { // a share link: pictures and timeline, no control
      this.session = { id, key: null, ice: [] };
      await this.connect();
    }

    async connect() {
      const pc = (this.pc = new RTCPeerConnection({ iceServers: this.session.ice || [] }));
      const receiver = pc.addTransceiver("video", { direction: "recvonly" }).receiver;
      try { receiver.jitterBufferTarget = 0; } catch { /* older browsers keep their own */ }
      const channel = pc.createDataChannel("control", { ordered: true });
      channel.onmessage = (e) => this.heard(JSON.parse(e.data));
      channel.onopen = () => { this.talk = (text) => channel.send(text); };
      pc.ontrack = (e) => { this.video.srcObject = new MediaStream([e.track]); this.play(); };
      let connected = false;
      pc.onconnectionstatechange = () => {
        if (pc !== this.pc) return;
        if (pc.connectionState === "connected") { connected = true; this.transport = "WebRTC"; this.say_status("live"); }
        if (["failed", "disconnected"].includes(pc.connectionState) && connected) this.reconnect();
      };
      setTimeout(() => { if (!connected && pc === this.pc) this.fallBack(); }, ICE_PATIENCE);
      await pc.setLocalDescription(await pc.createOffer());
      const offer = { sdp: pc.localDescription.sdp, ...(this.session.key ? { key: this.session.key } : {}) };
      const answer = await fetch(`${this.base()}api/sessions/${this.session.id}/offer`, { method: "POST",
        headers: { "content-type": "application/json" }, body: JSON.stringify(offer) });
      const got = await answer.json();
      if (!answer.ok) throw new Error(got.error);
      await pc.setRemoteDescription(got);
    }

    base() { return this.options.base || ""; }

    reconnect() {
      if (!this.session || this.reconnecting) return;
      this.reconnecting = true;
      this.say_status("reconnecting");
      this.pc.close();
      setTimeout(async () => {
        try { await this.connect(); } catch (e) { this.ended(e.message); }
        this.reconnecting = false;
      }, 500);
    }

    // fragmented MP4 over a WebSocket, into MediaSource
    fallBack() {
      if (!this.session) return;
      if (this.pc) { const pc = this.pc; this.pc = null; pc.close(); }
      const url = new URL(`${this.base()}api/sessions/${this.session.id}/stream`, location.href);
      url.protocol = url.protocol.replace("http", "ws");
      if (this.session.key) url.searchParams.set("key", this.session.key);
      const socket = (this.socket = new WebSocket(url));
      socket.binaryType = "arraybuffer";
      const media = new MediaSource(), queue = [];
      let buffer = null;
      const feed = () => {
        if (!buffer || buffer.updating || !queue.length) return;
        buffer.appendBuffer(queue.shift());
      };
      this.video.srcObject = null;
      this.video.src = URL.createObjectURL(media);
      socket.onmessage = (e) => {
        if (typeof e.data !== "string") { queue.push(e.data); feed(); return; }
        const event = JSON.parse(e.data);
        if (event.type !== "codec") { this.heard(event); return; }
        const open = () => {
          buffer = media.addSourceBuffer(`video/mp4; codecs="${event.codec}"`);
          buffer.mode = "segments";
          buffer.onupdateend = () => { this.chase(buffer); feed(); };
          feed();
        };
        if (media.readyState === "open") open(); else media.addEventListener("sourceopen", open, { once: true });
        this.transport = "WebSocket";
        this.say_status("live");
      };
      socket.onclose = () => { if (this.socket === socket && this.session) this.ended("the connection was closed"); };
      this.talk = (text) => socket.send(text);
      this.play();
    }

    chase(buffer) { // stay near the newest picture, and forget old ones
      const ranges = buffer.buffered;
      if (!ranges.length) return;
      const end = ranges.end(ranges.length - 1), v = this.video;
      if (v.currentTime < ranges.start(0) || end - v.currentTime > 1.5) v.currentTime = Math.max(ranges.start(0), end - 0.3);
      if (end - ranges.start(0) > 30 && !buffer.updating) buffer.remove(0, end - 15);
      this.play();
    }

    play() { this.video.play().catch(() => {}); }

    drop() {
      if (this.pc) { this.pc.close(); this.pc = null; }
      if (this.socket) { const s = this.socket; this.socket = null; s.close(); }
      this.talk = null;
    }

    end() { this.send({ type: "end" }); this.ended("ended"); }

    ended(why) {
      this.last = this.session;
      this.session = null;
      this.drop();
      if (this.start) this.start.textContent = "Start";
      this.say_status(why);
    }

    // -- what is said and heard -------------------------------------------------------------------------------------

    send(command) {
      if (!this.talk || !this.session) return null;
      const id = this.next++;
      this.sent.set(id, performance.now());
      this.talk(JSON.stringify({ id, ...command }));
      return id;
    }

    say({ cut = false, blend = 1, text = this.prompt.value.trim() } = {}) {
      if (!text) return;
      this.unknown = "";
      if (!this.session) { this.begin(); return; }
      this.send({ type: "prompt", text, blend, cut });
    }

    heard(event) {
      this.events.push(event);
      if (this.events.length > 500) this.events.shift();
      const waited = this.sent.has(event.id) ? performance.now() - this.sent.get(event.id) : null;
      switch (event.type) {
        case "hello": this.chunk = event.chunk; this.fps = event.fps; break;
        case "timeline": this.cues = event.cues; this.line = event.take; this.drawTimeline(); this.offerTake(); break;
        case "status": this.state = event; this.drawTimeline(); break;
        case "accepted": this.tell("accepted"); break;
        case "encoded": this.tellUnknown(event.not_understood); break;
        case "live": this.tell(`lands on latent ${event.latent}`); break;
        case "shown":
          if (waited !== null) { this.waits.push(waited + (this.jitter || 0)); this.tell(`on screen after ${Math.round(waited)} ms`); }
          break;
        case "refused": this.tell(event.why, true); break;
        case "phase":
          this.phase = event.phase;
          if (this.pause) this.pause.textContent = event.phase === "paused" ? "Resume" : "Pause";
          if (["ended", "failed"].includes(event.phase)) this.ended(event.why || event.phase);
          break;
      }
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
      this.take.href = `${this.base()}api/takes/${this.line}`;
      this.take.hidden = false;
      if (this.share) { this.share.hidden = false; this.share.href = `${this.base()}watch/${this.session.id}`; }
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
      if (e.altKey && /^[1-9]$/.test(e.key)) { this.saved[e.key] = this.prompt.value.trim(); this.drawSlots(); return; }
      if (typing || e.ctrlKey || e.metaKey || e.altKey || !this.prompt) return;
      const keys = { " ": () => this.togglePause(), u: () => this.undo.click(), r: () => this.reroll.click(),
        c: () => this.say({ cut: true }), "/": () => this.prompt.focus(), "?": () => this.toggleHelp(),
        f: () => this.video.requestFullscreen && this.video.requestFullscreen() };
      if (/^[1-9]$/.test(e.key) && this.saved[e.key]) this.say({ text: this.saved[e.key] });
      else if (keys[e.key]) keys[e.key]();
      else return;
      e.preventDefault();
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
      } else this.options[name] = value === "" ? null : value;
      if (name === "model") this.drawChips();
    }

    preset(text) { if (this.prompt) { this.prompt.value = text; this.say(); } }

    // -- status -----------------------------------------------------------------------------------------------------

    async measure() {
      if (!this.session) return;
      const now = performance.now(), quality = this.video.getVideoPlaybackQuality();
      let bytes = null, rtt = null;
      if (this.pc) {
        for (const s of (await this.pc.getStats()).values()) {
          if (s.type === "inbound-rtp" && s.kind === "video") {
            bytes = s.bytesReceived;
            this.decoded = s.framesDecoded;
            if (s.jitterBufferEmittedCount) this.jitter = (1000 * s.jitterBufferDelay) / s.jitterBufferEmittedCount;
          }
          if (s.type === "candidate-pair" && s.nominated) rtt = s.currentRoundTripTime;
        }
      }
      const frames = quality.totalVideoFrames, old = this.measured;
      this.measured = { now, frames, bytes };
      if (!old || this.phase === "ended") return;
      const seconds = (now - old.now) / 1000, s = this.state, words = [];
      words.push(this.phase || s.phase || "connecting", this.transport || "connecting");
      if (s.generated_fps) words.push(`${s.generated_fps} fps made`);
      words.push(`${Math.max(0, Math.round((frames - old.frames) / seconds))} fps played`);
      if (s.buffer_ms !== undefined) words.push(`${s.buffer_ms} ms ahead`);
      if (this.waits.length) {
        const sorted = [...this.waits].sort((a, b) => a - b), at = (q) => Math.round(sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))]);
        words.push(`prompt to screen ${Math.round(this.waits.at(-1))} ms (p50 ${at(0.5)}, p95 ${at(0.95)})`);
      }
      if (bytes !== null && old.bytes !== null) words.push(`${Math.round((8 * (bytes - old.bytes)) / seconds / 1000)} kbit/s`);
      if (rtt !== null && rtt !== undefined) words.push(`RTT ${Math.round(1000 * rtt)} ms`);
      this.say_status(words.join(" · "));
    }

    say_status(text, bad = false) {
      this.status.textContent = text;
      this.status.classList.toggle("bad", bad);
    }
  }

  window.longtake = {
    mount(root, options) { const player = new Player(root, options); window.longtake.player = player; return player; },
    option(name, value) { window.longtake.player?.option(name, value); return []; },
    preset(text) { window.longtake.player?.preset(text); return []; },
  };
})();
