// @ts-check
// Keeps the newest frame of a video on a canvas, and its colours on a small one that is shown blurred around it.

const BLUR = "blur(3px)";
const MARGIN = 4; // pixels of the small canvas that a blur would take from its edge
const SHADE = "#000000a0";

export class LastFrame {
  /**
   * @param {HTMLVideoElement} video
   * @param {HTMLCanvasElement} canvas
   * @param {HTMLCanvasElement} ambient
   */
  constructor(video, canvas, ambient) {
    this.video = video;
    this.canvas = canvas;
    this.ambient = ambient;
    this.kept = false; // whether the canvas holds a frame
  }

  /** Keep the frame that the video shows now; a line that has ended shows black, which is not kept. */
  keep() {
    const { videoWidth: width, videoHeight: height, readyState, srcObject } = this.video;
    if (!width || readyState < HTMLMediaElement.HAVE_CURRENT_DATA) return;
    if (srcObject instanceof MediaStream && !srcObject.active) return;
    if (this.canvas.width !== width || this.canvas.height !== height)
      Object.assign(this.canvas, { width, height });
    this.canvas.getContext("2d")?.drawImage(this.video, 0, 0);
    this.kept = true;
  }

  /**
   * Take the colours of what is shown, dark and blurred. A filter in the style sheet would be computed anew with every
   * frame of the video above it, which costs more than the video itself.
   *
   * @param {HTMLVideoElement | HTMLCanvasElement | HTMLImageElement} shown
   */
  tint(shown) {
    if (shown instanceof HTMLVideoElement && shown.readyState < HTMLMediaElement.HAVE_CURRENT_DATA) return;
    if (shown instanceof HTMLImageElement && !shown.naturalWidth) return;
    const pen = this.ambient.getContext("2d");
    if (!pen) return;
    const { width, height } = this.ambient;
    pen.filter = BLUR; // a browser without it shows few colours, smoothly enlarged
    pen.drawImage(shown, -MARGIN, -MARGIN, width + 2 * MARGIN, height + 2 * MARGIN);
    pen.filter = "none";
    pen.fillStyle = SHADE;
    pen.fillRect(0, 0, width, height);
  }
}
