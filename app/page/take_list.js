// @ts-check
// Lists the takes of the server, also interrupted ones, with buttons to download, continue and render them.

import { ask, messageOf } from "./api.js";
import { make, part } from "./elements.js";

/** @import { TakeSummary } from "./api.js" */

const LOOK_EVERY = 1000; // ms, while the list is open

/** @type {Record<string, string>} */
const RENDERING = {
  waiting: "waits for its turn",
  held: "waits while a session is being watched",
  rendering: "renders",
};

export class TakeList {
  /**
   * @param {HTMLElement} root
   * @param {(take: string) => void} goOn continue the take of this id
   * @param {(text: string, bad: boolean) => void} tell shows a message
   */
  constructor(root, goOn, tell) {
    this.goOn = goOn;
    this.tell = tell;
    this.panel = part(root, "takes", HTMLDetailsElement);
    this.list = part(root, "list", HTMLElement);
    this.asking = false;
    this.shown = ""; // the takes that are listed, as JSON
    this.panel.addEventListener("toggle", () => this.draw());
    setInterval(() => this.draw(), LOOK_EVERY);
  }

  async draw() {
    if (!this.panel.open || this.asking || document.hidden) return;
    this.asking = true;
    try {
      /** @type {TakeSummary[]} */
      const takes = await ask("api/takes");
      const shown = JSON.stringify(takes);
      if (shown === this.shown) return; // rows that did not change stay, so that a click meets its button
      this.shown = shown;
      this.list.replaceChildren(...(takes.length ? takes.map((take) => this.#row(take)) : ["No takes yet."]));
    } catch {
      // the server cannot be reached; the status line says so
    } finally {
      this.asking = false;
    }
  }

  /**
   * Render a take in the background and show its progress.
   *
   * @param {string} take id
   */
  async render(take) {
    this.panel.open = true;
    await this.#change(`api/takes/${take}/render`, "POST");
  }

  /** @param {TakeSummary} take */
  #row(take) {
    const changed = new Date(1000 * take.changed);
    const facts = [
      changed.toLocaleString([], { dateStyle: "medium", timeStyle: "short" }),
      take.seconds === null ? "" : `${take.seconds} s`,
      take.state === "ended" ? "" : take.state,
    ];
    const prompts = { textContent: take.prompts.join(" → "), title: take.prompts.join("\n") };
    return make(
      "div",
      { className: "take" },
      make("div", { className: "what", ...prompts }),
      make("div", { className: "when", textContent: facts.filter(Boolean).join(" · ") }),
      make("div", { className: "row" }, ...this.#downloads(take), ...this.#rendering(take)),
    );
  }

  /** @param {TakeSummary} take */
  #downloads(take) {
    const url = `api/takes/${take.id}`;
    /** @type {HTMLElement[]} */
    const buttons = [link("Take", url)];
    if (take.sound) buttons.push(link("Sound", `${url}/sound`));
    else if (take.state !== "live") buttons.push(button("Continue", () => this.goOn(take.id)));
    return buttons.concat(take.recordings.map((n) => link(`Recording ${n}`, `${url}/recordings/${n}`)));
  }

  /** @param {TakeSummary} take */
  #rendering({ id, render }) {
    const url = `api/takes/${id}`;
    /** @type {HTMLElement[]} */
    const shown = render?.film ? [link("Film", `${url}/film`)] : [];
    const doing = render && RENDERING[render.state];
    if (doing) {
      const { done = 0, chunks = 0 } = render;
      return shown.concat(
        make("progress", { max: chunks, value: done }),
        make("span", { textContent: `${doing}, ${done} of ${chunks} chunks` }),
        button("Cancel", () => this.#change(`${url}/render`, "DELETE")),
      );
    }
    const unfinished = render && render.state !== "done";
    shown.push(button(unfinished ? "Go on rendering" : "Render", () => this.render(id)));
    if (render?.why) shown.push(make("span", { className: "bad", textContent: render.why }));
    return shown;
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
 * @param {string} textContent
 * @param {string} href
 */
function link(textContent, href) {
  return make("a", { className: "button", download: "", href, textContent });
}

/**
 * @param {string} textContent
 * @param {() => void} onclick
 */
function button(textContent, onclick) {
  return make("button", { textContent, onclick });
}
