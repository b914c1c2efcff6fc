// @ts-check
// Writes the status line of an avatar.

import { message } from "./messages.js";

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
    phase || message("line.connecting"),
    connection?.transport || message("line.connecting"),
    status?.generated_fps ? message("line.made", { fps: status.generated_fps }) : "",
    message("line.played", { fps: playedFps }),
    status ? message("talk.ahead", { ms: status.buffer_ms }) : "",
    left ? message("talk.left", { seconds: left }) : "",
    roundTrip === null ? "" : message("talk.trip", { ms: Math.round(roundTrip) }),
  ];
  return words.filter(Boolean).join(" · ");
}
