// @ts-check
// Orders takes as a tree: a branch stands below the take that it was branched from.

import { make } from "./elements.js";
import { message } from "./messages.js";
import { clock, sceneLabel } from "./scene_labels.js";

/** @import { TakeSummary } from "./api.js" */
/** @import { Phrases } from "./scene_labels.js" */

export const MOST_NAME = 80; // characters

/** @param {TakeSummary} take */
export function parentOf(take) {
  return take.parent?.split("@")[0] ?? "";
}

/**
 * Return how a person knows a take: by the name that was given, or by its first scene.
 *
 * @param {TakeSummary} take
 * @param {Phrases} known
 */
export function nameOf(take, known) {
  return take.name || sceneLabel(take.prompts[0] ?? "", known);
}

/**
 * Say from which take and where a branch was branched.
 *
 * @param {TakeSummary} branch
 * @param {string} name of the take
 */
export function branchedFrom({ parent_seconds: at }, name) {
  if (at === null) return message("take.from", { name });
  return message("take.from.at", { name, time: clock(at) });
}

/**
 * Return the take from which all of a take's family was branched, as far as the takes are known.
 *
 * @param {TakeSummary} take
 * @param {TakeSummary[]} takes
 * @returns {TakeSummary}
 */
export function rootOf(take, takes) {
  const seen = new Set([take.id]);
  for (;;) {
    const parent = takes.find(({ id }) => id === parentOf(take));
    if (!parent || seen.has(parent.id)) return take;
    seen.add(parent.id);
    take = parent;
  }
}

/**
 * Return the family of a take, the first take first and every branch behind its parent.
 *
 * @param {TakeSummary} take
 * @param {TakeSummary[]} takes
 * @returns {TakeSummary[]}
 */
export function familyOf(take, takes) {
  const root = rootOf(take, takes);
  /** @type {TakeSummary[]} */
  const family = [];
  /** @param {TakeSummary} one */
  const add = (one) => {
    if (family.includes(one)) return;
    family.push(one);
    for (const branch of takes) if (parentOf(branch) === one.id) add(branch);
  };
  add(root);
  return family;
}

/**
 * Draw a family as nested lists of buttons.
 *
 * @param {TakeSummary} take the one that is shown
 * @param {TakeSummary[]} takes
 * @param {Phrases} known
 * @param {(take: TakeSummary) => void} open
 */
export function familyTree(take, takes, known, open) {
  const drawn = new Set();
  /**
   * @param {TakeSummary} one
   * @returns {HTMLLIElement}
   */
  const item = (one) => {
    drawn.add(one.id);
    const at = one.parent_seconds === null ? "" : message("take.at", { time: clock(one.parent_seconds) });
    const label = make("span", { className: "clipped", textContent: nameOf(one, known) });
    const button = make("button", { type: "button" }, label);
    if (at) button.append(make("span", { className: "pale number", textContent: at }));
    if (one.id === take.id) button.setAttribute("aria-current", "true");
    button.onclick = () => open(one);
    const branches = takes.filter((branch) => parentOf(branch) === one.id && !drawn.has(branch.id));
    const below = branches.length ? [make("ul", {}, ...branches.map(item))] : [];
    return make("li", {}, button, ...below);
  };
  return make("ul", { className: "family" }, item(rootOf(take, takes)));
}
