// @ts-check
// Runs the prompt field: Send, Blend and Cut, what plays now, and the prompts that were sent before.

import { make, part } from "./elements.js";
import { withEmphasis } from "./emphasis.js";
import { message } from "./messages.js";
import { PromptReading } from "./prompt_reading.js";

/** @import { StageState } from "./stage_state.js" */
/** @typedef {{ blend: number, cut: boolean }} How over how many chunks a prompt takes over, and whether with a cut */

export const PLAIN = { blend: 1, cut: false };
export const CUT = { blend: 1, cut: true };
const KEPT_AS = "longtake.prompts";
const KEPT = 40; // newest prompts
const BLENDS = [2, 4, 8, 16]; // chunks
const FIRST = "a large red ball circles in the middle over the meadow by day";
const WAITING = new Set(["paused", "reconnecting", "catching", "starting"]); // states in which a prompt is queued
const STEERED = new Set(["live", ...WAITING]); // states in which a session can be turned

export class PromptBar {
  /**
   * @param {HTMLElement} root
   * @param {(text: string, how: How) => void} say
   */
  constructor(root, say) {
    this.say = say;
    this.input = part(root, "prompt", HTMLTextAreaElement);
    this.send = part(root, "send", HTMLButtonElement);
    this.word = part(root, "sendword", HTMLElement);
    this.turn = part(root, "turn", HTMLButtonElement);
    this.cut = part(root, "cut", HTMLButtonElement);
    this.blend = part(root, "blend", HTMLSelectElement);
    this.past = part(root, "past", HTMLElement);
    this.history = part(root, "history", HTMLButtonElement);
    this.weights = part(root, "weights", HTMLElement);
    this.hint = part(root, "hint", HTMLElement);
    /** @type {StageState} */
    this.state = "first";
    this.playing = ""; // the prompt that plays
    /** @type {string[]} prompts that were sent, the newest first */
    this.sent = JSON.parse(localStorage.getItem(KEPT_AS) || "[]");
    this.back = -1; // index in `sent` of what the field shows; -1: it was typed
    this.reading = new PromptReading(
      root,
      (word, instead) => this.#replace(word, instead),
      () => this.#draw(),
    );
    this.input.value = FIRST;
    this.offerBlends(0.75);
    this.#listen(part(root, "form", HTMLFormElement));
  }

  /** @param {HTMLFormElement} form */
  #listen(form) {
    form.onsubmit = (e) => {
      e.preventDefault();
      this.#submit(PLAIN);
    };
    this.turn.onclick = () => this.#submit({ blend: Number(this.blend.value), cut: false });
    this.cut.onclick = () => this.#submit(CUT);
    this.input.addEventListener("input", () => {
      this.back = -1;
      this.reading.look(this.text);
      this.#draw();
    });
    this.input.addEventListener("keydown", (e) => this.#key(e));
    document.addEventListener("selectionchange", () => {
      const { selectionStart, selectionEnd } = this.input;
      this.weights.hidden = document.activeElement !== this.input || selectionStart === selectionEnd;
    });
    this.weights.onpointerdown = (e) => e.preventDefault(); // the field keeps its selection
    part(this.weights, "weaker", HTMLButtonElement).onclick = () => this.#weigh(-1);
    part(this.weights, "stronger", HTMLButtonElement).onclick = () => this.#weigh(1);
    this.history.onclick = () => this.#togglePast(Boolean(this.past.hidden));
    form.addEventListener("focusout", (e) => {
      if (!(e.relatedTarget instanceof Node && form.contains(e.relatedTarget))) this.#togglePast(false);
    });
    form.addEventListener("keydown", (e) => {
      if (e.key === "Escape") this.#togglePast(false);
    });
  }

  get text() {
    return this.input.value.trim();
  }

  set text(text) {
    this.input.value = text;
    this.back = -1;
    this.reading.look(this.text);
    this.#draw();
  }

  /** Return what is typed, or what plays if nothing is. */
  get textOrPlaying() {
    return this.text || this.playing;
  }

  focus() {
    this.input.focus();
    this.input.select();
  }

  /**
   * Let prompts be read by a model.
   *
   * @param {string} model name; empty if it reads any text
   */
  readBy(model) {
    this.reading.model = model;
    this.reading.look(this.text);
  }

  /**
   * Offer times for a blend.
   *
   * @param {number} chunkSeconds length of a chunk
   */
  offerBlends(chunkSeconds) {
    const chosen = this.blend.value || "4";
    const options = BLENDS.map(
      (n) =>
        new Option(
          message("prompt.blend.seconds", { seconds: Number((n * chunkSeconds).toFixed(1)) }),
          String(n),
        ),
    );
    this.blend.replaceChildren(...options);
    this.blend.value = chosen;
  }

  /** @param {StageState} state */
  show(state) {
    this.state = state;
    this.hint.textContent =
      state === "ended"
        ? message("prompt.hint.continue")
        : WAITING.has(state) && state !== "paused"
          ? message("prompt.hint.waits")
          : "";
    this.#draw();
  }

  /**
   * Remember a prompt that was sent.
   *
   * @param {string} text
   */
  remember(text) {
    this.sent = [text, ...this.sent.filter((one) => one !== text)].slice(0, KEPT);
    localStorage.setItem(KEPT_AS, JSON.stringify(this.sent));
    this.back = -1;
  }

  #draw() {
    const { state, text } = this;
    const steered = STEERED.has(state);
    this.word.textContent = message(
      state === "ended"
        ? "prompt.continue"
        : state === "busy"
          ? "prompt.update"
          : WAITING.has(state)
            ? "prompt.queue"
            : steered
              ? "prompt.send"
              : "prompt.start",
    );
    const refused = Boolean(this.reading.refusal(text));
    this.send.disabled = refused;
    this.turn.disabled = this.blend.disabled = this.cut.disabled = refused || !steered;
    // one button in the accent colour a view: the stage has it while it offers an action
    this.send.classList.toggle("go", steered && state !== "paused");
  }

  /** @param {How} how */
  #submit(how) {
    if (this.send.disabled) return;
    const text = how.cut ? this.textOrPlaying : this.text;
    if (text) this.say(text, how);
    else this.input.focus();
  }

  /** @param {KeyboardEvent} e */
  #key(e) {
    if (e.key === "ArrowUp" || e.key === "ArrowDown") {
      if (!e.ctrlKey && !e.metaKey) this.#browse(e);
      else if (this.#weigh(e.key === "ArrowUp" ? 1 : -1)) e.preventDefault();
    }
    if (e.key !== "Enter" || e.isComposing) return;
    e.preventDefault();
    e.stopPropagation();
    this.#submit({ blend: e.shiftKey ? Number(this.blend.value) : 1, cut: e.ctrlKey || e.metaKey });
  }

  /**
   * Give the selected words more or less emphasis. Returns whether there were any.
   *
   * @param {1 | -1} way
   */
  #weigh(way) {
    const { value: text, selectionStart: start, selectionEnd: end } = this.input;
    const written = withEmphasis({ text, start, end }, way);
    if (!written) return false;
    this.input.focus();
    // as if it was typed, so that the browser's own undo takes it back
    this.input.setSelectionRange(0, text.length);
    if (!document.execCommand("insertText", false, written.text)) this.input.value = written.text;
    this.input.setSelectionRange(written.start, written.end);
    this.reading.look(this.text);
    return true;
  }

  /**
   * Go through the prompts that were sent, from an empty field, from its beginning, or from an earlier prompt.
   *
   * @param {KeyboardEvent} e
   */
  #browse(e) {
    const next = this.back + (e.key === "ArrowUp" ? 1 : -1);
    const starts = this.back >= 0 || this.text === "" || this.input.selectionEnd === 0;
    if (!starts || e.shiftKey || next < -1 || next >= this.sent.length) return;
    e.preventDefault();
    this.text = this.sent[next] ?? "";
    this.back = next;
  }

  /** @param {boolean} open */
  #togglePast(open) {
    this.past.hidden = !open;
    this.history.ariaExpanded = String(open);
    if (!open) return;
    const buttons = this.sent.map((text) => {
      const label = make("span", { className: "clipped", textContent: text });
      const button = make("button", { type: "button", title: text }, label);
      button.onclick = () => {
        this.text = text;
        this.#togglePast(false);
        this.input.focus();
      };
      return button;
    });
    this.past.replaceChildren(...(buttons.length ? buttons : [message("prompt.history.none")]));
  }

  /**
   * @param {string} word
   * @param {string} instead
   */
  #replace(word, instead) {
    const at = this.input.value.toLowerCase().indexOf(word.toLowerCase());
    if (at < 0) return;
    this.text = this.input.value.slice(0, at) + instead + this.input.value.slice(at + word.length);
    this.input.focus();
  }
}
