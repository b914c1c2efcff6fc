// @ts-check
// Makes and revokes share links of the session on the page: a link watches and cannot control.

import { messageOf, posted } from "./api.js";
import { make, part } from "./elements.js";
import { message, moment } from "./messages.js";

/** @import { SessionClient } from "./session_client.js" */

const OWN = new Set(["localhost", "127.0.0.1", "[::1]"]); // names of the machine itself

/**
 * @typedef {object} ShareLink
 * @property {number} number
 * @property {string} watch address of its page, below the server's root
 * @property {number} expires Unix time in seconds
 * @property {number} viewers at the same time
 */

export class ShareLinks {
  /**
   * @param {HTMLElement} root with the button `share`, the anchor `shared` and the button `revoke`
   * @param {SessionClient} client
   * @param {(text: string, bad?: boolean) => void} tell shows a text to a person
   */
  constructor(root, client, tell) {
    this.client = client;
    this.tell = tell;
    this.share = part(root, "share", HTMLButtonElement);
    this.shared = part(root, "shared", HTMLAnchorElement);
    this.revoke = part(root, "revoke", HTMLButtonElement);
    /** @type {ShareLink | null} the newest link */
    this.link = null;
    this.code = make("img", { alt: message("share.code"), width: 168, height: 168 });
    const close = make("button", { type: "button", textContent: message("share.close") });
    this.sheet = make("div", { className: "code", hidden: true }, this.code, close);
    this.sheet.dataset.lt = "qr";
    close.onclick = () => this.#hideCode();
    (this.share.closest(".stage") ?? root).append(this.sheet);
    this.share.onclick = () => this.#make().catch((e) => this.tell(messageOf(e), true));
    this.revoke.onclick = () => this.#revoke().catch((e) => this.tell(messageOf(e), true));
  }

  /** Show the buttons of a session that has begun, or hide them. */
  draw() {
    if (!this.client.session) this.link = null;
    if (!this.link) this.#hideCode();
    this.share.hidden = !this.client.session;
    this.shared.hidden = this.revoke.hidden = !this.link;
    if (!this.link) return;
    this.shared.href = this.client.base + this.link.watch;
    const time = moment(new Date(1000 * this.link.expires), { timeStyle: "short" });
    this.shared.title = message("share.until", { time, n: this.link.viewers });
  }

  async #make() {
    /** @type {ShareLink} */
    const link = await this.client.post("links", posted({}));
    if (!this.client.session) return;
    this.link = link;
    this.draw();
    const copied = await navigator.clipboard?.writeText(this.shared.href).then(
      () => true,
      () => false, // a browser may refuse; the link can be copied by hand
    );
    const own = OWN.has(location.hostname) ? message("share.own") : "";
    await this.#showCode();
    const about = this.shared.title;
    this.tell(message(copied ? "share.made.copied" : "share.made", { about }) + own);
  }

  /** Show the link as a QR code, for a phone that is at hand. */
  async #showCode() {
    const { session } = this.client;
    if (!session || !this.link) return;
    const root = new URL(this.client.base || ".", document.baseURI).href;
    const address = `${this.client.base}api/sessions/${session.id}/links/${this.link.number}/qr`;
    const headers = { "x-longtake-key": session.key ?? "" };
    const answer = await fetch(`${address}?root=${encodeURIComponent(root)}`, { headers });
    if (!answer.ok) return; // the link itself is there
    this.#hideCode();
    this.code.src = URL.createObjectURL(await answer.blob());
    this.sheet.hidden = false;
  }

  #hideCode() {
    if (this.sheet.hidden) return;
    this.sheet.hidden = true;
    URL.revokeObjectURL(this.code.src);
  }

  async #revoke() {
    if (!this.link) return;
    await this.client.delete(`links/${this.link.number}`);
    this.link = null;
    this.draw();
    this.tell(message("share.revoked"));
  }
}
