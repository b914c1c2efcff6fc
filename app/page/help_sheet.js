// @ts-check
// Shows the keys of a page in a dialog, and lets a person choose its language.

import { make } from "./elements.js";
import { LANGUAGES, keepLanguage, language, message } from "./messages.js";

/** @import { MessageKey } from "./messages.js" */

export class HelpSheet {
  /**
   * @param {HTMLDialogElement} dialog
   * @param {[MessageKey | string, MessageKey][]} keys a message or the key itself -> what it does
   */
  constructor(dialog, keys) {
    this.dialog = dialog;
    const api = document.querySelector("footer .show-api"); // Gradio's, of pages with endpoints
    const open = make("button", { textContent: message("help.api") });
    open.onclick = () => {
      dialog.close();
      if (api instanceof HTMLElement) api.click();
    };
    const close = make("button", { textContent: message("help.close") });
    close.onclick = () => dialog.close();
    dialog.append(
      make(
        "div",
        { className: "row" },
        make("h2", { textContent: message("help.keys"), className: "grow" }),
        ...(api ? [open] : []),
        close,
      ),
      make(
        "dl",
        { className: "keys" },
        ...keys.flatMap(([key, what]) => [
          make(
            "dt",
            {},
            make("kbd", { textContent: key.length > 1 ? message(/** @type {MessageKey} */ (key)) : key }),
          ),
          make("dd", { textContent: message(what) }),
        ]),
      ),
      languages(),
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

/** Make the choice of the page's language. */
function languages() {
  const select = make("select", { id: "lt-language" });
  select.append(...LANGUAGES.map(([code, name]) => new Option(name, code, false, code === language)));
  select.onchange = () => {
    keepLanguage(select.value);
    location.reload();
  };
  return make(
    "p",
    { className: "row language" },
    make("label", { htmlFor: select.id, textContent: message("help.language") }),
    select,
    make("span", { className: "help", textContent: message("help.language.note") }),
  );
}
