// @ts-check
// Shows the keys of a page in a dialog.

import { make } from "./elements.js";

export class HelpSheet {
  /**
   * @param {HTMLDialogElement} dialog
   * @param {[string, string][]} keys key -> what it does
   */
  constructor(dialog, keys) {
    this.dialog = dialog;
    const api = document.querySelector("footer .show-api"); // Gradio's, of pages with endpoints
    const open = make("button", { textContent: "API" });
    open.onclick = () => {
      dialog.close();
      if (api instanceof HTMLElement) api.click();
    };
    const close = make("button", { textContent: "Close" });
    close.onclick = () => dialog.close();
    dialog.append(
      make(
        "div",
        { className: "row" },
        make("h2", { textContent: "Keys", className: "grow" }),
        ...(api ? [open] : []),
        close,
      ),
      make(
        "dl",
        { className: "keys" },
        ...keys.flatMap(([key, what]) => [
          make("dt", {}, make("kbd", { textContent: key })),
          make("dd", { textContent: what }),
        ]),
      ),
    );
    dialog.onkeydown = (e) => {
      if (e.key === "?") dialog.close();
    };
  }

  toggle() {
    if (this.dialog.open) this.dialog.close();
    else this.dialog.showModal();
  }
}
