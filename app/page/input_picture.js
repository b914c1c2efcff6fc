// @ts-check
// Shows the input small, with its name and what becomes of it.

import { make } from "./elements.js";
import { icon } from "./icons.js";
import { message } from "./messages.js";

/** @import { Followed } from "./input_state.js" */
/** @import { CueLine } from "./types.js" */

/**
 * @typedef {object} Input what there is to show
 * @property {MediaStream | null} stream of a camera that is on
 * @property {string} camera its name
 * @property {boolean} arrives whether the server gets its pictures
 * @property {File | null} waits a file that waits for a session
 * @property {CueLine | null} begun the cue of the newest start
 * @property {Followed | null} followed
 * @property {(name: string) => string} label of a file on the server
 * @property {(name: string) => string} address of the content of a file
 */

const FILM = /\.(mp4|webm|avi|mpg|ts)$/;

export class InputPicture {
  /** @param {() => void} stop called when nothing is to be followed any more */
  constructor(stop) {
    this.frame = make("div", { className: "thumb" });
    this.name = make("b", { className: "clipped" });
    this.what = make("span", { className: "help" });
    this.stop = make("button", { type: "button", className: "quiet square" }, icon("close"));
    this.stop.dataset.lt = "input-stop";
    this.stop.onclick = stop;
    this.element = make(
      "div",
      { className: "row input", hidden: true },
      this.frame,
      make("span", { className: "grow words" }, this.name, this.what),
      this.stop,
    );
    this.element.dataset.lt = "input";
    this.shown = ""; // what the frame shows
    /** @type {WeakMap<File, string>} addresses of files that wait */
    this.addresses = new WeakMap();
  }

  /** @param {Input} input */
  draw(input) {
    const { name, what, content, film, stops } = described(input, (file) => this.#addressOf(file));
    this.element.hidden = !name;
    this.name.textContent = this.name.title = name;
    this.what.textContent = what;
    this.stop.hidden = !stops;
    this.stop.ariaLabel = this.stop.title = stops;
    const shown = input.stream?.id ?? content;
    if (shown === this.shown) return;
    this.shown = shown;
    this.frame.replaceChildren(...(shown ? [picture(input.stream, content, film)] : []));
  }

  /** @param {File} file */
  #addressOf(file) {
    const address = this.addresses.get(file) ?? URL.createObjectURL(file);
    this.addresses.set(file, address);
    return address;
  }
}

/**
 * @param {Input} input
 * @param {(file: File) => string} addressOf
 * @returns {{ name: string, what: string, content: string, film: boolean, stops: string }}
 */
function described({ stream, camera, arrives, waits, begun, followed, label, address }, addressOf) {
  if (stream) {
    const what = message(followed?.camera ? "input.followed" : arrives ? "input.connected" : "input.unsent");
    return { name: camera, what, content: "", film: true, stops: message("input.camera.off") };
  }
  if (waits) {
    const content = addressOf(waits);
    const film = waits.type.startsWith("video/");
    return {
      name: waits.name,
      what: message("input.waits"),
      content,
      film,
      stops: message("input.remove", { name: waits.name }),
    };
  }
  if (followed?.camera) {
    const what = message("input.held");
    return { name: message("camera.label"), what, content: "", film: true, stops: message("input.unfollow") };
  }
  if (followed) {
    const content = address(followed.name);
    return {
      name: label(followed.name),
      what: message("input.followed"),
      content,
      film: FILM.test(followed.name), // a GIF is followed too, and no player of films shows it
      stops: message("input.unfollow"),
    };
  }
  if (begun?.start) {
    const content = address(begun.start);
    const film = FILM.test(begun.start);
    return { name: label(begun.start), what: message("input.began"), content, film, stops: "" };
  }
  return { name: "", what: "", content: "", film: false, stops: "" };
}

/**
 * @param {MediaStream | null} stream
 * @param {string} content address
 * @param {boolean} film
 */
function picture(stream, content, film) {
  if (!stream && !film) return make("img", { src: content, alt: "" });
  const video = make("video", {
    muted: true,
    loop: true,
    playsInline: true,
    ariaLabel: message("input.shown"),
  });
  if (stream) video.srcObject = stream;
  else video.src = content;
  if (stream || !matchMedia("(prefers-reduced-motion: reduce)").matches) video.play().catch(() => {});
  return video;
}
