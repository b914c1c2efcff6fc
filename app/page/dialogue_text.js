// @ts-check
// Reads what the speakers of a dialogue are to say: a text of one of them, or lines of several in turn.

import { message } from "./messages.js";

/** @typedef {{ text: string, speaker?: string }} Turn a text and who says it; one avatar has no name */

/**
 * Read a text as turns. A text of several lines has a speaker in each, as `ada: Good evening.`; so may one line have.
 *
 * Throws an Error that names the first line without a speaker of the dialogue. Lines that are blank are left out, and
 * those that begin with a hash, as in a dialogue's file.
 *
 * @param {string} text
 * @param {string[]} speakers of the dialogue
 * @param {string} chosen speaker of a single line that names none
 * @returns {Turn[]}
 */
export function turnsOf(text, speakers, chosen) {
  const lines = text.split(/\r?\n/);
  const several = lines.filter((line) => line.trim()).length > 1;
  /** @type {Turn[]} */
  const turns = [];
  for (const [i, line] of lines.entries()) {
    if (!line.trim() || (several && line.trim().startsWith("#"))) continue;
    const [, name, words] = /^([^:]*):\s*(.*)$/.exec(line.trim()) ?? [];
    const speaker = speakers.find((known) => known.toLowerCase() === name?.trim().toLowerCase());
    if (speaker && words) turns.push({ speaker, text: words });
    else if (!several && !speaker) turns.push({ speaker: chosen, text: line.trim() });
    else throw new Error(fault(i + 1, line.trim(), speaker, speakers));
  }
  return turns;
}

/**
 * Say what is wrong with a line.
 *
 * @param {number} n its number, from 1
 * @param {string} line
 * @param {string | undefined} speaker whom it names
 * @param {string[]} speakers
 */
function fault(n, line, speaker, speakers) {
  if (speaker) return message("talk.turn.empty", { n, name: speaker });
  return message("talk.turn.stranger", { n, line: line.slice(0, 40), names: speakers.join(", ") });
}

/**
 * Write turns as lines that `turnsOf` reads.
 *
 * @param {Turn[]} turns
 */
export function linesOf(turns) {
  return turns.map(({ speaker, text }) => (speaker ? `${speaker}: ${text}` : text)).join("\n");
}
