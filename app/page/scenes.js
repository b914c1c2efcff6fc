// @ts-check
// Finds the scenes of a take in its cues: a prompt begins one, and so do an image, a film, a camera and a recall.

import { isCamera } from "./input_state.js";
import { message } from "./messages.js";

/** @import { CueLine } from "./types.js" */

/**
 * @typedef {CueLine & { prompted: boolean }} Scene a cue with the prompt that it is drawn under; prompted: the prompt
 *   is its own
 */

/**
 * Return the cues that begin a scene, each with the prompt that it is drawn under.
 *
 * @param {CueLine[]} cues
 * @returns {Scene[]}
 */
export function scenesOf(cues) {
  /** @type {Scene[]} */
  const scenes = [];
  for (const cue of cues) {
    const { recall } = cue;
    if (cue.prompt) scenes.push({ ...cue, prompted: true });
    else if (typeof recall === "number") {
      const was = scenes.findLast(({ landed }) => (landed ?? 0) <= recall);
      if (was) scenes.push({ ...cue, prompt: was.prompt, prompted: false });
    } else if (cue.start || cue.source) {
      const last = scenes.at(-1);
      if (last) scenes.push({ ...cue, prompt: last.prompt, prompted: false });
    }
  }
  return scenes;
}

/**
 * Name a scene that begins without a prompt.
 *
 * @param {Scene} scene
 * @param {(latent: number) => string} time writes when a latent is shown
 */
export function inputLabel({ recall, start, source }, time) {
  if (typeof recall === "number") return message("scene.back", { time: time(recall) });
  if (start) return message("scene.from", { file: fileOf(start) });
  if (source === "none") return message("scene.follows.nothing");
  if (isCamera(source ?? "")) return message("scene.follows.camera");
  return message("scene.follows", { file: fileOf(source ?? "") });
}

/**
 * Name the picture that stands before a scene's label; empty: none.
 *
 * @param {Scene} scene
 */
export function signOf({ recall, start, source, cut, blend, prompted }) {
  if (cut) return "cut";
  if (prompted) return (blend ?? 1) > 1 ? "blend" : "";
  if (typeof recall === "number") return "undo";
  if (start) return "picture";
  if (source === "none") return "text";
  return isCamera(source ?? "") ? "camera" : "film";
}

/** @param {string} name */
function fileOf(name) {
  return name.split("/").at(-1) ?? name;
}
