// @ts-check
// Says in which of nine states the stage is, and what is written over the picture in each.

import { message } from "./messages.js";
import { clock } from "./scene_labels.js";

const SLOW = 0.95; // of the frames a second that are played, below which the picture stands still at times

/** @import { SessionClient } from "./session_client.js" */

/**
 * @typedef {"first" | "starting" | "busy" | "live" | "paused" | "reconnecting" | "catching" | "ended" | "failed"}
 *   StageState
 */

/**
 * @typedef {object} Words what is written over the picture
 * @property {string} badge
 * @property {string} title
 * @property {string} text
 * @property {boolean} [bad] whether the text reports a failure
 * @property {{ value: number, max: number }} [progress]
 */

/**
 * @typedef {object} Facts what the words need to know
 * @property {string} take label of the take
 * @property {string[]} waits prompts that were sent and have not landed
 * @property {string} told the newest message about the connection
 * @property {number} seconds of the take
 * @property {number} cues number of prompts of the take
 * @property {number | null} left seconds until the past is drawn; null while it cannot be known
 */

/**
 * Return the state of the stage.
 *
 * @param {SessionClient} client
 * @param {boolean} hasTake whether a take was shown since the page was opened
 * @returns {StageState}
 */
export function stateOf(client, hasTake) {
  if (client.session) {
    if (!client.connection?.talk) return client.opened ? "reconnecting" : "starting";
    if (typeof client.status?.catching_up === "number") return "catching";
    if (client.phase === "paused") return "paused";
    return client.phase === "live" ? "live" : "starting";
  }
  if (client.place !== null) return "busy";
  if (client.starting) return "starting";
  if (!client.outcome) return "first";
  if (hasTake) return "ended";
  return client.outcome.bad ? "failed" : "first";
}

/**
 * Write what lies over the picture.
 *
 * @param {StageState} state
 * @param {SessionClient} client
 * @param {Facts} facts
 * @returns {Words}
 */
export function wordsOf(state, client, facts) {
  switch (state) {
    case "first":
      return {
        badge: message("stage.first.badge"),
        title: message("stage.first.title"),
        text: message("stage.first.text"),
      };
    case "starting":
      return { badge: message("stage.starting"), title: message("stage.starting"), text: facts.told };
    case "busy":
      return {
        badge: message("stage.busy.badge"),
        title: message("stage.busy.title", { place: client.place ?? 0 }),
        text: message("stage.busy.text", { told: facts.told }),
      };
    case "live":
      return { badge: pace(client), title: "", text: facts.told };
    case "paused": {
      const [next] = facts.waits;
      const text = next ? message("stage.paused.next", { prompt: next }) : message("stage.paused.text");
      return {
        badge: message("stage.paused.badge", { time: clock(facts.seconds) }),
        title: message("state.paused"),
        text,
      };
    }
    case "reconnecting":
      return {
        badge: message("state.reconnecting"),
        title: message("stage.reconnecting.title"),
        text: message("stage.reconnecting.text"),
      };
    case "catching":
      return catching(client, facts);
    case "ended":
      return ended(client, facts);
    case "failed":
      return {
        badge: message("stage.failed.badge"),
        title: message("stage.failed.title"),
        text: facts.told,
        bad: true,
      };
  }
}

/**
 * Say that the take is live, and whether it is drawn more slowly than it is to be played.
 *
 * @param {SessionClient} client
 */
function pace({ status, fps }) {
  const made = status?.generated_fps ?? fps;
  return made < SLOW * fps ? message("stage.slow", { made, fps }) : message("state.live");
}

/**
 * @param {SessionClient} client
 * @param {Facts} facts
 * @returns {Words}
 */
function catching({ status }, { left }) {
  const [value, max] = [status?.latent ?? 0, Math.max(status?.catching_up ?? 1, 1)];
  const time =
    left === null ? "" : message("stage.catching.left", { seconds: Math.max(1, Math.round(left)) });
  return {
    badge: message("stage.catching"),
    title: message("stage.catching"),
    text: message("stage.catching.text") + time,
    progress: { value: Math.min(value, max), max },
  };
}

/**
 * @param {SessionClient} client
 * @param {Facts} facts
 * @returns {Words}
 */
function ended({ outcome }, { take, seconds, cues }) {
  const what = message("stage.ended.text", { seconds: Math.round(seconds), n: cues });
  const why = outcome?.bad && outcome.why !== message("line.ended") ? `${outcome.why}. ` : "";
  return {
    badge: message("stage.ended.badge", { time: clock(seconds) }),
    title: take || message("stage.ended.title"),
    text: `${why}${what}`,
    bad: Boolean(why),
  };
}
