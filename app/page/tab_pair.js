// @ts-check
// Switches between two tabs and their panels; the arrow keys go from one to the other.

import { part } from "./elements.js";

/** @template {string} Name */
export class TabPair {
  /**
   * @param {HTMLElement} root with the tabs marked NAMEtab and the panels marked NAME
   * @param {Name} first
   * @param {Name} second
   * @param {(name: Name) => void} [shown]
   */
  constructor(root, first, second, shown) {
    this.names = [first, second];
    this.shown = shown;
    /** @type {Map<Name, { tab: HTMLButtonElement, panel: HTMLElement }>} */
    this.parts = new Map();
    for (const name of this.names) {
      const tab = part(root, `${name}tab`, HTMLButtonElement);
      this.parts.set(name, { tab, panel: part(root, name, HTMLElement) });
      const other = name === first ? second : first;
      tab.onclick = () => this.show(name);
      tab.onkeydown = (e) => {
        if (e.key !== "ArrowLeft" && e.key !== "ArrowRight") return;
        this.show(other);
        this.parts.get(other)?.tab.focus();
      };
    }
  }

  /** @param {Name} chosen */
  show(chosen) {
    for (const [name, { tab, panel }] of this.parts) {
      tab.ariaSelected = String(name === chosen);
      tab.tabIndex = name === chosen ? 0 : -1;
      panel.hidden = name !== chosen;
    }
    this.shown?.(chosen);
  }
}
