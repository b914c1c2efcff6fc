// @ts-check
// Connects a page to a session: by WebRTC, or by fragmented MP4 over a WebSocket where that does not get through.
// Makes a lost connection again.

import { Candidates } from "./candidates.js";
import { FragmentPlayer, mediaSource } from "./fragment_player.js";
import { message } from "./messages.js";

/** @import { Session } from "./api.js" */
/** @import { PresentedFrames } from "./presented_frames.js" */
/** @import { ServerEvent } from "./types.js" */

const ICE_PATIENCE = 4000; // ms without a connection before the fallback
const KEPT_FOR = 20000; // ms for which the server keeps a session that nobody watches
const FIRST_RETRY_AFTER = 200; // ms
const RETRY_AFTER = 700; // ms
// ms without a picture or an event; the status comes every 500, and every 2000 on a slow line
const SILENT_AFTER = 1500;
const SILENT_AFTER_ON_SLOW_LINE = 5000;
const LISTEN_EVERY = 250; // ms
const GONE = [403, 404, 410]; // statuses after which trying again is of no use
// tells the server that a new connection of this page takes the place of its former one
const VIEWER = Array.from(crypto.getRandomValues(new Uint8Array(16)), (n) =>
  n.toString(16).padStart(2, "0"),
).join("");

/**
 * @typedef {object} ConnectionListener
 * @property {(event: ServerEvent) => void} heard called with each event
 * @property {() => void} opened called when commands can be sent, also after a lost connection was made again
 * @property {() => void} lost called when the connection is lost and is about to be made again
 * @property {(why: string) => void} ended called when the session has ended or can no longer be reached
 */

/** Reports that the session has ended; the message is the server's. */
class Gone extends Error {}

export class Connection {
  /**
   * @param {HTMLVideoElement} video in which the session plays
   * @param {PresentedFrames} frames of the video
   * @param {string} base where the server's addresses begin: "" or "../"
   * @param {Session} session
   * @param {ConnectionListener} on
   */
  constructor(video, frames, base, session, on) {
    this.video = video;
    this.frames = frames;
    this.address = `${base}api/sessions/${session.id}`;
    this.session = session;
    this.resources = `${base}whep/${session.id}`; // where the server has a connection's own address
    this.ice = session.ice; // used once, as its credentials expire
    this.on = on;
    /** @type {"" | "WebRTC" | "WebSocket"} */
    this.transport = "";
    this.returning = false;
    /** @type {((text: string) => void) | null} sends a command; null while none can be sent */
    this.talk = null;
    /** @type {RTCPeerConnection | null} */
    this.peer = null;
    /** @type {RTCRtpSender | null} sends a microphone */
    this.sender = null;
    /** @type {WebSocket | null} */
    this.socket = null;
    this.received = 0; // bytes received over the socket
    this.over = false;
    this.silentFor = 0; // ms, as far as the page was awake
    this.patience = SILENT_AFTER;
    this.listening = 0; // a timer
  }

  /** @param {ServerEvent} event */
  #heard(event) {
    this.silentFor = 0;
    if (event.type === "line")
      this.patience = event.state === "clear" ? SILENT_AFTER : SILENT_AFTER_ON_SLOW_LINE;
    this.on.heard(event);
  }

  /** Return to the session once the server is silent: one that has died closes no connection. */
  #listen() {
    clearInterval(this.listening);
    this.silentFor = 0;
    this.patience = SILENT_AFTER;
    let newest = this.frames.newestAt;
    this.listening = setInterval(() => {
      // looks are counted, and not the time between them, in which a page that sleeps has heard nothing
      this.silentFor = this.frames.newestAt > newest ? 0 : this.silentFor + LISTEN_EVERY;
      newest = this.frames.newestAt;
      if (this.silentFor >= this.patience) this.#returnToSession();
    }, LISTEN_EVERY);
  }

  /** Connect by WebRTC; resolves when the offer is answered. Falls back to a socket where no packet gets through. */
  async open() {
    this.frames.begin();
    const ice = this.ice ?? (await this.#iceServers());
    this.ice = null;
    if (this.over) return;
    const peer = new RTCPeerConnection({ iceServers: ice });
    this.peer = peer;
    this.#receive(peer);
    // without ICE servers all candidates of a page that only receives are hidden names, of no use to the server
    const candidates = ice.length ? new Candidates(peer) : null;
    let connected = false;
    peer.onconnectionstatechange = () => {
      if (peer !== this.peer) return;
      if (peer.connectionState === "connected") {
        connected = true;
        this.transport = "WebRTC";
      }
      if (["failed", "disconnected"].includes(peer.connectionState) && connected) this.#returnToSession();
    };
    setTimeout(() => {
      if (!connected && peer === this.peer) this.fallBack().catch(() => {}); // a socket that closes is opened again
    }, ICE_PATIENCE);
    const offer = await peer.createOffer();
    await peer.setLocalDescription(offer);
    const answer = await fetch(`${this.address}/offer`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({
        sdp: peer.localDescription?.sdp,
        key: this.session.key ?? undefined,
        viewer: VIEWER,
      }),
    });
    const got = await answer.json();
    if (peer !== this.peer) return; // late: the page has fallen back to a socket or has left
    if (!answer.ok) throw GONE.includes(answer.status) ? new Gone(got.error) : new Error(got.error);
    await peer.setRemoteDescription(got);
    candidates?.sendTo(`${this.resources}/${got.resource}`, got.etag);
  }

  /** @returns {Promise<RTCIceServer[]>} the servers, with fresh credentials */
  async #iceServers() {
    const answer = await fetch(`${this.address}/ice`, {
      headers: { "x-longtake-key": this.session.key ?? "" },
    });
    const got = await answer.json();
    if (!answer.ok) throw GONE.includes(answer.status) ? new Gone(got.error) : new Error(got.error);
    return got;
  }

  /**
   * Ask for picture, sound and the control channel.
   *
   * @param {RTCPeerConnection} peer
   */
  #receive(peer) {
    const { receiver } = peer.addTransceiver("video", { direction: "recvonly" });
    if ("jitterBufferTarget" in receiver) receiver.jitterBufferTarget = 0;
    this.sender = null;
    if (this.session.sound) {
      // a page that controls an avatar may send a microphone later; no permission is asked for until then
      const direction = this.session.key ? "sendrecv" : "recvonly";
      const { sender } = peer.addTransceiver("audio", { direction });
      if (this.session.key) this.sender = sender;
    }
    const channel = peer.createDataChannel("control", { ordered: true });
    channel.onmessage = (e) => this.#heard(JSON.parse(e.data));
    channel.onopen = () => {
      this.talk = (text) => channel.send(text);
      this.#listen();
      this.on.opened();
    };
    const tracks = new MediaStream();
    peer.ontrack = (e) => {
      tracks.addTrack(e.track);
      if (e.track.kind === "video") {
        this.video.srcObject = tracks;
        this.frames.attach();
      }
      this.play();
    };
  }

  /** Play fragmented MP4 over a WebSocket instead; resolves with the first message: a refusal comes before any. */
  async fallBack() {
    this.#drop();
    const Source = mediaSource();
    if (!Source) {
      this.on.ended(message("line.nostream"));
      return;
    }
    this.frames.begin();
    const url = new URL(`${this.address}/stream`, location.href);
    url.protocol = url.protocol.replace("http", "ws");
    url.searchParams.set("viewer", VIEWER);
    if (this.session.key) url.searchParams.set("key", this.session.key);
    const socket = new WebSocket(url);
    socket.binaryType = "arraybuffer";
    this.socket = socket;
    const player = new FragmentPlayer(this.video, Source);
    this.frames.attach();
    /** @type {() => void} */
    let welcome = () => {};
    socket.onmessage = ({ data }) => {
      welcome();
      this.silentFor = 0;
      this.received += data.byteLength ?? data.length;
      if (typeof data !== "string") {
        player.add(data);
        return;
      }
      /** @type {ServerEvent} */
      const event = JSON.parse(data);
      if (event.type === "codec") player.begin(event.codec);
      else this.#heard(event);
    };
    this.play();
    await new Promise((opened, failed) => {
      welcome = () => {
        welcome = () => {};
        this.transport = "WebSocket";
        this.talk = (text) => socket.send(text);
        this.#listen();
        this.on.opened();
        opened(undefined);
      };
      socket.onclose = (e) => {
        failed(e.code === 1008 ? new Gone(e.reason) : new Error(e.reason || message("line.closed")));
        if (this.socket === socket && !this.returning) this.#returnToSession();
      };
    });
  }

  /** Try to connect again for as long as the server keeps the session. */
  async #returnToSession() {
    if (this.over || this.returning) return;
    this.returning = true;
    this.#drop();
    this.on.lost();
    const until = performance.now() + KEPT_FOR;
    let why = message("line.lost");
    let pause = FIRST_RETRY_AFTER;
    while (why && !this.over && performance.now() < until) {
      await new Promise((done) => setTimeout(done, pause));
      try {
        if (this.transport === "WebSocket") await this.fallBack();
        else await this.open();
        why = "";
      } catch (e) {
        this.#drop();
        pause = RETRY_AFTER;
        if (e instanceof Gone) {
          why = e.message;
          break;
        }
      }
    }
    this.returning = false;
    if (why && !this.over) this.on.ended(why);
  }

  /**
   * Send a microphone's track, or silence for null.
   *
   * @param {MediaStreamTrack | null} track
   */
  async sendSound(track) {
    if (this.sender) await this.sender.replaceTrack(track);
    else if (track) throw new Error(message("line.nomicrophone"));
  }

  /** Start playback. A browser may refuse it until the first click or key; that is no failure. */
  play() {
    this.video.play().catch(() => {});
  }

  #drop() {
    const { peer, socket } = this;
    this.peer = this.socket = this.talk = this.sender = null;
    clearInterval(this.listening);
    peer?.close();
    socket?.close();
  }

  /** Close the connection for good. */
  close() {
    this.over = true;
    this.#drop();
  }

  /**
   * Read the frames and bytes received so far and the round trip time in ms; each is null where it is not known.
   *
   * @returns {Promise<{ frames: number | null, bytes: number | null, roundTrip: number | null }>}
   */
  async stats() {
    if (!this.peer) return { frames: null, bytes: this.socket ? this.received : null, roundTrip: null };
    let frames = null;
    let bytes = null;
    let roundTrip = null;
    for (const [, found] of await this.peer.getStats()) {
      if (found.type === "inbound-rtp" && found.kind === "video") {
        bytes = found.bytesReceived;
        frames = found.framesDecoded ?? null;
      }
      if (found.type === "candidate-pair" && found.nominated && found.currentRoundTripTime !== undefined) {
        roundTrip = 1000 * found.currentRoundTripTime;
      }
    }
    return { frames, bytes, roundTrip };
  }
}
