// @ts-check
// Offers controllers, tempo and set lists, whose scripts are loaded once they are asked for or were used before.

import { make } from "./elements.js";
import { message } from "./messages.js";

/** @import { Playing } from "./controllers_card.js" */

const KEPT_AS = "longtake.controllers"; // "1" once MIDI was connected here

/**
 * Add the closed card to a panel.
 *
 * @param {HTMLElement} panel
 * @param {Playing} playing
 */
export function offerControllers(panel, playing) {
  const card = make(
    "details",
    { className: "card" },
    make("summary", { textContent: message("live.title") }),
  );
  card.dataset.lt = "controllers";
  panel.append(card);
  let loaded = false;
  /** @param {boolean} connect */
  const load = async (connect) => {
    if (loaded) return;
    loaded = true;
    const { ControllersCard } = await import("./controllers_card.js");
    const made = new ControllersCard(card, playing, () => localStorage.setItem(KEPT_AS, "1"));
    if (connect) await made.connect();
  };
  card.addEventListener("toggle", () => {
    if (card.open) load(Boolean(localStorage.getItem(KEPT_AS)));
  });
  if (localStorage.getItem(KEPT_AS)) load(true);
}
