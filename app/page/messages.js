// @ts-check
// Writes every text that a person reads, in the language of the browser or in the one chosen in the help sheet.
//
// To add a text, put a key with the same placeholders into messages/en/PART.js and messages/de/PART.js: `common` for what
// several pages say, else `studio`, `studio_later` (what is loaded by later.js) or `avatar`. Then
//   in a script: message("deck.since", { time }); a number is written as the language writes it; the form of a plural
//     ({ one, other }) follows the number `n`; decimals(1.5, 1) writes a number with that many decimals;
//   in HTML: <span data-lt-text="deck.undo">Undo</span>, and data-lt-label, data-lt-title, data-lt-placeholder and
//     data-lt-alt for the attributes aria-label, title, placeholder and alt. The English text stands there too, so that
//     the first picture of the page has its words; other languages take its place. An icon stays outside of the element.
// tests/app/test_messages.py finds texts that are in no catalog, and catalogs that differ.

/** @typedef {string | { one: string, other: string }} Message the forms of a plural are chosen by the number `n` */
/** @typedef {keyof typeof import("./messages/en/common.js").MESSAGES} CommonKey */
/** @typedef {keyof typeof import("./messages/en/studio.js").MESSAGES} StudioKey */
/** @typedef {keyof typeof import("./messages/en/avatar.js").MESSAGES} AvatarKey */
/** @typedef {keyof typeof import("./messages/en/studio_later.js").MESSAGES} LaterKey */
/** @typedef {CommonKey | StudioKey | LaterKey | AvatarKey} MessageKey */

const KEPT_AS = "longtake.language";
/** @type {[string, string][]} code (BCP 47) and the language's own name */
export const LANGUAGES = [
  ["en", "English"],
  ["de", "Deutsch"],
];
/** @type {Record<string, string>} marker of an element -> its attribute */
const ATTRIBUTES = { label: "aria-label", title: "title", placeholder: "placeholder", alt: "alt" };

/** Code of the language of the page. */
export const language = chosenLanguage();

const PARTS = ["studio", "avatar"].filter((page) => document.querySelector(`.longtake.${page}`));
/** @type {{ MESSAGES: Record<string, Message> }[]} */
const loaded = await Promise.all(
  ["common", ...PARTS].map((part) => import(`./messages/${language}/${part}.js`)),
);
/** @type {Record<string, Message>} */
const MESSAGES = Object.assign({}, ...loaded.map((part) => part.MESSAGES));
const plurals = new Intl.PluralRules(language);
const plain = new Intl.NumberFormat(language, { useGrouping: "min2" });
document.documentElement.lang = language;

/** Load the texts of the studio's parts that are loaded when they are asked for. */
export async function loadLaterMessages() {
  const later = await import(`./messages/${language}/studio_later.js`);
  Object.assign(MESSAGES, later.MESSAGES);
}

/** Return the language that was chosen here, or the first of the browser's that there is, or English. */
function chosenLanguage() {
  const wanted = [localStorage.getItem(KEPT_AS), ...navigator.languages].map((code) => code?.slice(0, 2));
  return wanted.find((code) => LANGUAGES.some(([known]) => known === code)) ?? "en";
}

/**
 * Keep a language for this browser. It is shown when the page is loaded anew.
 *
 * @param {string} code
 */
export function keepLanguage(code) {
  localStorage.setItem(KEPT_AS, code);
}

/**
 * Write a message.
 *
 * @param {MessageKey} key
 * @param {Record<string, string | number>} [values] for its placeholders
 * @returns {string}
 */
export function message(key, values = {}) {
  const found = MESSAGES[key] ?? key;
  const text =
    typeof found === "string" ? found : plurals.select(Number(values.n)) === "one" ? found.one : found.other;
  return text.replace(/\{(\w+)\}/g, (_, name) => {
    const value = values[name] ?? "";
    return typeof value === "number" ? plain.format(value) : value;
  });
}

/**
 * Write what the server or the browser names by a word of a fixed list, such as a state.
 *
 * @param {string} list beginning of the keys
 * @param {string} word
 * @param {string} otherwise written where the word is not known
 */
export function named(list, word, otherwise = word) {
  const key = `${list}.${word}`;
  return key in MESSAGES ? message(/** @type {MessageKey} */ (key)) : otherwise;
}

/**
 * Write a number with a fixed number of decimals.
 *
 * @param {number} value
 * @param {number} digits after the decimal sign
 * @param {number} whole digits before it, at least
 */
export function decimals(value, digits, whole = 1) {
  return new Intl.NumberFormat(language, {
    minimumIntegerDigits: whole,
    minimumFractionDigits: digits,
    maximumFractionDigits: digits,
    useGrouping: "min2",
  }).format(value);
}

/**
 * Write words as a sentence lists them: Ada, Bo and Cem.
 *
 * @param {string[]} words
 */
export function listed(words) {
  return new Intl.ListFormat(language).format(words);
}

/**
 * Write a moment as the language writes it.
 *
 * @param {Date} moment
 * @param {Intl.DateTimeFormatOptions} how
 */
export function moment(moment, how) {
  return new Intl.DateTimeFormat(language, how).format(moment);
}

/**
 * Put the page's language into its markup; English stands there already.
 *
 * @param {ParentNode} root
 */
export function translate(root) {
  if (language === "en") return;
  for (const element of root.querySelectorAll("[data-lt-text]"))
    element.textContent = message(/** @type {MessageKey} */ (element.getAttribute("data-lt-text")));
  for (const [marker, attribute] of Object.entries(ATTRIBUTES))
    for (const element of root.querySelectorAll(`[data-lt-${marker}]`)) {
      const key = /** @type {MessageKey} */ (element.getAttribute(`data-lt-${marker}`));
      element.setAttribute(attribute, message(key));
    }
}
