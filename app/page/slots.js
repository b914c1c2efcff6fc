// @ts-check
// Keeps prompts in nine slots, shown as cards with pictures, also after the page is closed.

import { make } from "./elements.js";
import { icon } from "./icons.js";
import { message } from "./messages.js";
import { briefLabel } from "./scene_labels.js";

/** @import { Phrases } from "./scene_labels.js" */
/**
 * @typedef {object} Slot
 * @property {string} text
 * @property {string} picture data URL; empty: none yet
 * @property {string} [preset] name of a picture here
 * @property {string} [name] that a person gave it
 */

const KEPT_AS = "longtake.pads";
const SLOTS = 9;
const MOST_NAME = 40; // characters
/** @type {[string, string][]} pictures of the first slots, made by the model, and their prompts */
const PRESETS = [
  ["ball", "a large red ball circles in the middle over the meadow by day"],
  ["rocket", "a large white rocket drifts right over the sea at sunset"],
  ["star", "a large yellow star sways in the middle in the city at night"],
  ["snow", "a large purple fish drifts left in the forest by day in the snow"],
  ["fog", "a large blue cube sways in the middle in the forest by day in fog"],
  ["desert", "a large purple star sways in the middle in the desert by day"],
  ["rain", "a large yellow fish circles in the middle over the sea by day in the rain"],
  ["dusk", "a large blue ball circles in the middle in the desert at sunset"],
];

/**
 * @typedef {object} SlotListener
 * @property {(text: string) => void} play called when a slot is clicked
 * @property {() => { text: string, picture: string }} offer returns what an empty slot keeps when it is clicked
 * @property {(text: string) => void} kept called when another text is kept
 */

export class Slots {
  /**
   * @param {HTMLElement} element list that holds the cards
   * @param {SlotListener} on
   */
  constructor(element, on) {
    this.element = element;
    this.on = on;
    /** @type {Phrases} */
    this.known = {};
    this.playing = "";
    /** @type {string[]} texts that wait to land */
    this.queued = [];
    /** @type {(Slot | null)[]} slots 0 to 9; slot 0 stays empty */
    this.slots = JSON.parse(localStorage.getItem(KEPT_AS) || "null") ?? [
      null,
      ...PRESETS.map(([preset, text]) => ({ text, picture: "", preset })),
      null,
    ];
    this.draw();
  }

  /**
   * Keep a text in a slot.
   *
   * @param {number} slot 1 to 9
   * @param {string} text empty: the slot becomes empty
   * @param {string} picture data URL; empty: none yet
   */
  keep(slot, text, picture) {
    this.slots[slot] = text ? { text, picture } : null;
    this.#store();
    if (text) this.on.kept(text);
  }

  /**
   * Keep a text in the first empty slot, or in the last one. Returns the slot's number.
   *
   * @param {string} text
   * @param {string} picture
   */
  keepAnywhere(text, picture) {
    const empty = this.slots.findIndex((slot, i) => i > 0 && !slot);
    const slot = empty > 0 ? empty : SLOTS;
    this.keep(slot, text, picture);
    return slot;
  }

  /**
   * Give its picture to a slot that has none yet.
   *
   * @param {string} text that is shown now
   * @param {() => string} picture
   */
  illustrate(text, picture) {
    const slot = this.slots.find((one) => one?.text === text && !one.picture && !one.preset);
    if (!slot) return;
    slot.picture = picture();
    this.#store();
  }

  /** @param {number} slot 1 to 9 */
  textOf(slot) {
    return this.slots[slot]?.text ?? "";
  }

  /** Return the texts of the slots that are not empty. */
  get kept() {
    return this.slots.flatMap((slot) => (slot ? [slot.text] : []));
  }

  /**
   * Mark what plays and what waits.
   *
   * @param {string} playing
   * @param {string[]} queued
   */
  mark(playing, queued) {
    if (playing === this.playing && queued.join("\n") === this.queued.join("\n")) return;
    this.playing = playing;
    this.queued = queued;
    for (const card of this.element.children) this.#mark(card);
  }

  /**
   * Take other slots, such as those of a set list.
   *
   * @param {(Slot | null)[]} slots slots 0 to 9
   */
  take(slots) {
    this.slots = slots;
    this.#store();
    for (const text of this.kept) this.on.kept(text);
  }

  /** @param {Element} card */
  #mark(card) {
    const text = this.textOf(Number(card.getAttribute("data-slot")));
    card.classList.toggle("plays", Boolean(text) && text === this.playing);
    card.classList.toggle("waits", this.queued.includes(text));
  }

  #store() {
    localStorage.setItem(KEPT_AS, JSON.stringify(this.slots));
    this.draw();
  }

  draw() {
    this.element.replaceChildren(...Array.from({ length: SLOTS }, (_, i) => this.#card(i + 1)));
  }

  /** @param {number} number */
  #card(number) {
    const slot = this.slots[number];
    const card = make("li", { className: slot ? "pad" : "pad empty" });
    card.dataset.slot = String(number);
    if (!slot) {
      const keep = make("button", { className: "play", title: message("slots.keep.key", { slot: number }) });
      keep.append(icon("plus"), message("slots.keep", { slot: number }));
      keep.onclick = () => this.#keepHere(number);
      card.append(keep);
      return card;
    }
    const src = slot.preset ? new URL(`media/scene-${slot.preset}.webp`, import.meta.url).href : slot.picture;
    const play = make(
      "button",
      { className: "play", title: slot.text },
      src ? make("img", { src, alt: "", draggable: false }) : make("span", {}),
      make("span", {
        className: "name clipped",
        textContent: slot.name || briefLabel(slot.text, this.known),
      }),
      make("span", { className: "digit number", textContent: String(number) }),
    );
    play.onclick = () => this.on.play(slot.text);
    play.oncontextmenu = (e) => {
      e.preventDefault();
      this.#toggleMenu(card, number);
    };
    // reached by the context menu key of the card, so that a card is one Tab stop
    const dots = make(
      "button",
      { className: "dots", tabIndex: -1, title: message("slots.menu") },
      icon("more"),
    );
    dots.ariaLabel = message("slots.menu.of", { slot: number });
    dots.onclick = () => this.#toggleMenu(card, number);
    card.append(play, dots);
    card.addEventListener("focusout", (e) => {
      if (!(e.relatedTarget instanceof Node && card.contains(e.relatedTarget)))
        card.querySelector(".menu")?.remove();
    });
    this.#mark(card);
    return card;
  }

  /** @param {number} number */
  #keepHere(number) {
    const { text, picture } = this.on.offer();
    if (text) this.keep(number, text, picture);
  }

  /**
   * @param {number} number
   * @param {HTMLElement} button in whose place a field asks for the name
   */
  #askName(number, button) {
    const slot = this.slots[number];
    if (!slot) return;
    const field = make("input", { type: "text", maxLength: MOST_NAME, value: slot.name ?? "" });
    field.ariaLabel = message("slots.name", { slot: number });
    field.placeholder = briefLabel(slot.text, this.known);
    field.onkeydown = (e) => {
      if (e.key !== "Enter") return;
      slot.name = field.value.trim();
      this.#store();
    };
    button.before(field);
    field.focus(); // before the button goes, so that the menu keeps the focus
    button.remove();
  }

  /**
   * @param {HTMLElement} card
   * @param {number} number
   */
  #toggleMenu(card, number) {
    const open = card.querySelector(".menu");
    if (open) {
      open.remove();
      return;
    }
    const replace = make("button", { textContent: message("slots.here") });
    replace.onclick = () => this.#keepHere(number);
    const rename = make("button", { textContent: message("slots.rename") });
    rename.onclick = () => this.#askName(number, rename);
    const clear = make("button", { textContent: message("slots.clear") });
    clear.onclick = () => this.keep(number, "", "");
    const menu = make("div", { className: "menu" }, replace, rename, clear);
    menu.onkeydown = (e) => {
      if (e.key !== "Escape") return;
      menu.remove();
      card.querySelector("button")?.focus();
    };
    card.append(menu);
    replace.focus();
  }
}
