// @ts-check
// Opens one take: plays it, renames it, shows its branches, compares two, and deletes it after a question.

import { ask, messageOf } from "./api.js";
import { make } from "./elements.js";
import { icon } from "./icons.js";
import { message } from "./messages.js";
import { clock } from "./scene_labels.js";
import { MOST_NAME, familyOf, familyTree, nameOf } from "./take_family.js";
import { TwoTakes } from "./two_takes.js";

/** @import { TakeSummary } from "./api.js" */
/** @import { Phrases } from "./scene_labels.js" */

/**
 * @typedef {object} SheetListener
 * @property {(take: string) => void} goOn continues a take
 * @property {(take: string) => Promise<void>} render renders a take in the background
 * @property {() => void} changed called after a take was renamed or deleted
 */

/**
 * Return the address of a take's film, or of its newest recording; empty if it has neither.
 *
 * @param {TakeSummary} take
 */
export function filmOf({ id, render, recordings }) {
  if (render?.film) return `api/takes/${id}/film`;
  const newest = recordings.at(-1);
  return newest === undefined ? "" : `api/takes/${id}/recordings/${newest}`;
}

export class TakeSheet {
  /**
   * @param {HTMLDialogElement} dialog
   * @param {SheetListener} on
   */
  constructor(dialog, on) {
    this.dialog = dialog;
    this.on = on;
    /** @type {Phrases} */
    this.known = {};
    /** @type {TakeSummary[]} */
    this.takes = [];
    /** @type {HTMLElement | null} */
    this.waiting = null; // stands where the film of the open take will play
    this.shown = ""; // id of the open take
    dialog.addEventListener("close", () => dialog.replaceChildren()); // no film plays on unseen
  }

  /**
   * Know the takes as they are now; the film of the open one is shown once it is ready.
   *
   * @param {TakeSummary[]} takes
   */
  update(takes) {
    this.takes = takes;
    const take = takes.find(({ id }) => id === this.shown);
    if (this.waiting?.isConnected && take && filmOf(take)) this.waiting.replaceWith(this.#player(take));
  }

  /** @param {TakeSummary} take */
  open(take) {
    const title = make("h2", { textContent: nameOf(take, this.known), className: "grow clipped" });
    const family = familyOf(take, this.takes);
    this.shown = take.id;
    this.dialog.replaceChildren(
      make(
        "div",
        { className: "row" },
        title,
        this.#button(message("scene.close"), "take-close", () => this.dialog.close(), "quiet"),
      ),
      this.#player(take),
      this.#naming(take, title),
      ...(family.length > 1
        ? [
            make("h3", { textContent: message("take.branches") }),
            familyTree(take, this.takes, this.known, (one) => this.open(one)),
          ]
        : []),
      this.#actions(take),
    );
    if (!this.dialog.open) this.dialog.showModal();
  }

  /** @param {TakeSummary} take */
  #player(take) {
    const src = filmOf(take);
    if (src) {
      const film = make("video", { src, controls: true, playsInline: true, loop: true, className: "film" });
      film.ariaLabel = message("take.player");
      film.play().catch(() => {}); // it plays with its own button
      return film;
    }
    const render = take.render;
    const busy = render && ["waiting", "rendering", "held"].includes(render.state);
    this.waiting = make(
      "div",
      { className: "film empty" },
      ...(take.picture ? [make("img", { src: `api/takes/${take.id}/picture`, alt: "" })] : []),
      make("p", {
        textContent: busy ? message("take.rendering") : message("take.nofilm"),
      }),
      ...(busy
        ? []
        : [
            this.#button(message("takes.render"), "take-render", async () => {
              await this.on.render(take.id);
              this.dialog.close();
            }),
          ]),
    );
    return this.waiting;
  }

  /**
   * @param {TakeSummary} take
   * @param {HTMLElement} title
   */
  #naming(take, title) {
    const field = make("input", { type: "text", value: take.name, maxLength: MOST_NAME });
    field.placeholder = nameOf({ ...take, name: "" }, this.known);
    field.dataset.lt = "take-name";
    const told = make("span", { className: "help" });
    told.role = "status";
    const form = make(
      "form",
      { className: "row naming" },
      make("label", { className: "row grow" }, make("span", { textContent: message("take.name") }), field),
      make("button", { textContent: message("take.rename") }),
      told,
    );
    form.onsubmit = async (e) => {
      e.preventDefault();
      try {
        const body = JSON.stringify({ name: field.value });
        const headers = { "content-type": "application/json" };
        await ask(`api/takes/${take.id}`, { method: "PATCH", headers, body });
        take.name = field.value.trim();
        const here = this.dialog.querySelector(".family [aria-current] .clipped");
        for (const label of [title, here]) if (label) label.textContent = nameOf(take, this.known);
        told.textContent = message("take.renamed");
        this.on.changed();
      } catch (error) {
        told.textContent = messageOf(error);
      }
    };
    return form;
  }

  /** @param {TakeSummary} take */
  #actions(take) {
    const row = make("div", { className: "row actions" });
    if (!take.sound && take.state !== "live")
      row.append(
        this.#button(message("takes.continue"), "take-continue", () => {
          this.dialog.close();
          this.on.goOn(take.id);
        }),
      );
    const others = familyOf(take, this.takes).filter((one) => one.id !== take.id && filmOf(one));
    const rest = this.takes.filter((one) => one.id !== take.id && filmOf(one) && !others.includes(one));
    if (filmOf(take) && (others.length || rest.length))
      row.append(this.#comparison(take, [...others, ...rest]));
    if (take.state !== "live") {
      const remove = this.#button(
        message("take.delete"),
        "take-delete",
        () => this.#askToDelete(row, take),
        "quiet",
      );
      remove.prepend(icon("close"));
      row.append(make("span", { className: "grow" }), remove);
    }
    return row;
  }

  /**
   * @param {TakeSummary} take
   * @param {TakeSummary[]} others with a film, its family first
   */
  #comparison(take, others) {
    const choice = make("select", { ariaLabel: message("take.compare") });
    choice.dataset.lt = "take-compare";
    choice.append(new Option(`${message("take.compare")} …`, ""));
    for (const one of others) {
      const at =
        one.parent_seconds === null ? "" : ` (${message("take.at", { time: clock(one.parent_seconds) })})`;
      choice.append(new Option(nameOf(one, this.known) + at, one.id));
    }
    choice.onchange = () => {
      const other = others.find(({ id }) => id === choice.value);
      if (!other) return;
      const both = [take, other].map((one) => ({
        id: one.id,
        name: nameOf(one, this.known),
        film: filmOf(one),
        goesOn: !one.sound && one.state !== "live",
      }));
      const view = new TwoTakes(both, {
        chosen: (id) => {
          this.dialog.close();
          this.on.goOn(id);
        },
        back: () => this.open(take),
      });
      this.dialog.replaceChildren(...view.elements);
      view.play();
    };
    return choice;
  }

  /**
   * @param {HTMLElement} row
   * @param {TakeSummary} take
   */
  #askToDelete(row, take) {
    const told = make("span", { className: "question", textContent: message("take.delete.question") });
    const keep = this.#button(message("take.keep"), "take-keep", () => this.open(take));
    const gone = this.#button(
      message("take.gone"),
      "take-gone",
      async () => {
        try {
          await ask(`api/takes/${take.id}`, { method: "DELETE" });
          this.dialog.close();
          this.on.changed();
        } catch (e) {
          told.textContent = messageOf(e);
        }
      },
      "danger",
    );
    row.replaceChildren(told, keep, gone);
    keep.focus();
  }

  /**
   * @param {string} textContent
   * @param {string} name
   * @param {() => void} act
   */
  #button(textContent, name, act, className = "") {
    const button = make("button", { type: "button", textContent, className });
    button.dataset.lt = name;
    button.onclick = act;
    return button;
  }
}
