// @ts-check
// Names scenes briefly, and says what changed from one prompt to the next.

import { withoutEmphasis } from "./emphasis.js";
import { decimals, message } from "./messages.js";

const SMALL = new Set("a an the of in on at to by over with and is are it its as from into while".split(" "));
const LONGEST = 4; // words of a label

/** @typedef {Record<string, string[]>} Phrases attribute -> phrases that a model understands */

/**
 * Return the phrase of each attribute that a text has, the longest one.
 *
 * @param {string} text
 * @param {Phrases} known
 * @returns {Map<string, string>}
 */
function phrasesIn(text, known) {
  const whole = ` ${withoutEmphasis(text).toLowerCase()} `;
  const found = new Map();
  for (const [attribute, ways] of Object.entries(known)) {
    const [longest] = ways.filter((way) => whole.includes(` ${way} `)).sort((a, b) => b.length - a.length);
    if (longest) found.set(attribute, longest);
  }
  return found;
}

/** @param {string} text */
function words(text) {
  return withoutEmphasis(text)
    .toLowerCase()
    .split(/[^\p{L}\p{N}'-]+/u)
    .filter(Boolean);
}

/** @param {string} phrase */
function bare(phrase) {
  const left = words(phrase).filter((word) => !SMALL.has(word));
  return left.join(" ") || phrase;
}

/** @param {string} text */
function capital(text) {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

/**
 * Return the parts of a scene's name: what it shows, and where.
 *
 * @param {Map<string, string>} found attribute -> phrase
 * @param {string[]} what attributes that name what it shows
 */
function parts(found, what) {
  const subject = what.map((name) => found.get(name)).filter((phrase) => phrase !== undefined);
  const where = ["place", "weather", "light"]
    .map((name) => found.get(name))
    .find((phrase) => phrase !== undefined);
  return { subject: subject.join(" "), where: where ? bare(where) : "" };
}

/** @param {string} text */
function firstWords(text) {
  const telling = words(text).filter((word) => !SMALL.has(word));
  return capital(telling.slice(0, LONGEST).join(" ") || text);
}

/**
 * Name a scene in a few words: its subject and place, or its first words that mean something.
 *
 * @param {string} text
 * @param {Phrases} known
 */
export function sceneLabel(text, known) {
  const { subject, where } = parts(phrasesIn(text, known), ["colour", "subject"]);
  return subject ? capital([subject, where].filter(Boolean).join(", ")) : firstWords(text);
}

/**
 * Name a scene beside its picture, which shows the colours.
 *
 * @param {string} text
 * @param {Phrases} known
 */
export function briefLabel(text, known) {
  const { subject, where } = parts(phrasesIn(text, known), ["subject"]);
  return subject ? capital([subject, where].filter(Boolean).join(", ")) : firstWords(text);
}

/**
 * Say what a prompt changes; the whole scene's label for the first one.
 *
 * @param {string} before the prompt before it; empty for the first
 * @param {string} text
 * @param {Phrases} known
 */
export function changeLabel(before, text, known) {
  if (!before) return sceneLabel(text, known);
  const old = phrasesIn(before, known);
  const fresh = phrasesIn(text, known);
  const changed = new Map([...fresh].filter(([name, phrase]) => old.get(name) !== phrase));
  const gone = [...old]
    .filter(([name]) => !fresh.has(name))
    .map(([, phrase]) => message("scene.no", { what: bare(phrase) }));
  const { subject } = parts(changed, ["colour", "subject"]);
  const others = [...changed].filter(([name]) => name !== "colour" && name !== "subject");
  const rest =
    others.length > 1 ? others.map(([, phrase]) => bare(phrase)) : others.map(([, phrase]) => phrase);
  const said = [subject, ...rest, ...gone].filter(Boolean);
  if (said.length) return capital(said.slice(0, LONGEST).join(" · "));
  const had = new Set(words(before));
  const added = words(text).filter((word) => !had.has(word) && !SMALL.has(word));
  return added.length ? capital(added.slice(0, LONGEST).join(" ")) : message("scene.same");
}

/**
 * Write a time as minutes and seconds.
 *
 * @param {number} seconds
 * @param {number} digits after the point
 */
export function clock(seconds, digits = 0) {
  const whole = Math.round(Math.max(0, seconds) * 10 ** digits) / 10 ** digits;
  const minutes = Math.floor(whole / 60);
  return `${minutes}:${decimals(whole - 60 * minutes, digits, 2)}`;
}

/**
 * Return the number of the first frame of a latent: a stream's first latent is one frame, each later one four.
 *
 * @param {number} latent
 */
export function frameOf(latent) {
  return latent <= 0 ? 0 : 4 * (latent - 1) + 1;
}
