// @ts-check
// Writes the status line.

/** @import { Figures, SessionClient } from "./session_client.js" */

/**
 * Write the frame rates and the buffer of a session.
 *
 * @param {SessionClient} client
 * @param {Figures} figures
 */
function rates({ status }, figures) {
  return [
    status?.generated_fps ? `${status.generated_fps} fps made` : "",
    `${figures.playedFps} fps played`,
    status ? `${status.buffer_ms} ms ahead` : "",
  ];
}

/**
 * Write the state of a session and how it is connected.
 *
 * @param {SessionClient} client
 */
function ways({ phase, connection }) {
  return [phase || "connecting", connection?.transport || "connecting"];
}

/**
 * Write the round trip time.
 *
 * @param {Figures} figures
 */
function trip({ roundTrip }) {
  return roundTrip === null ? "" : `RTT ${Math.round(roundTrip)} ms`;
}

/** @param {string[]} words */
function joined(words) {
  return words.filter(Boolean).join(" · ");
}

/**
 * Write the newest time from prompt to screen, and the median and the 95th percentile of all.
 *
 * @param {number[]} waits in ms
 */
export function waitWords(waits) {
  const newest = waits.at(-1);
  if (newest === undefined) return "";
  const sorted = waits.toSorted((a, b) => a - b);
  /** @param {number} q */
  const at = (q) => Math.round(sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))] ?? 0);
  return `prompt to screen ${Math.round(newest)} ms (p50 ${at(0.5)}, p95 ${at(0.95)})`;
}

/**
 * Write the status line of a film.
 *
 * @param {SessionClient} client
 * @param {Figures} figures
 */
export function filmStatus(client, figures) {
  const { status } = client;
  return joined([
    client.model,
    ...ways(client),
    client.sound && client.video.muted ? "click the picture to hear it" : "",
    status?.catching_up ? `drawing the past anew: latent ${status.latent} of ${status.catching_up}` : "",
    ...rates(client, figures),
    waitWords(client.waits),
    figures.kbits === null ? "" : `${figures.kbits} kbit/s`,
    trip(figures),
  ]);
}

/**
 * Write the status line of an avatar.
 *
 * @param {SessionClient} client
 * @param {Figures} figures
 */
export function avatarStatus(client, figures) {
  const left = client.status?.to_say_s;
  return joined([...ways(client), ...rates(client, figures), left ? `${left} s to say` : "", trip(figures)]);
}
