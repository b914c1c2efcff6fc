// @ts-check
// Captures a camera and sends it to the session over a connection of its own, by WHIP (RFC 9725).

import { ask, messageOf } from "./api.js";
import { message, named } from "./messages.js";

/** @import { SessionClient } from "./session_client.js" */

const WIDTH = 640; // pixels that are asked for; models draw smaller pictures than most cameras take
const HEIGHT = 480;
const MOST_FPS = 30;
const GATHERING = 2000; // ms to wait for addresses of a relay

const REFUSALS = "camera.refused"; // messages by the name of an error

export class CameraFeed {
  /**
   * @param {SessionClient} client
   * @param {() => void} changed called when the camera was turned on or off, or was connected
   */
  constructor(client, changed) {
    this.client = client;
    this.changed = changed;
    /** @type {MediaStream | null} */
    this.stream = null;
    /** @type {RTCPeerConnection | null} */
    this.peer = null;
    this.address = ""; // of the connection on the server
    this.why = ""; // a failure, for a person
    this.asking = false; // whether the browser is asking for permission
    addEventListener("pagehide", () => this.#hangUp());
  }

  /** Return what the browser calls the camera. */
  get label() {
    return this.stream?.getVideoTracks()[0]?.label || message("camera.label");
  }

  /** Turn the camera on, and send it if there is a session. */
  async open() {
    if (this.stream || this.asking) return;
    this.why = "";
    if (!navigator.mediaDevices) {
      this.#fail(new Error(message("camera.insecure")));
      return;
    }
    this.asking = true;
    try {
      const video = {
        width: { ideal: WIDTH },
        height: { ideal: HEIGHT },
        frameRate: { ideal: this.client.fps || MOST_FPS, max: MOST_FPS },
      };
      this.stream = await navigator.mediaDevices.getUserMedia({ video });
      for (const track of this.stream.getTracks()) {
        track.contentHint = "motion";
        track.onended = () => this.#fail(new Error(message("camera.gone")));
      }
      this.changed();
      await this.publish();
    } catch (e) {
      this.#fail(e);
    } finally {
      this.asking = false;
    }
  }

  /** Send the camera to the present session, unless it is sent already. */
  async publish() {
    const { client, stream } = this;
    const { session } = client;
    if (!session?.key || !stream || this.peer?.connectionState === "connected") return;
    this.#hangUp();
    const headers = { "x-longtake-key": session.key };
    /** @type {RTCIceServer[]} */
    const iceServers = await ask(`${client.base}api/sessions/${session.id}/ice`, { headers });
    const peer = new RTCPeerConnection({ iceServers });
    this.peer = peer;
    peer.onconnectionstatechange = () => {
      if (peer !== this.peer) return;
      if (peer.connectionState === "connected") this.changed();
      // another camera may have taken its place, so it is not connected anew without being asked to
      if (["failed", "closed"].includes(peer.connectionState)) this.#fail(new Error(message("camera.ended")));
    };
    peer.addTransceiver(stream.getVideoTracks()[0], { direction: "sendonly", streams: [stream] });
    await peer.setLocalDescription();
    if (iceServers.length) await gathered(peer);
    const answer = await fetch(`${client.base}whip/${session.id}`, {
      method: "POST",
      headers: { ...headers, "content-type": "application/sdp" },
      body: peer.localDescription?.sdp,
    });
    if (!answer.ok)
      throw new Error((await answer.json().catch(() => ({}))).error ?? message("camera.nottaken"));
    const location = new URL(answer.headers.get("location") ?? "", answer.url).href;
    if (peer !== this.peer) {
      this.#leave(location); // it was turned off meanwhile
      return;
    }
    this.address = location;
    await peer.setRemoteDescription({ type: "answer", sdp: await answer.text() });
  }

  /** Turn the camera off. */
  close() {
    for (const track of this.stream?.getTracks() ?? []) {
      track.onended = null;
      track.stop();
    }
    this.stream = null;
    this.#hangUp();
    this.changed();
  }

  /** @param {unknown} error */
  #fail(error) {
    this.why = error instanceof DOMException ? named(REFUSALS, error.name, error.message) : messageOf(error);
    this.close();
  }

  #hangUp() {
    const { peer, address } = this;
    this.peer = null;
    this.address = "";
    peer?.close();
    if (address) this.#leave(address);
  }

  /** @param {string} address */
  #leave(address) {
    const { session } = this.client;
    if (!session?.key) return; // it has ended, and its connections with it
    const headers = { "x-longtake-key": session.key };
    fetch(address, { method: "DELETE", headers, keepalive: true }).catch(() => {}); // the server notices by itself
  }
}

/**
 * Wait until all addresses of a connection are known, or long enough.
 *
 * @param {RTCPeerConnection} peer
 */
function gathered(peer) {
  return new Promise((done) => {
    setTimeout(done, GATHERING);
    peer.onicegatheringstatechange = () => peer.iceGatheringState === "complete" && done(undefined);
  });
}
