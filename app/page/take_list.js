// @ts-check
// Shows the takes of the server as cards, also interrupted ones, to open, continue, render and download them.

import { ask, messageOf } from "./api.js";
import { make, part } from "./elements.js";
import { icon } from "./icons.js";
import { message, moment } from "./messages.js";
import { clock } from "./scene_labels.js";
import { branchedFrom, familyOf, nameOf, parentOf, rootOf } from "./take_family.js";
import { TakeSheet, filmOf } from "./take_sheet.js";

/** @import { TakeSummary } from "./api.js" */
/** @import { MessageKey } from "./messages.js" */
/** @import { Phrases } from "./scene_labels.js" */
/** @import { TakePictures } from "./take_pictures.js" */

const LOOK_EVERY = 1000; // ms, while the list is shown

/** @type {Record<string, MessageKey>} */
const RENDERING = {
  waiting: "takes.render.waiting",
  held: "takes.render.held",
  rendering: "takes.render.rendering",
};

export class TakeList {
  /**
   * @param {HTMLElement} root
   * @param {TakePictures} pictures
   * @param {(take: string) => void} goOn continue the take of this id
   * @param {(text: string, bad: boolean) => void} tell shows a message
   * @param {(takes: TakeSummary[]) => void} listed called with the takes when they have changed
   */
  constructor(root, pictures, goOn, tell, listed) {
    this.pictures = pictures;
    this.listed = listed;
    this.goOn = goOn;
    this.tell = tell;
    this.panel = part(root, "takes", HTMLElement);
    this.list = part(root, "list", HTMLElement);
    this.sheet = new TakeSheet(part(root, "onetake", HTMLDialogElement), {
      goOn,
      render: (take) => this.render(take),
      changed: () => this.draw(),
    });
    this.asking = false;
    this.shown = ""; // the takes that are listed, as JSON
    this.open = ""; // the take whose menu is open
    /** @type {Map<string, { at: number, done: number }>} take -> when its render was first seen, and how far it was */
    this.renders = new Map();
    setInterval(() => this.draw(), LOOK_EVERY);
  }

  /** @param {Phrases} known phrases by which scenes are named */
  set known(known) {
    this.sheet.known = known;
  }

  async draw() {
    if (this.panel.hidden || this.asking || document.hidden) return;
    this.asking = true;
    try {
      /** @type {TakeSummary[]} */
      const takes = await ask("api/takes");
      const shown = JSON.stringify([takes, this.open, this.pictures.pictures.size]);
      if (shown === this.shown) return; // cards that did not change stay, so that a click meets its button
      this.shown = shown;
      const none = make("p", {
        textContent: message("takes.none"),
      });
      this.sheet.update(takes);
      this.listed(takes);
      // the newest family first, and in it every branch behind its parent
      const ordered = new Set(
        takes.map((take) => rootOf(take, takes)).flatMap((root) => familyOf(root, takes)),
      );
      this.list.replaceChildren(...(takes.length ? [...ordered].map((take) => this.#card(take)) : [none]));
    } catch {
      // the server cannot be reached; the stage says so
      this.renders.clear(); // while it was away nothing was rendered
    } finally {
      this.asking = false;
    }
  }

  /**
   * Render a take in the background, and show its progress.
   *
   * @param {string} take id
   */
  async render(take) {
    await this.#change(`api/takes/${take}/render`, "POST");
  }

  /** @param {TakeSummary} take */
  #card(take) {
    const { known } = this.sheet;
    const name = nameOf(take, known);
    const picture = take.picture ? `api/takes/${take.id}/picture` : this.pictures.of(take.id);
    const open = make(
      "button",
      { title: message(filmOf(take) ? "takes.open.film" : "takes.open.none") },
      picture ? make("img", { src: picture, alt: "", loading: "lazy" }) : icon("film"),
    );
    open.ariaLabel = message("takes.open", { name });
    open.onclick = () => this.sheet.open(take);
    const shown = make("div", { className: "shown" }, open); // the tags are no part of the button's name
    if (filmOf(take)) shown.append(make("span", { className: "tag plays" }, icon("play")));
    const state = { live: message("takes.live"), "cut off": message("takes.cutoff"), ended: "" }[take.state];
    if (state) shown.append(make("span", { className: "tag state", textContent: state }));
    const { seconds } = take;
    if (seconds !== null)
      shown.append(make("span", { className: "tag length number", textContent: clock(seconds) }));
    const parent = this.sheet.takes.find(({ id }) => id === parentOf(take));
    const changed = new Date(1000 * take.changed);
    const when = moment(changed, { dateStyle: "medium", timeStyle: "short" });
    const cues = take.sound ? message("takes.avatar") : message("takes.prompts", { n: take.prompts.length });
    const card = make(
      "div",
      { className: "take" },
      shown,
      make("div", {
        className: "what clipped",
        textContent: name,
        title: take.prompts.join("\n"),
      }),
      make("div", { className: "when", textContent: `${when} · ${cues}` }),
      ...(parent ? [this.#branch(take, parent)] : []),
      ...this.#rendering(take),
      make("div", { className: "row" }, ...this.#buttons(take)),
    );
    if (parent) card.classList.add("branched");
    card.dataset.take = take.id;
    if (this.open === take.id) card.append(this.#menu(take));
    return card;
  }

  /**
   * @param {TakeSummary} take
   * @param {TakeSummary} parent
   */
  #branch(take, parent) {
    const line = make("div", { className: "when branch" }, icon("branch"));
    line.append(make("span", { textContent: branchedFrom(take, nameOf(parent, this.sheet.known)) }));
    return line;
  }

  /** @param {TakeSummary} take */
  #buttons(take) {
    const buttons = [];
    if (!take.sound && take.state !== "live")
      buttons.push(button(message("takes.continue"), () => this.goOn(take.id)));
    const download = button(message("takes.download"), () => {
      this.open = this.open === take.id ? "" : take.id;
      this.draw();
    });
    download.append(icon("down"));
    download.ariaExpanded = String(this.open === take.id);
    return [...buttons, download];
  }

  /** @param {TakeSummary} take */
  #menu({ id, render, sound, recordings }) {
    const url = `api/takes/${id}`;
    const items = [];
    if (render?.film) {
      items.push(link(message("takes.film"), "MP4", `${url}/film`));
      if (!sound)
        for (const scale of [2, 4])
          items.push(
            link(
              message("takes.film.scaled", { scale }),
              message("takes.resampled"),
              `${url}/film/${scale}x`,
            ),
          );
    }
    if (render?.film || recordings.length) items.push(link("GIF", message("takes.gif.note"), `${url}/gif`));
    if (!render || !RENDERING[render.state]) {
      const unfinished = render && render.state !== "done";
      items.push(
        button(
          message(unfinished ? "takes.render.on" : render?.film ? "takes.render.anew" : "takes.render"),
          () => this.render(id),
        ),
      );
    }
    if (sound) items.push(link(message("takes.sound"), "WAV", `${url}/sound`));
    items.push(
      ...recordings.map((n) =>
        link(
          message("takes.recording", { number: n }),
          message("takes.recording.note"),
          `${url}/recordings/${n}`,
        ),
      ),
    );
    items.push(link(message("takes.file"), "YAML", url));
    return make("div", { className: "menu" }, ...items);
  }

  /** @param {TakeSummary} take */
  #rendering({ id, render }) {
    if (!render) return [];
    const doing = RENDERING[render.state];
    if (!doing) {
      if (render.why) return [make("p", { className: "doing bad", textContent: render.why })];
      if (!render.film) return [];
      const href = `api/takes/${id}/film`;
      return [
        make("a", { className: "button doing", download: "", href, textContent: message("takes.ready") }),
      ];
    }
    const { done = 0, chunks = 0 } = render;
    const share = chunks ? message("takes.share", { percent: Math.round((100 * done) / chunks) }) : "";
    const text = [message("takes.film"), share, message(doing), this.#left(id, done, chunks)]
      .filter(Boolean)
      .join(" · ");
    return [
      make("p", { className: "doing", textContent: text }),
      make("progress", { max: chunks || 1, value: done, ariaLabel: message("takes.rendered") }),
      button(message("takes.cancel"), () => this.#change(`api/takes/${id}/render`, "DELETE")),
    ];
  }

  /**
   * Return how long a render still takes at its pace since it was first seen; empty while that is not known.
   *
   * @param {string} take id
   * @param {number} done chunks
   * @param {number} chunks in all
   */
  #left(take, done, chunks) {
    const seen = this.renders.get(take);
    if (!seen || !seen.done || done < seen.done) this.renders.set(take, { at: performance.now(), done });
    if (!seen?.done || done <= seen.done) return "";
    const each = (performance.now() - seen.at) / (done - seen.done);
    return message("takes.left", { time: clock((each * (chunks - done)) / 1000) });
  }

  /**
   * @param {string} url
   * @param {"POST" | "DELETE"} method
   */
  async #change(url, method) {
    await ask(url, { method }).catch((e) => this.tell(messageOf(e), true));
    await this.draw();
  }
}

/**
 * @param {string} text
 * @param {string} what it is
 * @param {string} href
 */
function link(text, what, href) {
  const remark = make("span", { className: "pale", textContent: what });
  return make("a", { className: "button", download: "", href }, make("span", { textContent: text }), remark);
}

/**
 * @param {string} textContent
 * @param {() => void} onclick
 */
function button(textContent, onclick) {
  return make("button", { textContent, onclick });
}
