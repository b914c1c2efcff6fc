// @ts-check
// Writes emphasis into a prompt: `(word:1.2)` multiplies a word's text values by a factor from 0 to 2.

const STEP = 0.1;
const MOST = 2;
const WRITTEN = /\(([^()]*):(\d+(?:\.\d+)?)\)/g;

/** @typedef {{ text: string, start: number, end: number }} Selected a text, and which part of it is selected */

/**
 * Give the selected words, or the word at the caret, more or less emphasis. Returns null where there is no word, or where
 * the selection has other parentheses in it.
 *
 * @param {Selected} selected
 * @param {1 | -1} way more or less
 * @returns {Selected | null}
 */
export function withEmphasis({ text, start, end }, way) {
  for (const found of text.matchAll(WRITTEN)) {
    const [whole, words = "", factor = "1"] = found;
    const after = found.index + whole.length;
    if (start < found.index || end > after || (start === end && (start === found.index || start === after)))
      continue;
    return written(text.slice(0, found.index), words, Number(factor) + way * STEP, text.slice(after));
  }
  const [from, to] = start < end ? trimmed(text, start, end) : wordAt(text, start);
  const words = text.slice(from, to);
  if (!words || /[()]/.test(words)) return null;
  return written(text.slice(0, from), words, 1 + way * STEP, text.slice(to));
}

/**
 * Return a prompt without the signs of emphasis.
 *
 * @param {string} text
 */
export function withoutEmphasis(text) {
  return text.replace(WRITTEN, "$1");
}

/**
 * @param {string} before
 * @param {string} words
 * @param {number} factor
 * @param {string} after
 * @returns {Selected}
 */
function written(before, words, factor, after) {
  const rounded = Math.round(10 * Math.max(0, Math.min(MOST, factor))) / 10;
  const open = rounded === 1 ? "" : "(";
  const close = rounded === 1 ? "" : `:${rounded})`;
  const start = before.length + open.length;
  return { text: before + open + words + close + after, start, end: start + words.length };
}

/**
 * @param {string} text
 * @param {number} start
 * @param {number} end
 * @returns {[number, number]} the selection without spaces at its ends
 */
function trimmed(text, start, end) {
  const chosen = text.slice(start, end);
  return [start + (chosen.length - chosen.trimStart().length), start + chosen.trimEnd().length];
}

/**
 * @param {string} text
 * @param {number} caret
 * @returns {[number, number]}
 */
function wordAt(text, caret) {
  const before = /[\p{L}\p{N}'-]*$/u.exec(text.slice(0, caret))?.[0].length ?? 0;
  const after = /^[\p{L}\p{N}'-]*/u.exec(text.slice(caret))?.[0].length ?? 0;
  return [caret - before, caret + after];
}
