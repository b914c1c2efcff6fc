// @ts-check
// Chooses what an avatar looks like: a face of the gallery, a designed face, or a picture.

import { make, part } from "./elements.js";
import { message, named } from "./messages.js";

/** @import { FaceFacts } from "./api.js" */
/** @typedef {{ face: string } | { portrait: string }} Look part of the POST that begins a session; the portrait is a base64 PNG */
/** @typedef {{ name: string, src: string, look: Look }} Face a look, what it is called and the address of its picture */

export class FaceChoice {
  /**
   * @param {HTMLElement} root
   * @param {string} base where the server's addresses begin
   * @param {(text: string, bad: boolean) => void} tell shows a message
   * @param {(face: Face) => void} chose called with a face that was chosen
   */
  constructor(root, base, tell, chose) {
    this.chose = chose;
    this.base = base;
    this.tell = tell;
    this.faces = part(root, "faces", HTMLElement);
    this.designer = part(root, "designer", HTMLElement);
    /** @type {Look | null} */
    this.look = null;
    /** @type {string[]} */
    this.gallery = [];
    this.size = "";
    const portrait = part(root, "portrait", HTMLInputElement);
    portrait.onchange = () => {
      const file = portrait.files?.[0];
      portrait.value = ""; // so that the same file can be chosen again
      if (file) this.#upload(file);
    };
  }

  /**
   * Offer the faces of the server.
   *
   * @param {FaceFacts} facts
   * @param {string} size of an avatar's picture: WIDTHxHEIGHT in pixels
   */
  offer({ gallery, attributes }, size) {
    this.gallery = gallery;
    this.size = size;
    const first = this.other([]);
    if (first) {
      this.show(first);
      this.chose(first);
    }
    const menus = Object.entries(attributes).map(([name, values]) => {
      const select = make("select", { name, onchange: () => this.#design() });
      select.append(...values.map((value) => new Option(named(`face.${name}`, value), value)));
      return make("label", {}, named("face", name), select);
    });
    this.designer.replaceChildren(...menus);
  }

  /**
   * Return the first face of the gallery that is none of these, or the first of all if they are all taken.
   *
   * @param {Look[]} taken
   * @returns {Face | null}
   */
  other(taken) {
    const used = taken.map((look) => ("face" in look ? look.face : ""));
    const face = this.gallery.find((name) => !used.includes(name)) ?? this.gallery[0];
    return face ? { name: called(face), src: this.#picture(face), look: { face } } : null;
  }

  /**
   * Mark a face as the chosen one.
   *
   * @param {Face} face
   */
  show({ name, src, look }) {
    this.look = look;
    if ("face" in look && this.gallery.includes(look.face)) this.#draw();
    else this.#draw(this.#button(name, src, look));
  }

  /** @param {HTMLButtonElement[]} own button of a face that is not in the gallery, if there is one */
  #draw(...own) {
    const buttons = this.gallery.map((name) => this.#button(name, this.#picture(name), { face: name }));
    this.faces.replaceChildren(...buttons, ...own);
  }

  /** @param {string} face name or attributes */
  #picture(face) {
    return `${this.base}api/faces/${encodeURIComponent(face)}`;
  }

  /**
   * Make the button that chooses a look.
   *
   * @param {string} title
   * @param {string} src address of its picture
   * @param {Look} look
   */
  #button(title, src, look) {
    const button = make("button", { title, role: "radio" }, make("img", { src, alt: title }));
    button.ariaChecked = String(JSON.stringify(look) === JSON.stringify(this.look));
    button.onclick = () => {
      this.look = look;
      for (const other of this.faces.children) other.ariaChecked = String(other === button);
      this.chose({ name: called(title), src, look });
    };
    return button;
  }

  #design() {
    const chosen = [...this.designer.querySelectorAll("select")];
    const face = chosen.map(({ name, value }) => `${name}=${value}`).join(",");
    const designed = { name: message("talk.design.yours"), src: this.#picture(face), look: { face } };
    this.show(designed);
    this.chose(designed);
  }

  /**
   * Crop and scale a picture before it is sent: a camera's has a hundred times the pixels that are needed.
   *
   * @param {File} file
   */
  async #upload(file) {
    const picture = await createImageBitmap(file).catch(() => null);
    if (!picture) {
      this.tell(message("talk.nopicture"), true);
      return;
    }
    const url = cropped(picture, this.size).toDataURL("image/png");
    this.look = { portrait: url.slice(url.indexOf(",") + 1) };
    this.#draw(this.#button(file.name, url, this.look));
    this.chose({ name: message("talk.own.yours"), src: url, look: this.look });
  }
}

/**
 * Cut the middle out of a picture, as large as fits, and scale it.
 *
 * @param {ImageBitmap} picture
 * @param {string} size WIDTHxHEIGHT
 */
function cropped(picture, size) {
  const [width = 0, height = 0] = size.split("x").map(Number);
  const scale = Math.max(width / picture.width, height / picture.height);
  const [w, h] = [picture.width * scale, picture.height * scale];
  const canvas = make("canvas", { width, height });
  const pen = canvas.getContext("2d");
  if (!pen) throw new Error(message("talk.nocanvas"));
  pen.imageSmoothingQuality = "high";
  pen.drawImage(picture, (width - w) / 2, (height - h) / 2, w, h);
  return canvas;
}

/**
 * Write a name with a capital; other titles stay.
 *
 * @param {string} title
 */
function called(title) {
  return /^[a-z]+$/.test(title) ? title.charAt(0).toUpperCase() + title.slice(1) : title;
}
