// @ts-check
// Says in which of nine states the stage is, and what is written over the picture in each.

import { clock } from "./scene_labels.js";

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
        badge: "Sample",
        title: "Film without an end",
        text: "Say what should happen. The picture turns about a second later, and goes on.",
      };
    case "starting":
      return { badge: "Starting", title: "Starting", text: facts.told };
    case "busy":
      return {
        badge: "In line",
        title: `Place ${client.place} in line`,
        text: `${facts.told}. Yours starts by itself, with the prompt below.`,
      };
    case "live":
      return { badge: "Live", title: "", text: facts.told };
    case "paused": {
      const [next] = facts.waits;
      const text = next
        ? `Next: ${next}. It lands on the first picture after Resume.`
        : "Nothing is lost; Resume goes on.";
      return { badge: `Paused · ${clock(facts.seconds)}`, title: "Paused", text };
    }
    case "reconnecting":
      return {
        badge: "Reconnecting",
        title: "The line is gone",
        text: "The take waits on the server; nothing is lost. Trying again: reconnecting.",
      };
    case "catching":
      return catching(client, facts);
    case "ended":
      return ended(client, facts);
    case "failed":
      return { badge: "Not started", title: "This did not start", text: facts.told, bad: true };
  }
}

/**
 * @param {SessionClient} client
 * @param {Facts} facts
 * @returns {Words}
 */
function catching({ status }, { left }) {
  const [value, max] = [status?.latent ?? 0, Math.max(status?.catching_up ?? 1, 1)];
  const time = left === null ? "" : ` About ${Math.max(1, Math.round(left))} s left.`;
  return {
    badge: "Catching up",
    title: "Catching up",
    text: `The past is drawn anew, so that the take goes on exactly where it ended.${time}`,
    progress: { value: Math.min(value, max), max },
  };
}

/**
 * @param {SessionClient} client
 * @param {Facts} facts
 * @returns {Words}
 */
function ended({ outcome }, { take, seconds, cues }) {
  const what = `${Math.round(seconds)} s, ${cues} ${cues === 1 ? "prompt" : "prompts"}. It lies in Takes.`;
  const why = outcome?.bad && outcome.why !== "ended" ? `${outcome.why}. ` : "";
  return {
    badge: `Ended · ${clock(seconds)}`,
    title: take || "The take has ended",
    text: `${why}${what}`,
    bad: Boolean(why),
  };
}
