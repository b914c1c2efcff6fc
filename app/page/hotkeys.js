// @ts-check
// Obeys keys that are pressed outside of text fields. A focused control keeps the keys that press or move it.

const TYPING = "input:not([type=radio], [type=checkbox], [type=file]), textarea, select, [contenteditable]";
const PRESSED = "button, a[href], summary, input"; // which Space and Enter press
const MOVED = "[role=slider], input[type=radio]"; // which the arrow keys move

/** @typedef {(key: string) => (() => void) | undefined} Acts returns what a key does; undefined: nothing */

/**
 * @param {Acts} acts
 * @param {(slot: number) => void} [keep] called with Alt and a digit
 */
export function obeyKeys(acts, keep) {
  document.addEventListener("keydown", (e) => {
    const slot = /^Digit([1-9])$/.exec(e.code)?.[1]; // with Alt, some keyboards report another character
    if (keep && e.altKey && slot) {
      keep(Number(slot));
      e.preventDefault();
      return;
    }
    const on = e.target instanceof Element ? e.target : null;
    if (e.repeat || on?.closest(TYPING) || on?.closest("dialog") || e.ctrlKey || e.metaKey || e.altKey)
      return;
    if ((e.key === " " || e.key === "Enter") && on?.closest(PRESSED)) return;
    if (e.key.startsWith("Arrow") && on?.closest(MOVED)) return;
    const act = acts(e.key);
    if (!act) return;
    act();
    e.preventDefault();
  });
}
