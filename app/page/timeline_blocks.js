// @ts-check
// Draws the scenes of a take and the prompts to come as blocks: those in sight only, narrow ones together, so that an hour
// of cues costs about as much as a minute.

import { make } from "./elements.js";
import { icon } from "./icons.js";

const NARROW = 6; // pixels from the start of a block to that of the next, at least

/**
 * @typedef {object} Block
 * @property {number} from latent
 * @property {number} to latent
 * @property {() => string} label
 * @property {string} title
 * @property {boolean} [plays] whether it is shown now
 * @property {boolean} [waits] whether it has not landed
 * @property {string} [sign] icon before the label
 * @property {number} [hue] degrees
 * @property {number} [cue] number of the prompt to come that it stands for
 */

/**
 * @typedef {object} Sight what of a timeline is drawn
 * @property {number} from latent
 * @property {number} to latent
 * @property {number} scale pixels of a latent
 * @property {(latent: number) => string} share where a latent is on the whole width, in percent
 */

/**
 * Return the elements of the blocks in sight.
 *
 * @param {Block[]} blocks
 * @param {Sight} sight
 */
export function drawBlocks(blocks, { from, to, share }) {
  return blocks
    .filter((block) => block.to >= from && block.from <= to)
    .map(({ from, to, label, title, plays, waits, sign, hue, cue }) => {
      const className = `block${plays ? " now" : ""}${waits ? " waits" : ""}`;
      const element = make("div", { className, title });
      if (sign) element.append(icon(sign));
      element.append(label());
      element.style.left = share(from);
      element.style.width = share(Math.max(to - from, 0));
      if (hue !== undefined) element.style.setProperty("--hue", String(hue));
      if (cue !== undefined) element.dataset.cue = String(cue);
      return element;
    });
}

/**
 * Join blocks that begin closer to each other than NARROW pixels; the longest of them lends its label.
 *
 * @param {Block[]} blocks in their order
 * @param {number} scale pixels of a latent
 */
export function joinNarrow(blocks, scale) {
  /** @type {Block[]} */
  const joined = [];
  let longest = 0;
  for (const block of blocks) {
    const last = joined.at(-1);
    const length = block.to - block.from;
    if (!last || (block.from - last.from) * scale >= NARROW) {
      joined.push({ ...block });
      longest = length;
      continue;
    }
    if (length > longest) {
      Object.assign(last, { label: block.label, sign: block.sign, hue: block.hue });
      longest = length;
    }
    last.to = block.to;
    last.title += `\n${block.title}`;
    last.plays ||= block.plays;
  }
  return joined;
}
