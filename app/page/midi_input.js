// @ts-check
// Reads MIDI controllers (Web MIDI): notes, controllers, programs and the pitch wheel of every input.

import { messageOf } from "./api.js";
import { message } from "./messages.js";

const NOTE_OFF = 0x80;
const NOTE_ON = 0x90;
const CONTROLLER = 0xb0;
const PROGRAM = 0xc0;
const WHEEL = 0xe0;

/**
 * Read what a message says; null: nothing that a controller moves.
 *
 * @param {Uint8Array} bytes of a MIDI 1.0 message
 * @returns {{ source: string, value: number } | null} source without its device; value 0 to 1
 */
export function read(bytes) {
  const [status = 0, first = 0, second = 0] = bytes;
  const channel = (status & 15) + 1;
  switch (status & 0xf0) {
    case NOTE_ON:
      return {
        source: `midi ${channel} note ${first}`,
        value: second / 127 > 0 ? 1 : 0,
      };
    case NOTE_OFF:
      return { source: `midi ${channel} note ${first}`, value: 0 };
    case CONTROLLER:
      return {
        source: `midi ${channel} control ${first}`,
        value: second / 127,
      };
    case WHEEL:
      return {
        source: `midi ${channel} wheel`,
        value: (first + 128 * second) / 16383,
      };
    case PROGRAM:
      return { source: `midi ${channel} program ${first}`, value: 1 };
    default:
      return null;
  }
}

export class MidiInput {
  /**
   * @param {(source: string, value: number) => void} heard
   * @param {(words: string) => void} told called with the state in words
   */
  constructor(heard, told) {
    this.heard = heard;
    this.told = told;
  }

  /** Ask for access, and follow every input, also those that are plugged in later. */
  async open() {
    if (!navigator.requestMIDIAccess) {
      this.told(message("live.nomidi"));
      return;
    }
    try {
      const access = await navigator.requestMIDIAccess();
      const follow = () => {
        const inputs = [...access.inputs.values()].filter(({ state }) => state === "connected");
        for (const input of inputs) input.onmidimessage = (message) => this.#take(message.data);
        this.told(
          inputs.length
            ? message("live.midi", { names: inputs.map(({ name }) => name).join(", ") })
            : message("live.nodevice"),
        );
      };
      access.onstatechange = follow;
      follow();
    } catch (error) {
      this.told(message("live.refused", { why: messageOf(error) }));
    }
  }

  /** @param {Uint8Array | null} bytes */
  #take(bytes) {
    const told = bytes && read(bytes);
    if (!told) return;
    this.heard(told.source, told.value);
    if (told.source.includes("program")) this.heard(told.source, 0); // it is not let go
  }
}
