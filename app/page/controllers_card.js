// @ts-check
// Shows what MIDI, gamepads and a tapped tempo do on the studio page, and keeps it in set lists.

import { messageOf, posted } from "./api.js";
import { ControlBindings } from "./control_bindings.js";
import { make } from "./elements.js";
import { GamepadInput } from "./gamepad_input.js";
import { decimals, message } from "./messages.js";
import { MidiInput } from "./midi_input.js";
import { PLAIN } from "./prompt_bar.js";
import { read, save } from "./set_list.js";
import { Tempo } from "./tempo.js";

/** @import { Control } from "./control_bindings.js" */
/** @import { Later } from "./later.js" */
/** @import { ShareLink } from "./share_links.js" */
/** @import { LoraSliders } from "./lora_sliders.js" */
/** @import { NoteLine } from "./note_line.js" */
/** @import { PromptBar } from "./prompt_bar.js" */
/** @import { SessionClient } from "./session_client.js" */
/** @import { Slots } from "./slots.js" */
/** @import { TakeActions } from "./take_actions.js" */
/** @import { Transport } from "./transport.js" */

/**
 * @typedef {object} Playing parts of the page that controllers play
 * @property {HTMLElement} root
 * @property {TakeActions} act
 * @property {SessionClient} client
 * @property {Later<LoraSliders>} loras
 * @property {NoteLine} note
 * @property {PromptBar} prompt
 * @property {Slots} slots
 * @property {Transport} transport
 */

const SLOTS = 9;

export class ControllersCard {
  /**
   * @param {HTMLElement} card
   * @param {Playing} playing
   * @param {() => void} connected called when MIDI was asked for
   */
  constructor(card, playing, connected) {
    this.playing = playing;
    this.tempo = playing.act.tempo ??= new Tempo();
    this.learned = ""; // id of the control that was being learned
    this.bindings = new ControlBindings(
      () => this.controls,
      () => this.#drawControls(),
    );
    const heard = (/** @type {string} */ source, /** @type {number} */ value) => {
      this.bindings.heard(source, value);
      this.newest.textContent = `${source}: ${decimals(value, 2)}`;
    };
    const told = (/** @type {string} */ words) => {
      this.state.textContent = words;
    };
    this.midi = new MidiInput(heard, told);
    this.pads = new GamepadInput(heard, told);
    this.state = make("p", {
      className: "help",
      textContent: message("live.first"),
    });
    this.state.role = "status";
    this.newest = make("span", { className: "help number" });
    this.list = make("ul", { className: "bindings" });
    const connect = make("button", {
      type: "button",
      textContent: message("live.connect"),
    });
    connect.dataset.lt = "midi";
    connect.onclick = () => {
      connected();
      this.connect();
    };
    card.append(
      make("div", { className: "row" }, connect, this.newest),
      this.state,
      this.list,
      this.#tempo(),
      this.#files(),
    );
    this.pads.open();
    this.#drawControls();
  }

  async connect() {
    await this.midi.open();
  }

  /**
   * Return what can be played.
   *
   * @returns {Control[]}
   */
  get controls() {
    const { act, loras, prompt, slots, transport } = this.playing;
    const slot = (/** @type {number} */ number) => ({
      id: `slot ${number}`,
      label: message("live.slot", { slot: number }),
      press: () => act.say(slots.textOf(number), PLAIN),
    });
    return [
      ...Array.from({ length: SLOTS }, (_, i) => slot(i + 1)),
      { id: "send", label: message("prompt.send"), press: () => prompt.send.click() },
      { id: "blend", label: message("prompt.blend"), press: () => prompt.turn.click() },
      { id: "cut", label: message("prompt.cut"), press: () => prompt.cut.click() },
      { id: "reroll", label: message("deck.reroll"), press: () => transport.reroll.click() },
      { id: "undo", label: message("deck.undo"), press: () => transport.undo.click() },
      { id: "pause", label: message("deck.pause"), press: () => transport.togglePause() },
      { id: "record", label: message("deck.record"), press: () => transport.record.click() },
      { id: "tap", label: message("live.tap.tempo"), press: () => this.#tap() },
      {
        id: "strength",
        label: message("follow.strength"),
        turn: (value) => this.#slide("[data-lt=strength]", value),
      },
      ...[...(loras.made?.sliders ?? [])].map(([name, { slider }]) => ({
        id: `lora ${name}`,
        label: name,
        turn: (/** @type {number} */ value) => slide(slider, value),
      })),
    ];
  }

  /**
   * @param {string} selector
   * @param {number} value 0 to 1
   */
  #slide(selector, value) {
    const slider = this.playing.root.querySelector(selector);
    if (slider instanceof HTMLInputElement) slide(slider, value);
  }

  #drawControls() {
    const { bindings } = this;
    const rows = this.controls.map(({ id, label }) => {
      const learning = bindings.learning === id;
      const sources = bindings.sourcesOf(id);
      const learn = make("button", {
        type: "button",
        textContent: message(learning ? "live.learning" : "live.learn"),
      });
      learn.dataset.learn = id;
      learn.ariaPressed = String(learning);
      learn.ariaLabel = message("live.learn.of", { label, word: learn.textContent ?? "" });
      learn.onclick = () => bindings.learn(id);
      const forget = make("button", {
        type: "button",
        textContent: message("live.forget"),
        ariaLabel: message("live.forget.of", { label }),
      });
      forget.hidden = !sources.length;
      forget.onclick = () => bindings.forget(id);
      const bound = make("span", {
        className: "grow clipped help",
        textContent: sources.join(", "),
      });
      return make("li", { className: "row" }, make("span", { textContent: label }), bound, learn, forget);
    });
    this.list.replaceChildren(...rows);
    const next = bindings.learning || this.learned;
    this.learned = bindings.learning;
    const button = this.list.querySelector(`[data-learn="${CSS.escape(next)}"]`);
    if (next && button instanceof HTMLElement) button.focus({ preventScroll: true }); // it was replaced
  }

  #tempo() {
    const { tempo } = this;
    const tap = make("button", { type: "button", textContent: message("live.tap") });
    tap.dataset.lt = "tap";
    tap.onclick = () => this.#tap();
    this.bpm = make("output", { className: "number", textContent: message("live.notempo") });
    this.bpm.dataset.lt = "bpm";
    const on = make("input", { type: "checkbox" });
    on.dataset.lt = "onbeat";
    on.onchange = () => {
      tempo.on = on.checked;
      this.#drawTempo();
    };
    return make(
      "div",
      { className: "setting" },
      make("div", { className: "row" }, tap, this.bpm, make("label", {}, on, message("live.onbeat"))),
      make("p", {
        className: "help",
        textContent: message("live.beat.note"),
      }),
    );
  }

  #tap() {
    this.tempo.tap(performance.now());
    this.#drawTempo();
  }

  #drawTempo() {
    const { bpm, off, on } = this.tempo;
    if (!this.bpm) return;
    const beats = decimals(bpm, 1);
    if (!bpm) this.bpm.textContent = message("live.notempo");
    else if (on) this.bpm.textContent = message("live.bpm.off", { bpm: beats, ms: Math.round(off) });
    else this.bpm.textContent = message("live.bpm", { bpm: beats });
  }

  #files() {
    const { client, note, slots } = this.playing;
    const { tempo } = this;
    const keep = make("button", {
      type: "button",
      textContent: message("live.save"),
    });
    keep.dataset.lt = "savelist";
    keep.onclick = () =>
      save({
        slots: slots.slots,
        bindings: this.bindings.bound,
        bpm: tempo.bpm,
      });
    const file = make("input", {
      type: "file",
      accept: "application/json",
      hidden: true,
    });
    file.dataset.lt = "listfile";
    file.onchange = async () => {
      const [chosen] = file.files ?? [];
      file.value = "";
      if (!chosen) return;
      try {
        const list = await read(chosen);
        slots.take(list.slots);
        this.bindings.take(list.bindings);
        if (list.bpm) tempo.set(list.bpm, performance.now());
        this.#drawTempo();
        note.tell(message("live.opened", { name: chosen.name, n: list.slots.filter(Boolean).length }));
      } catch (error) {
        note.tell(messageOf(error), true);
      }
    };
    const open = make("button", {
      type: "button",
      textContent: message("live.open"),
    });
    open.dataset.lt = "openlist";
    open.onclick = () => file.click();
    const output = make("button", {
      type: "button",
      textContent: message("live.output"),
    });
    output.dataset.lt = "output";
    output.title = message("live.output.note");
    output.onclick = () => openOutput(client).catch((error) => note.tell(messageOf(error), true));
    return make("div", { className: "row wraps" }, keep, open, file, output);
  }
}

/**
 * Move a slider as a person does.
 *
 * @param {HTMLInputElement} slider
 * @param {number} value 0 to 1, of its range
 */
function slide(slider, value) {
  const [low, high] = [Number(slider.min), Number(slider.max)];
  slider.valueAsNumber = low + value * (high - low);
  slider.dispatchEvent(new Event("input", { bubbles: true }));
  slider.dispatchEvent(new Event("change", { bubbles: true }));
}

/**
 * Open the picture alone in a window, on a second screen where the browser tells of one.
 *
 * @param {SessionClient} client
 */
async function openOutput(client) {
  if (!client.session) throw new Error(message("live.output.first"));
  const opened = window.open("", "longtake-output", "popup,width=960,height=960"); // at once, or it is blocked
  if (!opened) throw new Error(message("live.output.blocked"));
  /** @type {ShareLink} */
  const link = await client.post("links", posted({ minutes: 720, viewers: 1 }));
  opened.location.href = `${client.base}${link.watch}?clean`;
}
