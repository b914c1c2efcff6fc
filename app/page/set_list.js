// @ts-check
// Reads and writes set lists: the prompts of the slots, the bindings of controllers, and a tempo, in one file.

import { message } from "./messages.js";

/** @import { Slot } from "./slots.js" */

const KIND = "longtake set list";
const MOST_BYTES = 4_000_000; // with the pictures of nine slots

/** @typedef {{ slots: (Slot | null)[], bindings: Record<string, string>, bpm: number }} SetList slots 0 to 9 */

/**
 * Offer a set list as a download.
 *
 * @param {SetList} list
 */
export function save(list) {
  const text = JSON.stringify({ kind: KIND, ...list }, null, 1);
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "application/json" }));
  link.download = "set-list.json";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

/**
 * Read a set list; throws an Error with a line for a person if the file is none.
 *
 * @param {File} file
 * @returns {Promise<SetList>}
 */
export async function read(file) {
  if (file.size > MOST_BYTES) throw new Error(message("live.list.large", { name: file.name }));
  const none = new Error(message("live.list.none", { name: file.name }));
  /** @type {unknown} */
  let data;
  try {
    data = JSON.parse(await file.text());
  } catch {
    throw none;
  }
  if (!isRecord(data) || data.kind !== KIND || !Array.isArray(data.slots) || !isRecord(data.bindings))
    throw none;
  const slots = Array.from({ length: 10 }, (_, i) => (i ? slotOf(data.slots[i]) : null));
  /** @type {Record<string, string>} */
  const bindings = {};
  for (const [source, id] of Object.entries(data.bindings)) if (typeof id === "string") bindings[source] = id;
  return {
    slots,
    bindings,
    bpm: typeof data.bpm === "number" && data.bpm > 0 ? data.bpm : 0,
  };
}

/**
 * @param {unknown} value
 * @returns {value is Record<string, any>}
 */
function isRecord(value) {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/**
 * @param {unknown} value
 * @returns {Slot | null}
 */
function slotOf(value) {
  if (!isRecord(value) || typeof value.text !== "string" || !value.text.trim()) return null;
  const picture =
    typeof value.picture === "string" && value.picture.startsWith("data:image/") ? value.picture : "";
  const preset = typeof value.preset === "string" && /^[a-z]+$/.test(value.preset) ? value.preset : undefined;
  const name = typeof value.name === "string" ? value.name.slice(0, 40) : "";
  return {
    text: value.text.slice(0, 4000),
    picture,
    ...(preset ? { preset } : {}),
    ...(name ? { name } : {}),
  };
}
