// @ts-check
// Writes the status line of an avatar.

/** @import { SessionClient } from "./session_client.js" */
/** @import { Figures } from "./stream_measures.js" */

/**
 * Write the state of a session, its frame rates, its buffer and its round trip time.
 *
 * @param {SessionClient} client
 * @param {Figures} figures
 */
export function avatarStatus({ phase, connection, status }, { playedFps, roundTrip }) {
  const left = status?.to_say_s;
  const words = [
    phase || "connecting",
    connection?.transport || "connecting",
    status?.generated_fps ? `${status.generated_fps} fps made` : "",
    `${playedFps} fps played`,
    status ? `${status.buffer_ms} ms ahead` : "",
    left ? `${left} s to say` : "",
    roundTrip === null ? "" : `RTT ${Math.round(roundTrip)} ms`,
  ];
  return words.filter(Boolean).join(" · ");
}
