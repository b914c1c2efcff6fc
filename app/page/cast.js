// @ts-check
// Casts who speaks: one face, or up to six that talk with each other, each with a name.

import { make, part } from "./elements.js";
import { icon } from "./icons.js";
import { listed, message } from "./messages.js";

/** @import { Face, FaceChoice } from "./face_choice.js" */
/** @typedef {{ name: string, named: boolean, face: Face }} Role a speaker; `named` if a person wrote the name */

const MOST = 6; // speakers
const LONGEST = 40; // characters of a name

export class Cast {
  /**
   * @param {HTMLElement} root
   * @param {FaceChoice} faces chooses the face of the speaker that is selected
   * @param {(src: string) => void} changed called with the address of a picture of the cast
   */
  constructor(root, faces, changed) {
    this.faces = faces;
    this.changed = changed;
    this.list = part(root, "cast", HTMLElement);
    this.layouts = part(root, "layouts", HTMLElement);
    this.addButton = part(root, "add", HTMLButtonElement);
    /** @type {Role[]} */
    this.roles = [];
    this.selected = 0;
    this.changes = 0;
    this.addButton.onclick = () => this.#add();
    this.layouts.onchange = () => this.#tell();
  }

  /** How many speak. */
  get size() {
    return this.roles.length;
  }

  /** The names of those who speak, as a sentence lists them. */
  get names() {
    return listed(this.roles.map(({ name }) => name));
  }

  /** The part of the POST that begins a session with this cast. */
  get body() {
    if (this.roles.length < 2) return this.roles[0]?.face.look ?? {};
    const speakers = this.roles.map(({ name, face }) => ({ name, ...face.look }));
    return { speakers, layout: this.#layout };
  }

  get #layout() {
    return this.layouts.querySelector("input:checked[value=cut]") ? "cut" : "side";
  }

  /**
   * Give the selected speaker a face, and its name unless a person wrote one.
   *
   * @param {Face} face
   */
  wear(face) {
    const role = this.roles[this.selected];
    if (!role) this.roles.push({ name: face.name, named: false, face });
    else {
      role.face = face;
      if (!role.named) role.name = this.#unused(face.name, role);
    }
    this.#change();
  }

  #add() {
    const face = this.faces.other(this.roles.map(({ face }) => face.look));
    if (!face || this.roles.length === MOST) return;
    this.roles.push({ name: this.#unused(face.name), named: false, face });
    this.#select(this.roles.length - 1);
    this.#change();
  }

  /** @param {Role} role */
  #remove(role) {
    this.roles = this.roles.filter((other) => other !== role);
    this.#select(Math.min(this.selected, this.roles.length - 1));
    this.#change();
    this.addButton.focus(); // the button that was pressed is gone
  }

  /** @param {number} index */
  #select(index) {
    this.selected = index;
    this.faces.show(this.roles[index].face);
  }

  /**
   * Return a name, with a number if another speaker has it.
   *
   * @param {string} name
   * @param {Role} [own] speaker who may have it
   */
  #unused(name, own) {
    const taken = this.roles.filter((role) => role !== own).map((role) => role.name.toLowerCase());
    let [free, number] = [name, 2];
    while (taken.includes(free.toLowerCase())) free = `${name} ${number++}`;
    return free;
  }

  #change() {
    this.#draw();
    this.#tell();
  }

  async #tell() {
    const change = ++this.changes;
    const one = this.roles[this.selected].face.src;
    const together = this.roles.length > 1 && this.#layout === "side";
    const src = together ? await sideBySide(this.roles.map(({ face }) => face.src)).catch(() => one) : one;
    if (change === this.changes) this.changed(src);
  }

  #draw() {
    const several = this.roles.length > 1;
    this.list.hidden = this.layouts.hidden = !several;
    this.addButton.disabled = this.roles.length === MOST;
    this.list.replaceChildren(...(several ? this.roles.map((role, i) => this.#row(role, i)) : []));
  }

  /**
   * @param {Role} role
   * @param {number} index
   */
  #row(role, index) {
    const pick = make("button", { className: "pick" }, make("img", { src: role.face.src, alt: "" }));
    const field = make("input", { maxLength: LONGEST, autocomplete: "off", className: "grow" });
    const remove = make("button", { className: "quiet square" }, icon("close"));
    field.ariaLabel = message("talk.cast.name");
    const label = () => {
      const { name } = role;
      field.value = name;
      pick.title = pick.ariaLabel = message("talk.cast.pick", { name });
      remove.title = remove.ariaLabel = message("talk.cast.remove", { name });
    };
    label();
    pick.ariaPressed = String(index === this.selected);
    pick.onclick = () => {
      this.#select(index);
      for (const [i, other] of this.list.querySelectorAll(".pick").entries())
        other.ariaPressed = String(i === index);
      this.#tell();
    };
    // the rows are not drawn anew: the click that ends the writing may be on one of their buttons
    field.onchange = () => {
      const given = field.value.trim();
      role.named = Boolean(given);
      role.name = given || this.#unused(role.face.name, role);
      label();
      this.#tell();
    };
    remove.onclick = () => this.#remove(role);
    return make("li", { className: "row" }, pick, field, remove);
  }
}

/**
 * Draw pictures of one size side by side; returns the address of that picture.
 *
 * @param {string[]} sources
 */
async function sideBySide(sources) {
  const pictures = sources.map((src) => make("img", { src }));
  await Promise.all(pictures.map((picture) => picture.decode()));
  const { naturalWidth: width, naturalHeight: height } = pictures[0];
  const canvas = make("canvas", { width: width * pictures.length, height });
  const pen = canvas.getContext("2d");
  if (!pen) throw new Error(message("talk.nocanvas"));
  for (const [i, picture] of pictures.entries()) pen.drawImage(picture, i * width, 0, width, height);
  return canvas.toDataURL("image/png");
}
