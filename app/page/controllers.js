// @ts-check
// Offers controllers, tempo and set lists, whose scripts are loaded once they are asked for or were used before.

import { make } from "./elements.js";
import { Later } from "./later.js";
import { message } from "./messages.js";

/** @import { Playing } from "./controllers_card.js" */

const KEPT_AS = "longtake.controllers"; // "1" once MIDI was connected here

/**
 * Add the closed card to a panel.
 *
 * @param {HTMLElement} panel
 * @param {Playing} playing
 * @param {() => void} missing called where the scripts cannot be had
 */
export function offerControllers(panel, playing, missing) {
  const card = make(
    "details",
    { className: "card" },
    make("summary", { textContent: message("live.title") }),
  );
  card.dataset.lt = "controllers";
  panel.append(card);
  const controllers = new Later(async () => {
    const { ControllersCard } = await import("./controllers_card.js");
    const made = new ControllersCard(card, playing, () => localStorage.setItem(KEPT_AS, "1"));
    if (localStorage.getItem(KEPT_AS)) made.connect();
    return made;
  }, missing);
  card.addEventListener("toggle", () => {
    if (card.open) controllers.use(() => {});
  });
  if (localStorage.getItem(KEPT_AS)) controllers.use(() => {});
}
