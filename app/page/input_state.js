// @ts-check
// Reads from the cues of a take what it began its newest scene with, and what it follows now.

/** @import { CueLine } from "./types.js" */

export const WHOLE = "0%, 0%, 100%, 100%"; // region: all of the picture is drawn

/**
 * @typedef {object} Followed a film or a camera that the picture follows
 * @property {string} name of its file; `camera` until the record of one has a name
 * @property {boolean} camera
 * @property {number | null} strength null: the model's usual one
 * @property {string} region that is drawn
 */

/**
 * Return the cue of the newest start, and what is followed; each is null where there is none.
 *
 * @param {CueLine[]} cues in the order in which they landed
 * @returns {{ begun: CueLine | null, followed: Followed | null }}
 */
export function inputsOf(cues) {
  let begun = null;
  /** @type {Followed | null} */
  let followed = null;
  for (const cue of cues) {
    if (cue.start) begun = cue;
    if (cue.source === "none") followed = null;
    else if (cue.source)
      followed = {
        name: cue.source,
        camera: isCamera(cue.source),
        strength: cue.strength ?? null,
        region: cue.region ?? WHOLE,
      };
    else if (followed) {
      followed.strength = cue.strength ?? followed.strength;
      followed.region = cue.region ?? followed.region;
    }
  }
  return { begun, followed };
}

/**
 * Tell whether a source is a camera: the word itself, or the record of what one sent.
 *
 * @param {string} source
 */
export function isCamera(source) {
  return source === "camera" || source.endsWith(".camera");
}
