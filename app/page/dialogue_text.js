// @ts-check
// Reads what the speakers of a dialogue are to say: a text of one of them, or lines of several in turn.

import { message } from "./messages.js";

/**
 * @typedef {{ text: string, speaker?: string, pause?: number }} Turn a text, who says it (one avatar has no name), and
 *   the seconds of silence before it if they are not the usual ones
 */

const MOST_PAUSE = 60; // seconds

/**
 * Read a text as turns. A text of several lines has a speaker in each, as `ada: Good evening.`; so may one line have.
 *
 * Throws an Error that names the first line that is no turn of a speaker of the dialogue. Lines such as `pause 1.5s`
 * are the silence before the turn that follows. Lines that are blank are left out, and those that begin with a hash, as
 * in a dialogue's file.
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
  /** @type {number | undefined} seconds before the next turn */
  let pause;
  for (const [i, line] of lines.entries()) {
    if (!line.trim() || (several && line.trim().startsWith("#"))) continue;
    const wait = several ? /^pause\s+(\S+)$/.exec(line.trim()) : null;
    if (wait) {
      if (pause !== undefined) throw new Error(message("talk.turn.pauses", { n: i + 1 }));
      pause = secondsOf(wait[1]);
      if (pause === undefined) throw new Error(message("talk.turn.time", { n: i + 1, most: MOST_PAUSE }));
      continue;
    }
    const [, name, words] = /^([^:]*):\s*(.*)$/.exec(line.trim()) ?? [];
    const speaker = speakers.find((known) => known.toLowerCase() === name?.trim().toLowerCase());
    if (speaker && words) turns.push({ speaker, text: words, ...(pause === undefined ? {} : { pause }) });
    else if (!several && !speaker) turns.push({ speaker: chosen, text: line.trim() });
    else throw new Error(fault(i + 1, line.trim(), speaker, speakers));
    pause = undefined;
  }
  if (pause !== undefined) throw new Error(message("talk.turn.pauses", { n: lines.length }));
  return turns;
}

/**
 * Read a length of time such as `1.5s` or `500ms`; undefined if it is none, or too long.
 *
 * @param {string} text
 */
function secondsOf(text) {
  const [, number, unit] = /^(\d+(?:\.\d+)?)(ms|s)$/.exec(text) ?? [];
  const seconds = Number(number) / (unit === "ms" ? 1000 : 1);
  return seconds <= MOST_PAUSE ? seconds : undefined;
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
  return turns
    .flatMap(({ speaker, text, pause }) => [
      ...(pause === undefined ? [] : [`pause ${pause}s`]),
      speaker ? `${speaker}: ${text}` : text,
    ])
    .join("\n");
}
