// The way to a session: WebRTC, or fragmented MP4 over a WebSocket where that does not get through. It comes back by itself.
(() => {
  "use strict";

  const ICE_PATIENCE = 4000; // ms without a connection before the fallback
  const AWAY = 20000; // ms for which the server keeps a session that nobody watches

  class Gone extends Error {}

  class Connection {
    // `on` has: heard(event), opened() when messages can be sent, word(text) for the status line, ended(why)
    constructor(video, screen, base, session, on) {
      Object.assign(this, { video, screen, base, session, on, transport: "", received: 0, over: false });
    }

    async open() {
      this.screen.begin();
      const pc = (this.pc = new RTCPeerConnection({ iceServers: this.session.ice || [] }));
      const receiver = pc.addTransceiver("video", { direction: "recvonly" }).receiver;
      try { receiver.jitterBufferTarget = 0; } catch { /* older browsers keep their own */ }
      // a film with sound; who controls an avatar may send a microphone later, and is not asked for one before
      const sound = this.session.sound && pc.addTransceiver("audio", { direction: this.session.key ? "sendrecv" : "recvonly" });
      this.sender = this.session.key && sound ? sound.sender : null;
      const channel = pc.createDataChannel("control", { ordered: true });
      channel.onmessage = (e) => this.on.heard(JSON.parse(e.data));
      channel.onopen = () => { this.talk = (text) => channel.send(text); this.on.opened(); };
      const tracks = new MediaStream();
      pc.ontrack = (e) => {
        tracks.addTrack(e.track);
        if (e.track.kind === "video") { this.video.srcObject = tracks; this.screen.attach(); }
        this.play();
      };
      let connected = false;
      pc.onconnectionstatechange = () => {
        if (pc !== this.pc) return;
        if (pc.connectionState === "connected") { connected = true; this.transport = "WebRTC"; }
        if (["failed", "disconnected"].includes(pc.connectionState) && connected) this.lost();
      };
      setTimeout(() => { if (!connected && pc === this.pc) this.fallBack(); }, ICE_PATIENCE);
      await pc.setLocalDescription(await pc.createOffer());
      const offer = { sdp: pc.localDescription.sdp, ...(this.session.key ? { key: this.session.key } : {}) };
      const answer = await fetch(`${this.base}api/sessions/${this.session.id}/offer`, { method: "POST",
        headers: { "content-type": "application/json" }, body: JSON.stringify(offer) });
      const got = await answer.json();
      if (pc !== this.pc) return; // it was too slow, and another way has been taken
      if (!answer.ok) throw answer.status === 404 ? new Gone(got.error) : new Error(got.error);
      await pc.setRemoteDescription(got);
    }

    async send(track) { // a microphone's, or null: nothing
      if (this.sender) await this.sender.replaceTrack(track);
      else if (track) throw new Error("this connection takes no microphone");
    }

    async lost() { // the session waits for us as long as the server keeps it
      if (this.over || this.returning) return;
      this.returning = true;
      this.drop();
      this.on.word("reconnecting");
      const until = performance.now() + AWAY;
      let why = "the connection was lost";
      while (why && !this.over && performance.now() < until) {
        await new Promise((done) => setTimeout(done, 700));
        try {
          if (this.transport === "WebSocket") await this.fallBack(); else await this.open();
          why = "";
        } catch (e) {
          this.drop();
          if (e instanceof Gone) { why = e.message; break; }
        }
      }
      this.returning = false;
      if (why && !this.over) this.on.ended(why);
    }

    fallBack() { // resolves once the socket is open
      this.drop();
      const Source = window.ManagedMediaSource || window.MediaSource; // a phone may have the first alone
      if (!Source) { this.on.ended("WebRTC does not get through, and this browser plays no stream without it"); return Promise.resolve(); }
      this.screen.begin();
      const url = new URL(`${this.base}api/sessions/${this.session.id}/stream`, location.href);
      url.protocol = url.protocol.replace("http", "ws");
      if (this.session.key) url.searchParams.set("key", this.session.key);
      const socket = (this.socket = new WebSocket(url)), media = new Source(), queue = [];
      socket.binaryType = "arraybuffer";
      let buffer = null;
      const feed = () => { if (buffer && !buffer.updating && queue.length) buffer.appendBuffer(queue.shift()); };
      this.video.srcObject = null;
      this.video.disableRemotePlayback = true; // else a managed source does not open
      this.video.src = URL.createObjectURL(media);
      this.screen.attach();
      socket.onmessage = (e) => {
        this.received += e.data.byteLength || e.data.length;
        if (typeof e.data !== "string") { queue.push(e.data); feed(); return; }
        const event = JSON.parse(e.data);
        if (event.type !== "codec") { this.on.heard(event); return; }
        const begin = () => {
          buffer = media.addSourceBuffer(`video/mp4; codecs="${event.codec}"`);
          buffer.mode = "segments";
          buffer.onupdateend = () => { this.chase(buffer); feed(); };
          feed();
        };
        if (media.readyState === "open") begin(); else media.addEventListener("sourceopen", begin, { once: true });
      };
      this.play();
      return new Promise((opened, failed) => {
        socket.onopen = () => { this.transport = "WebSocket"; this.talk = (text) => socket.send(text); this.on.opened(); opened(); };
        socket.onclose = (e) => {
          failed(e.code === 1008 ? new Gone(e.reason) : new Error("the socket was closed"));
          if (this.socket === socket && !this.returning) this.lost();
        };
      });
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
      if (this.pc) { const pc = this.pc; this.pc = null; pc.close(); }
      if (this.socket) { const s = this.socket; this.socket = null; s.close(); }
      this.talk = this.sender = null;
    }

    close() {
      this.over = true;
      this.drop();
    }

    async stats() { // bytes received so far and the round trip in ms, each null where it is not known
      if (!this.pc) return { bytes: this.socket ? this.received : null, rtt: null };
      let bytes = null, rtt = null;
      for (const s of (await this.pc.getStats()).values()) {
        if (s.type === "inbound-rtp" && s.kind === "video") { bytes = s.bytesReceived; this.decoded = s.framesDecoded; }
        if (s.type === "candidate-pair" && s.nominated && s.currentRoundTripTime !== undefined) rtt = 1000 * s.currentRoundTripTime;
      }
      return { bytes, rtt };
    }
  }

  window.longtake = Object.assign(window.longtake || {}, { Connection });
})();
