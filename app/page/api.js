// @ts-check
// Declares the types of the server's HTTP answers, and asks for them.

import { message } from "./messages.js";

/**
 * @typedef {object} ModelFacts a model of the catalog
 * @property {string} name
 * @property {string} title
 * @property {boolean} speaks whether it draws avatars
 * @property {boolean} here whether its files are on the server
 * @property {boolean} loaded
 * @property {string} size WIDTHxHEIGHT in pixels
 * @property {number} fps
 * @property {number} memory_mb
 * @property {number | null} disk_mb
 * @property {{ fps: number, by: string, on: string } | null} measured its speed on the server
 * @property {Record<string, string[]>} understands attribute -> phrases; empty if it reads any text
 * @property {InputKind[]} inputs that may come in beside text
 * @property {{ low: number, high: number, usual: number } | null} strength how far the picture may leave a source
 */

/** @typedef {"image" | "film" | "camera"} InputKind */

/**
 * @typedef {object} SessionFile a picture, a film or a LoRA that was uploaded for a session
 * @property {string} name by which commands name it
 * @property {"picture" | "film" | "lora"} kind
 * @property {string[]} notes on how it was read
 */

/**
 * @typedef {object} Session needed to join a session
 * @property {string} id
 * @property {string | null} key allows to control the session; null for a viewer
 * @property {string} [take] id of its take
 * @property {RTCIceServer[] | null} ice servers for its first connection; null asks for them
 * @property {boolean} sound whether the film has sound
 * @property {string} [note] warning about the portrait, or what is not understood of the prompt
 */

/**
 * @typedef {object} TakeSummary a take of the data folder
 * @property {string} id
 * @property {string} name that a person gave it; empty if none did
 * @property {string | null} parent TAKE@LATENT, of a branch
 * @property {number | null} parent_seconds into its parent at which it branched
 * @property {boolean} picture whether the server keeps a small picture of it
 * @property {number | null} seconds
 * @property {boolean} sound whether it has sound, as an avatar's take
 * @property {string[]} prompts
 * @property {number} changed Unix time in seconds
 * @property {"live" | "ended" | "cut off"} state
 * @property {RenderState | null} render
 * @property {number[]} recordings numbers of its recordings
 */

/**
 * @typedef {object} RenderState progress of a take's render
 * @property {string} state
 * @property {boolean} film whether there is a film to download
 * @property {number} [chunks]
 * @property {number} [done] rendered chunks
 * @property {string | null} [why] reason of a failure
 */

/**
 * @typedef {object} FaceFacts what an avatar can look like
 * @property {string[]} gallery names of faces
 * @property {Record<string, string[]>} attributes of a designed face -> values, the plain one first
 * @property {boolean} speaks_text whether the server can read a text aloud
 */

/**
 * @typedef {object} Reading how a model reads a prompt
 * @property {boolean} understood whether the prompt can be drawn
 * @property {string} why it cannot, for a person; empty if it can
 * @property {Record<string, string[]>} unknown words -> known words near to them
 * @property {string[]} notes what else to know of how it is read
 */

/** @typedef {{ place: number, ticket: string }} Place in line for a busy device */

/** Reports a request that was refused or failed, with the server's message to a person. */
export class ApiError extends Error {
  /**
   * @param {string} message
   * @param {number} status HTTP status
   * @param {Place | null} place in line, given with status 503 while the device is busy
   */
  constructor(message, status, place) {
    super(message);
    this.status = status;
    this.place = place;
  }
}

/**
 * Ask the server. Returns the answer's JSON; throws an ApiError if the server refuses.
 *
 * @param {string} url
 * @param {RequestInit} [init]
 * @returns {Promise<any>} the answer; its type depends on the address
 */
export async function ask(url, init) {
  const answer = await answered(url, init);
  if (!answer.ok) throw await errorOf(answer);
  return answer.json().catch(() => ({})); // an empty body, as of a 204, gives {}
}

/**
 * Fetch a file; throws an ApiError if the server refuses.
 *
 * @param {string} url
 * @param {RequestInit} [init]
 */
export async function fetchFile(url, init) {
  const answer = await answered(url, init);
  if (!answer.ok) throw await errorOf(answer);
  return answer.blob();
}

/**
 * @param {string} url
 * @param {RequestInit} [init]
 */
function answered(url, init) {
  return fetch(url, init).catch(() => {
    throw new Error(message("line.silent")); // a browser's own words are English, and say less
  });
}

/** @param {Response} answer that refuses */
async function errorOf(answer) {
  const got = await answer.json().catch(() => ({}));
  const why = got.error?.message ?? got.error ?? message("line.answered", { status: String(answer.status) });
  return new ApiError(why, answer.status, got.error?.ticket ? got.error : null);
}

/**
 * Describe a POST of JSON, for `ask`.
 *
 * @param {object} body
 * @returns {RequestInit}
 */
export function posted(body) {
  return { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) };
}

/**
 * Return the message of a thrown value.
 *
 * @param {unknown} error
 */
export function messageOf(error) {
  return error instanceof Error ? error.message : String(error);
}
