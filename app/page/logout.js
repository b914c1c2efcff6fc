// @ts-check
// Offers to end the login of this browser, where there is one.

import { ask } from "./api.js";
import { part } from "./elements.js";

/**
 * Show the form `logout` if this browser has a login; throws an ApiError if the server refuses to tell.
 *
 * @param {HTMLElement} root
 * @param {string} base where the server's addresses begin: "" or "../"
 */
export async function offerLogout(root, base) {
  /** @type {{ logged_in: boolean }} */
  const { logged_in } = await ask(`${base}api/login`);
  part(root, "logout", HTMLFormElement).hidden = !logged_in;
}
