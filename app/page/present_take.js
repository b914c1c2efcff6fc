// @ts-check
// Shows what the server keeps of the take on the page: its name, which a person can change, and the lines of its family.

import { ask, messageOf } from "./api.js";
import { BranchLines } from "./branch_lines.js";
import { make, part } from "./elements.js";
import { message } from "./messages.js";
import { MOST_NAME, nameOf } from "./take_family.js";

/** @import { TakeSummary } from "./api.js" */
/** @import { NoteLine } from "./note_line.js" */
/** @import { Phrases } from "./scene_labels.js" */
/** @import { StudioView } from "./studio_view.js" */
/** @import { TakeActions } from "./take_actions.js" */
/** @import { Timeline } from "./timeline.js" */
/** @import { Toast } from "./toast.js" */

export class PresentTake {
  /**
   * @param {HTMLElement} root
   * @param {{ act: TakeActions, known: Phrases, note: NoteLine, timeline: Timeline, toast: Toast, view: StudioView }} parts
   */
  constructor(root, parts) {
    this.parts = parts;
    this.lines = new BranchLines(part(root, "lines", HTMLElement), parts.timeline, (take, letter, own) =>
      this.#goOn(take, letter, own),
    );
    this.button = part(root, "takename", HTMLButtonElement);
    this.word = part(root, "takeword", HTMLElement);
    /** @type {TakeSummary | null} */
    this.take = null;
    this.button.onclick = () => this.#ask();
  }

  /**
   * Know the takes of the server as they are now.
   *
   * @param {TakeSummary[]} takes
   */
  know(takes) {
    const { view } = this.parts;
    this.take = takes.find(({ id }) => id === view.take) ?? null;
    view.name = this.take?.name ?? "";
    view.draw();
    this.lines.know(this.take, takes);
    this.#drawName();
  }

  /** Draw what moves with the playhead. */
  draw() {
    this.lines.draw();
  }

  /**
   * Go on from the end of another line, and offer the way back.
   *
   * @param {string} take id
   * @param {string} letter of that line
   * @param {string} own letter of the line that is left
   */
  #goOn(take, letter, own) {
    const { act, toast, view } = this.parts;
    const old = view.take;
    act.goOn(take);
    toast.show(message("take.line.goes", { letter }), message("take.line.back", { letter: own }), () =>
      act.goOn(old),
    );
  }

  #drawName() {
    const { take } = this;
    this.button.hidden = !take;
    if (take) this.word.textContent = nameOf(take, this.parts.known);
  }

  /** Put a field into the place of the name. Enter keeps what it says, Escape or a click elsewhere what was there. */
  #ask() {
    const { take } = this;
    if (!take) return;
    const field = make("input", { type: "text", value: take.name, maxLength: MOST_NAME });
    field.ariaLabel = message("take.name");
    field.placeholder = nameOf({ ...take, name: "" }, this.parts.known);
    field.dataset.lt = "takefield";
    let open = true;
    const close = () => {
      if (!open) return;
      open = false;
      field.remove();
      this.#drawName();
    };
    field.onblur = close;
    field.onkeydown = (e) => {
      if (e.key === "Enter") this.#rename(take, field.value);
      else if (e.key !== "Escape") return;
      close();
      this.button.focus();
    };
    this.button.before(field);
    this.button.hidden = true;
    field.focus();
    field.select();
  }

  /**
   * @param {TakeSummary} take
   * @param {string} name
   */
  async #rename(take, name) {
    const headers = { "content-type": "application/json" };
    try {
      await ask(`api/takes/${take.id}`, { method: "PATCH", headers, body: JSON.stringify({ name }) });
      take.name = name.trim();
      if (this.take !== take) return;
      this.parts.view.name = take.name;
      this.parts.view.draw();
      this.#drawName();
    } catch (e) {
      this.parts.note.tell(messageOf(e), true);
    }
  }
}
