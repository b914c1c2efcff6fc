// @ts-check
// Tells in one line what became of the newest command. Offers to try a refused prompt again, and a cut where a picture may
// stay mixed.

import { part, show } from "./elements.js";
import { message } from "./messages.js";
import { CUT } from "./prompt_bar.js";

/** @import { How } from "./prompt_bar.js" */
/** @import { ServerEvent } from "./types.js" */
/** @import { Waiting } from "./waiting_cues.js" */

/**
 * @typedef {object} NoteListener
 * @property {(text: string, how: How) => void} say called to send a refused prompt again
 * @property {() => void} cut called when the prompt that plays is to begin anew with a cut
 * @property {(prompt: string, why: string) => void} details called to tell all that is known of a refusal
 */

export class NoteLine {
  /**
   * @param {HTMLElement} root
   * @param {NoteListener} on
   */
  constructor(root, on) {
    this.line = part(root, "note", HTMLElement);
    this.again = part(root, "again", HTMLButtonElement);
    this.instead = part(root, "instead", HTMLButtonElement);
    this.details = part(root, "details", HTMLButtonElement);
    /** @type {Waiting & { why: string } | null} the newest prompt, if it was refused */
    this.refused = null;
    this.unknown = ""; // what the model does not understand of the newest prompt
    /** @type {Map<number, string>} id of a command -> what is told once it is accepted */
    this.answers = new Map();
    /** @type {Set<number>} commands that were replaced, of which nothing more is told */
    this.replaced = new Set();
    this.again.onclick = () => {
      if (!this.refused) return;
      const { text, blend, cut } = this.refused;
      on.say(text, { blend, cut });
    };
    this.instead.onclick = () => (this.refused ? on.say(this.refused.text, CUT) : on.cut());
    this.details.onclick = () => this.refused && on.details(this.refused.text, this.refused.why);
  }

  /**
   * Tell why a prompt was refused, and offer another try.
   *
   * @param {Waiting} prompt
   * @param {string} why
   */
  refuse(prompt, why) {
    this.refused = { ...prompt, why };
    this.again.hidden = this.instead.hidden = this.details.hidden = false;
    this.instead.title = "";
    this.tell(message("note.refused", { why }), true);
  }

  /**
   * Tell a text of its own once a command is accepted.
   *
   * @param {number} id
   * @param {string} text
   * @param {number} [replaced] the command whose place it takes
   */
  answer(id, text, replaced) {
    this.answers.set(id, text);
    if (replaced !== undefined) this.replaced.add(replaced);
  }

  /** @param {string} text */
  tell(text, bad = false) {
    show(this.line, this.unknown ? `${text} · ${this.unknown}` : text, bad);
  }

  /**
   * Tell what an event says of a command.
   *
   * @param {ServerEvent} event
   * @param {(latent: number) => string} time writes when a latent is shown
   */
  follow(event, time) {
    switch (event.type) {
      case "encoded":
        this.tellUnknown(event.not_understood, event.notes ?? []);
        break;
      case "accepted":
        this.tell(this.answers.get(event.id) ?? message("note.accepted"));
        this.answers.delete(event.id);
        break;
      case "live":
        this.tell(message("note.lands", { time: time(event.latent) }));
        break;
      case "taken_back":
        if (!this.replaced.delete(event.id)) this.tell(message("note.takenback"));
        break;
      case "refused":
      case "warning":
        this.tell(event.why, true);
        break;
      case "recording":
        this.tell(
          event.on ? message("note.recording") : event.why || message("note.recorded"),
          Boolean(event.why),
        );
        break;
    }
  }

  /** Forget what was told of the prompt before. */
  begin() {
    this.unknown = "";
    this.refused = null;
    this.again.hidden = this.instead.hidden = this.details.hidden = true;
    this.tell("");
  }

  /**
   * @param {Record<string, string[]>} words that the model does not understand -> words near to them
   * @param {string[]} notes what else to know of how it reads the prompt
   */
  tellUnknown(words, notes) {
    const unknown = Object.entries(words).map(([word, near]) =>
      near.length ? message("note.near", { word, near: near.join(", ") }) : word,
    );
    const told = [
      ...(unknown.length ? [message("note.unknown", { words: unknown.join("; ") })] : []),
      ...notes,
    ];
    if (!told.length) return;
    this.unknown = told.join(" · ");
    this.instead.hidden = !unknown.length;
    this.instead.title = message("prompt.instead.note");
    this.tell(message("note.accepted"));
  }
}
