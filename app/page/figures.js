// @ts-check
// Shows what was measured: one line over the picture, which unfolds to a table.

import { make, part } from "./elements.js";
import { decimals, message, named } from "./messages.js";

/** @import { SessionClient } from "./session_client.js" */
/** @import { Figures } from "./stream_measures.js" */

const ENOUGH = 5; // prompts from which a slowest one in twenty means something

/** @param {number} ms */
function seconds(ms) {
  return message("figures.seconds", { seconds: decimals(ms / 1000, 1) });
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
  if (newest === undefined) return ["–", message("figures.wait.none")];
  if (waits.length < ENOUGH)
    return [seconds(newest), message("figures.wait.newest", { count: waits.length })];
  const [median, slow] = [seconds(quantile(waits, 0.5)), seconds(quantile(waits, 0.95))];
  return [seconds(newest), message("figures.wait.all", { count: waits.length, median, slow })];
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
  const faster = made && fps ? message("figures.made.faster", { times: decimals(made / fps, 1) }) : "";
  const trip = roundTrip === null ? "" : message("figures.trip", { ms: Math.round(roundTrip) });
  /** @type {[string, string, string][]} */
  const all = [
    [message("figures.made"), made === null ? "–" : message("figures.fps", { fps: made }), faster],
    [message("figures.played"), message("figures.fps", { fps: playedFps }), model],
    [message("figures.wait"), ...waitWords(times.waits)],
    [
      message("figures.ahead"),
      status ? seconds(status.buffer_ms) : "–",
      status
        ? message("figures.ahead.set", { value: named("tune.look_ahead", status.look_ahead).toLowerCase() })
        : "",
    ],
    [
      message("figures.line"),
      connection?.transport || "–",
      [kbits === null ? "" : message("figures.kbits", { kbits }), trip].filter(Boolean).join(", "),
    ],
    [
      message("figures.memory"),
      message("figures.memory.mb", { mb: status?.held_mb ?? 0 }),
      message("figures.memory.note"),
    ],
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
      message("figures.fps", { fps: figures.playedFps }),
      wait === undefined ? "" : message("figures.line.wait", { wait: seconds(wait) }),
      client.status ? message("figures.line.ahead", { time: seconds(client.status.buffer_ms) }) : "",
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
