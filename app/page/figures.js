// @ts-check
// Shows what was measured: one line over the picture, which unfolds to a table.

import { make, part } from "./elements.js";

/** @import { SessionClient } from "./session_client.js" */
/** @import { Figures } from "./stream_measures.js" */

const ENOUGH = 5; // prompts from which a slowest one in twenty means something

/** @param {number} ms */
function seconds(ms) {
  return `${(ms / 1000).toFixed(1)} s`;
}

/**
 * @param {number[]} waits ms
 * @param {number} share 0 to 1
 */
function quantile(waits, share) {
  const sorted = waits.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? 0;
}

/**
 * Describe the times from prompt to screen.
 *
 * @param {number[]} waits ms
 * @returns {[string, string]} the newest, and what is known of all
 */
export function waitWords(waits) {
  const newest = waits.at(-1);
  if (newest === undefined) return ["–", "no prompt yet"];
  if (waits.length < ENOUGH) return [seconds(newest), `newest of ${waits.length}`];
  const slow = `median ${seconds(quantile(waits, 0.5))}, 95 of 100 within ${seconds(quantile(waits, 0.95))}`;
  return [seconds(newest), `newest of ${waits.length}; ${slow}`];
}

/**
 * List what is known of a session's stream: name, value and remark.
 *
 * @param {SessionClient} client
 * @param {Figures} figures
 * @returns {[string, string, string][]}
 */
function rows({ status, fps, times, connection, model }, { playedFps, kbits, roundTrip }) {
  const made = status?.generated_fps ?? null;
  const faster = made && fps ? `${(made / fps).toFixed(1)} times what is played` : "";
  const trip = roundTrip === null ? "" : `round trip ${Math.round(roundTrip)} ms`;
  /** @type {[string, string, string][]} */
  const all = [
    ["Made", made === null ? "–" : `${made} fps`, faster],
    ["Played", `${playedFps} fps`, model],
    ["Prompt to screen", ...waitWords(times.waits)],
    [
      "Drawn ahead",
      status ? seconds(status.buffer_ms) : "–",
      status ? `look-ahead: ${status.look_ahead}` : "",
    ],
    [
      "Line",
      connection?.transport || "–",
      [kbits === null ? "" : `${kbits} kbit/s`, trip].filter(Boolean).join(", "),
    ],
    ["Memory held", `${status?.held_mb ?? 0} MB`, "to go back to earlier pictures"],
  ];
  return all;
}

export class FigureTable {
  /** @param {HTMLElement} root */
  constructor(root) {
    this.line = part(root, "line", HTMLElement);
    this.table = part(root, "figures", HTMLElement);
  }

  /**
   * Show the newest figures.
   *
   * @param {SessionClient} client
   * @param {Figures} figures
   */
  draw(client, figures) {
    const wait = client.times.waits.at(-1);
    const words = [
      `${figures.playedFps} fps`,
      wait === undefined ? "" : `prompt to screen ${seconds(wait)}`,
      client.status ? `${seconds(client.status.buffer_ms)} ahead` : "",
    ];
    this.line.textContent = words.filter(Boolean).join(" · ");
    this.table.replaceChildren(
      ...rows(client, figures).flatMap(([name, value, remark]) => [
        make("dt", { textContent: name }),
        make("dd", { textContent: value }),
        make("dd", { textContent: remark, className: "more" }),
      ]),
    );
  }
}
