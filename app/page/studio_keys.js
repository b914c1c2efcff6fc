// @ts-check
// Names the keys of the studio, and what they do.

/** @import { HelpSheet } from "./help_sheet.js" */
/** @import { Later } from "./later.js" */
/** @import { MessageKey } from "./messages.js" */
/** @import { PromptBar } from "./prompt_bar.js" */
/** @import { SavedMoments } from "./saved_moments.js" */
/** @import { Stage } from "./stage.js" */
/** @import { Transport } from "./transport.js" */

/** @type {[MessageKey | string, MessageKey][]} */
export const STUDIO_KEYS = [
  ["keys.enter", "keys.send"],
  ["keys.shiftenter", "keys.blend"],
  ["keys.ctrlenter", "keys.cut"],
  ["keys.up", "keys.history"],
  ["keys.ctrlarrows", "keys.weigh"],
  ["keys.digits", "keys.slot"],
  ["keys.altdigits", "keys.keep"],
  ["keys.space", "keys.pause"],
  ["u", "keys.undo"],
  ["r", "keys.reroll"],
  ["v", "keys.record"],
  ["p", "keys.shot"],
  ["l", "keys.last"],
  ["f", "keys.full"],
  ["t", "keys.plain"],
  ["s", "keys.sharp"],
  ["/", "keys.prompt"],
  ["?", "keys.help"],
  ["keys.timeline", "keys.timeline.note"],
];

/**
 * Return what a key does; undefined: nothing.
 *
 * @param {{ transport: Transport, prompt: PromptBar, stage: Stage, help: Later<HelpSheet>,
 *   moments: Later<SavedMoments> }} studio
 * @param {string} key
 * @returns {(() => void) | undefined}
 */
export function actOf({ transport, prompt, stage, help, moments }, key) {
  /** @type {Record<string, () => void>} */
  const acts = {
    " ": () => transport.togglePause(),
    "/": () => prompt.focus(),
    "?": () => help.use((sheet) => sheet.toggle()),
    c: () => prompt.cut.click(),
    f: () => stage.fullScreen(),
    l: () => moments.use((saved) => saved.saveFilm()),
    p: () => stage.snapshot(),
    r: () => transport.reroll.click(),
    t: () => stage.plain.click(),
    s: () => stage.video.classList.toggle("sharp"),
    u: () => transport.undo.click(),
    v: () => transport.record.click(),
  };
  return acts[key];
}
