// @ts-check
// Remembers small pictures of a take as it is shown, and draws them along the timeline.

/** @import { Sight } from "./timeline_blocks.js" */

const SIZE = 56; // pixels of a picture's sides
const MOST = 400; // pictures; then every second one is forgotten

export class Filmstrip {
  constructor() {
    /** @type {Map<number, HTMLCanvasElement>} latent -> picture */
    this.pictures = new Map();
  }

  /** @param {number} from latent from which pictures are forgotten */
  forget(from) {
    for (const latent of [...this.pictures.keys()]) if (latent >= from) this.pictures.delete(latent);
  }

  /**
   * Remember what a video shows.
   *
   * @param {number} latent
   * @param {HTMLVideoElement} video
   */
  add(latent, video) {
    if (this.pictures.has(latent) || video.readyState < HTMLMediaElement.HAVE_CURRENT_DATA) return;
    const { videoWidth: width, videoHeight: height } = video;
    const side = Math.min(width, height);
    if (!side) return;
    const canvas = document.createElement("canvas");
    Object.assign(canvas, { width: SIZE, height: SIZE });
    canvas
      .getContext("2d")
      ?.drawImage(video, (width - side) / 2, (height - side) / 2, side, side, 0, 0, SIZE, SIZE);
    this.pictures.set(latent, canvas);
    if (this.pictures.size > MOST)
      [...this.pictures.keys()].forEach((key, i) => i % 2 && this.pictures.delete(key));
  }

  /**
   * Return the picture nearest to a latent; undefined if none is near.
   *
   * @param {number} latent
   * @param {number} within latents
   */
  near(latent, within) {
    let best;
    let distance = within;
    for (const [at, picture] of this.pictures) {
      if (Math.abs(at - latent) > distance) continue;
      distance = Math.abs(at - latent);
      best = picture;
    }
    return best;
  }

  /**
   * Draw the pictures in sight side by side; the canvas is no wider than they are.
   *
   * @param {HTMLCanvasElement} canvas
   * @param {number} length of the take in latents
   * @param {Sight} sight
   */
  draw(canvas, length, { from, to, scale }) {
    if (!canvas.checkVisibility()) return; // it is folded
    const side = canvas.height;
    const each = side / scale; // latents under one picture
    const first = Math.max(0, Math.floor(from / each));
    const end = Math.ceil(Math.min(to, length) / each);
    const width = Math.ceil(Math.min(end * side, length * scale)) - first * side;
    canvas.style.marginLeft = `${first * side}px`;
    canvas.style.width = `${width}px`;
    if (canvas.width !== width) canvas.width = width;
    const pen = canvas.getContext("2d");
    pen?.clearRect(0, 0, width, side);
    for (let i = first; i < end; i += 1) {
      const picture = this.near((i + 0.5) * each, Math.max(each, 3));
      if (picture) pen?.drawImage(picture, (i - first) * side, 0, side, side);
    }
  }
}
