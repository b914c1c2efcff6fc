// @ts-check
// Names the keys of the studio, and what they do.

/** @import { HelpSheet } from "./help_sheet.js" */
/** @import { PromptBar } from "./prompt_bar.js" */
/** @import { Stage } from "./stage.js" */
/** @import { Transport } from "./transport.js" */

/** @type {[string, string][]} */
export const STUDIO_KEYS = [
  ["Enter", "send: turn at the next chunk"],
  ["Shift+Enter", "blend: turn over several chunks"],
  ["Ctrl+Enter, c", "cut: a new scene at once"],
  ["Arrow up", "earlier prompts"],
  ["Ctrl+Arrow up, down", "more or less of the selected words"],
  ["1 … 9", "play a slot"],
  ["Alt+1 … 9", "keep the prompt in a slot"],
  ["Space", "pause and resume"],
  ["u", "take back the newest cue"],
  ["r", "the same prompt with another seed"],
  ["v", "record what is shown"],
  ["p", "save this picture"],
  ["f", "full screen"],
  ["s", "sharp pixels"],
  ["/", "to the prompt"],
  ["?", "this list"],
  ["Timeline", "arrows a chunk, Page Up and Down five seconds, Home, End, Enter opens the scene"],
];

/**
 * Return what a key does; undefined: nothing.
 *
 * @param {{ transport: Transport, prompt: PromptBar, stage: Stage, help: HelpSheet }} studio
 * @param {string} key
 * @returns {(() => void) | undefined}
 */
export function actOf({ transport, prompt, stage, help }, key) {
  /** @type {Record<string, () => void>} */
  const acts = {
    " ": () => transport.togglePause(),
    "/": () => prompt.focus(),
    "?": () => help.toggle(),
    c: () => prompt.cut.click(),
    f: () => stage.fullScreen(),
    p: () => stage.snapshot(),
    r: () => transport.reroll.click(),
    s: () => stage.video.classList.toggle("sharp"),
    u: () => transport.undo.click(),
    v: () => transport.record.click(),
  };
  return acts[key];
}
