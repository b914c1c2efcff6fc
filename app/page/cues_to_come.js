// @ts-check
// Lets a person ask for a prompt at a time to come, and move, change or take back one that waits for its time.

import { make } from "./elements.js";
import { message } from "./messages.js";
import { clock } from "./scene_labels.js";

/** @import { NoteLine } from "./note_line.js" */
/** @import { SessionClient } from "./session_client.js" */
/** @import { Timeline } from "./timeline.js" */
/** @import { CueToCome } from "./types.js" */

const MOVED = 4; // pixels from which a press is a drag
const BLEND = 4; // chunks
/** @typedef {"turn" | "blend" | "cut"} Manner */

export class CuesToCome {
  /**
   * @param {HTMLDialogElement} dialog
   * @param {{ timeline: Timeline, client: SessionClient, note: NoteLine, typed: () => string }} parts typed: returns the
   *   prompt that a new one begins with
   */
  constructor(dialog, { timeline, client, note, typed }) {
    this.dialog = dialog;
    this.timeline = timeline;
    this.client = client;
    this.note = note;
    this.typed = typed;
    timeline.element.addEventListener("pointerdown", (e) => this.#press(e));
  }

  /**
   * Open a prompt that waits, or a new one for a latent.
   *
   * @param {number} latent
   * @param {CueToCome} [cue]
   */
  open(latent, cue) {
    const { timeline, dialog } = this;
    let at = cue?.at ?? timeline.border(latent);
    while (!cue && timeline.isTaken(at)) at += timeline.chunk;
    const text = make("textarea", { rows: 3, maxLength: 4000, value: cue?.prompt ?? this.typed() });
    text.dataset.lt = "cue-text";
    const when = make("input", { type: "number", step: "0.1", min: "0" });
    const written = timeline.seconds(at).toFixed(1);
    when.value = written;
    when.dataset.lt = "cue-at";
    /** @type {[Manner, string][]} */
    const manners = [
      ["turn", message("cue.turn")],
      ["blend", message("prompt.blend")],
      ["cut", message("prompt.cut")],
    ];
    const how = make("select", {}, ...manners.map(([value, word]) => new Option(word, value)));
    how.value = cue?.cut ? "cut" : (cue?.blend ?? 1) > 1 ? "blend" : "turn";
    how.dataset.lt = "cue-how";
    const form = make(
      "form",
      { className: "planned" },
      make("h2", { textContent: message(cue ? "cue.title" : "cue.new") }),
      field(message("prompt.label"), text),
      make("div", { className: "row" }, field(message("cue.at"), when), field(message("cue.how"), how)),
      make("p", { className: "help", textContent: message("cue.note") }),
    );
    const row = make("div", { className: "row" });
    row.append(make("button", { className: "go", textContent: message(cue ? "cue.save" : "cue.plan") }));
    if (cue) row.append(this.#button(message("cue.gone"), "gone", () => this.takeBack(cue)));
    row.append(this.#button(message("scene.close"), "close", () => {}, "quiet"));
    form.append(row);
    form.onsubmit = (e) => {
      e.preventDefault();
      const prompt = text.value.trim();
      if (!prompt) {
        text.focus();
        return;
      }
      // a time is written less exactly than a latent, so that what was not changed is not read back
      const latent =
        when.value === written
          ? Math.max(timeline.status?.latent ?? 0, at)
          : timeline.border(timeline.latentOf(Number(when.value)));
      if (timeline.isTaken(latent, cue)) {
        when.setCustomValidity(this.#taken(latent));
        when.reportValidity();
        return;
      }
      dialog.close();
      const chosen = /** @type {Manner} */ (how.value);
      const blend = chosen !== "blend" ? 1 : cue && cue.blend > 1 ? cue.blend : BLEND;
      this.#ask({ prompt, blend, cut: chosen === "cut", at: latent }, cue);
    };
    form.oninput = () => when.setCustomValidity("");
    dialog.replaceChildren(form);
    dialog.showModal();
    text.focus();
  }

  /**
   * Ask for a prompt at a latent, in the place of one that waits.
   *
   * @param {Omit<CueToCome, "id">} what
   * @param {CueToCome} [old]
   */
  #ask({ prompt, blend, cut, at }, old) {
    const id = this.client.send({
      type: "prompt",
      text: prompt,
      blend,
      cut,
      at,
      ...(old ? { replaces: old.id } : {}),
    });
    const time = clock(this.timeline.seconds(at), 1);
    if (id !== null) this.note.answer(id, message(old ? "cue.changed" : "cue.planned", { time }), old?.id);
  }

  /**
   * Move a prompt to another latent, or say that another one waits there.
   *
   * @param {CueToCome} cue
   * @param {number} latent
   */
  move(cue, latent) {
    const at = this.timeline.border(latent);
    if (this.timeline.isTaken(at, cue)) this.note.tell(this.#taken(at), true);
    else if (at !== cue.at) this.#ask({ ...cue, at }, cue);
  }

  /** @param {number} latent */
  #taken(latent) {
    return message("cue.taken", { time: clock(this.timeline.seconds(latent), 1) });
  }

  /** @param {CueToCome} cue */
  takeBack(cue) {
    this.client.send({ type: "take_back", cue: cue.id });
  }

  /** @param {PointerEvent} e */
  #press(e) {
    const { timeline } = this;
    const block = e.target instanceof Element ? e.target.closest("[data-cue]") : null;
    const cue = timeline.toCome.find(({ id }) => String(id) === block?.getAttribute("data-cue"));
    if (!cue || e.button) return;
    const { element } = timeline;
    const from = timeline.latentAt(e.clientX);
    let dragged = false;
    const over = new AbortController();
    const { signal } = over;
    const end = () => {
      over.abort();
      timeline.drag(null);
    };
    element.setPointerCapture(e.pointerId);
    element.addEventListener(
      "pointermove",
      (move) => {
        dragged ||= Math.abs(move.clientX - e.clientX) >= MOVED;
        if (dragged) timeline.drag({ id: cue.id, at: this.#under(cue, from, move) });
      },
      { signal },
    );
    element.addEventListener(
      "pointerup",
      (up) => {
        end();
        // the click that follows at once would open what lies under the pointer: it is not told on which block it was
        const swallow = (/** @type {MouseEvent} */ click) => click.stopPropagation();
        addEventListener("click", swallow, { capture: true, once: true });
        setTimeout(() => removeEventListener("click", swallow, { capture: true }));
        if (dragged) this.move(cue, this.#under(cue, from, up));
        else this.open(cue.at, cue);
      },
      { signal },
    );
    element.addEventListener("pointercancel", end, { signal });
    addEventListener("keydown", (key) => key.key === "Escape" && end(), { signal });
  }

  /**
   * Return the latent to which a prompt is dragged.
   *
   * @param {CueToCome} cue
   * @param {number} from latent where it was grasped
   * @param {PointerEvent} e
   */
  #under(cue, from, e) {
    return this.timeline.border(cue.at + this.timeline.latentAt(e.clientX) - from);
  }

  /**
   * @param {string} textContent
   * @param {string} name
   * @param {() => void} act
   */
  #button(textContent, name, act, className = "") {
    const button = make("button", { type: "button", textContent, className });
    button.dataset.lt = `cue-${name}`;
    button.onclick = () => {
      this.dialog.close();
      act();
    };
    return button;
  }
}

/**
 * @param {string} label
 * @param {HTMLElement} input
 */
function field(label, input) {
  return make("label", { className: "field-of" }, make("span", { textContent: label }), input);
}
