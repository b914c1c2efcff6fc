// @ts-check
// Switches the panel's tabs and, on a phone, the views below the picture.

import { TabPair } from "./tab_pair.js";

export class Panels {
  /**
   * @param {HTMLElement} root
   * @param {(name: "tune" | "takes") => void} opened called with the name of the panel that is shown
   */
  constructor(root, opened) {
    this.root = root;
    this.tabs = new TabPair(root, "tune", "takes", opened);
    for (const view of this.#views()) view.onclick = () => this.view(view.dataset.view ?? "play");
  }

  #views() {
    return /** @type {NodeListOf<HTMLButtonElement>} */ (this.root.querySelectorAll(".views button"));
  }

  /** @param {string} name of a view on a phone */
  view(name) {
    this.root.dataset.view = name;
    for (const button of this.#views()) button.ariaPressed = String(button.dataset.view === name);
    if (name === "tune" || name === "takes") this.tabs.show(name);
  }
}
