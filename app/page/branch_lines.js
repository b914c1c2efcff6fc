// @ts-check
// Draws the lines of a take's family below the timeline, one beside the other; another line goes on by a click.

import { make } from "./elements.js";
import { message } from "./messages.js";
import { clock } from "./scene_labels.js";
import { familyOf, nameOf, parentOf } from "./take_family.js";

/** @import { TakeSummary } from "./api.js" */
/** @import { Timeline } from "./timeline.js" */

const MOST = 4; // lines that are shown
const BEND = 12; // thousandths of the width in which a line leaves its parent's
const SVG = "http://www.w3.org/2000/svg";

/**
 * @typedef {object} Line
 * @property {TakeSummary} take
 * @property {string} letter
 * @property {SVGPathElement} path
 * @property {HTMLElement} tag at its end
 */

export class BranchLines {
  /**
   * @param {HTMLElement} element beside the timeline, as wide as it
   * @param {Timeline} timeline
   * @param {(take: string, letter: string, own: string) => void} goOn called with the line that is to go on
   */
  constructor(element, timeline, goOn) {
    this.element = element;
    this.timeline = timeline;
    this.goOn = goOn;
    /** @type {Line[]} */
    this.lines = [];
    this.shown = ""; // the lines, as JSON
  }

  /**
   * Show the family of a take: the take itself, its parent, and the newest of the others.
   *
   * @param {TakeSummary | null} own
   * @param {TakeSummary[]} takes of the server
   */
  know(own, takes) {
    const family = own ? familyOf(own, takes) : [];
    const parent = own ? parentOf(own) : "";
    const wanted = family.toSorted((a, b) => rank(b) - rank(a) || b.changed - a.changed).slice(0, MOST);
    const lines = family.filter((one) => wanted.includes(one));
    const others = lines.filter((one) => one !== own).map(({ id, name, seconds }) => [id, name, seconds]);
    const shown = JSON.stringify([own?.id, others]); // of its own line only the end moves
    this.element.hidden = lines.length < 2;
    if (shown !== this.shown) this.#make(own?.id ?? "", lines, family);
    this.shown = shown;
    this.draw();

    /** @param {TakeSummary} one */
    function rank({ id }) {
      return id === own?.id ? 2 : Number(id === parent);
    }
  }

  /**
   * @param {string} own id of the take that plays
   * @param {TakeSummary[]} lines
   * @param {TakeSummary[]} family whose order gives the letters
   */
  #make(own, lines, family) {
    /** @param {TakeSummary} one */
    const letterOf = (one) => String.fromCodePoint(65 + (family.indexOf(one) % 26));
    const ours = family.find(({ id }) => id === own);
    const own_letter = ours ? letterOf(ours) : "";
    this.lines = lines.map((take) => {
      const letter = letterOf(take);
      const path = document.createElementNS(SVG, "path");
      if (take.id === own) {
        path.setAttribute("class", "own");
        return { take, letter, path, tag: make("span", { className: "tag own", textContent: letter }) };
      }
      const text = `${letter} · ${clock(take.seconds ?? 0)}`;
      const tag = make("button", { className: "tag number", textContent: text });
      tag.title = message("take.line", { letter, name: nameOf(take, this.timeline.known) });
      tag.ariaLabel = `${text}: ${tag.title}`; // begins with what is seen, for those who speak to their device
      tag.disabled = take.sound || take.state === "live";
      tag.onclick = () => this.goOn(take.id, letter, own_letter);
      return { take, letter, path, tag };
    });
    const drawing = document.createElementNS(SVG, "svg");
    drawing.setAttribute("viewBox", `0 0 1000 ${lines.length}`);
    drawing.setAttribute("preserveAspectRatio", "none");
    drawing.ariaHidden = "true";
    drawing.append(...this.lines.map(({ path }) => path));
    this.element.replaceChildren(drawing, ...this.lines.map(({ tag }) => tag));
    this.element.style.setProperty("--lines", String(lines.length));
  }

  /** Draw the lines as long as they are on the timeline now. */
  draw() {
    const { element, lines, timeline } = this;
    if (element.hidden) return;
    element.style.width = timeline.element.style.width;
    const second = timeline.fps / 4 / timeline.whole; // share of the width
    for (const [i, { take, path, tag }] of lines.entries()) {
      const own = path.classList.contains("own");
      const seconds = own ? timeline.seconds(timeline.length) : (take.seconds ?? 0);
      const end = Math.min(1, second * seconds);
      const begin = Math.min(end, second * (take.parent_seconds ?? 0));
      const above = lines.findIndex((line) => line.take.id === parentOf(take));
      path.setAttribute("d", drawn(1000 * begin, 1000 * end, i + 0.5, above < 0 ? null : above + 0.5));
      tag.style.left = `max(4.5rem, ${100 * end}%)`;
      tag.style.top = `${(100 * (i + 0.5)) / lines.length}%`;
    }
  }
}

/**
 * Write the path of a line.
 *
 * @param {number} begin where it leaves its parent's line
 * @param {number} end
 * @param {number} y
 * @param {number | null} above y of the parent's line; null: that is not shown
 */
function drawn(begin, end, y, above) {
  if (above === null) return `M${begin} ${y}H${Math.max(begin, end)}`;
  const bent = begin + BEND;
  return `M${begin} ${above}C${bent} ${above} ${begin} ${y} ${bent} ${y}H${Math.max(bent, end)}`;
}
