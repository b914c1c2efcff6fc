// @ts-check
// Runs the microphone's button. The browser asks for permission when it is pressed, not before.

import { messageOf } from "./api.js";
import { message, named } from "./messages.js";

/** @import { LevelMeter } from "./level_meter.js" */
/** @import { SessionClient } from "./session_client.js" */

const PROCESSING = { echoCancellation: true, noiseSuppression: true, autoGainControl: true };

const REFUSALS = "talk.mic.refused"; // messages by the name of an error

export class Microphone {
  /**
   * @param {HTMLButtonElement} button
   * @param {LevelMeter} meter
   * @param {SessionClient} client
   * @param {(text: string, bad?: boolean) => void} tell shows a message
   */
  constructor(button, meter, client, tell) {
    this.button = button;
    this.meter = meter;
    this.client = client;
    this.tell = tell;
    /** @type {MediaStream | null} */
    this.stream = null;
    this.asking = false; // whether the browser is asking for permission
    button.onclick = () => {
      if (this.stream) this.close(message("talk.mic.off"));
      else this.#open();
    };
  }

  async #open() {
    if (this.asking) return; // a second request would open a second capture
    if (!navigator.mediaDevices) {
      this.tell(message("talk.mic.insecure"), true);
      return;
    }
    this.asking = true;
    const { session } = this.client;
    try {
      const stream = await navigator.mediaDevices.getUserMedia({ audio: PROCESSING });
      if (!session || this.client.session !== session) {
        stop(stream); // permission came after the session had ended
        return;
      }
      this.stream = stream;
      for (const track of stream.getTracks())
        track.onended = () => this.close(message("talk.mic.gone"), true);
      await this.send();
      if (this.stream !== stream) return; // the button was pressed again meanwhile
      this.meter.follow(stream);
      this.button.classList.add("on");
      this.tell("");
    } catch (e) {
      this.close(e instanceof DOMException ? named(REFUSALS, e.name, e.message) : messageOf(e), true);
    } finally {
      this.asking = false;
    }
  }

  /** Send the microphone's sound over the present connection. */
  async send() {
    await this.client.connection?.sendSound(this.stream?.getAudioTracks()[0] ?? null);
  }

  /**
   * Stop the capture.
   *
   * @param {string} why shown to a person; empty: nothing is shown
   */
  close(why = "", bad = false) {
    if (this.stream) stop(this.stream);
    this.stream = null;
    this.send().catch(() => {}); // a lost connection needs no silence
    this.meter.follow(null);
    this.button.classList.remove("on");
    if (why) this.tell(why, bad);
  }
}

/**
 * Stop every track of a stream.
 *
 * @param {MediaStream} stream
 */
function stop(stream) {
  for (const track of stream.getTracks()) {
    track.onended = null;
    track.stop();
  }
}
