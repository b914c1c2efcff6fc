// @ts-check
// Keeps the newest frame of a video on a canvas, and its colours on a small one that is shown blurred around it.

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

  /** Keep the frame that the video shows now. */
  keep() {
    const { videoWidth: width, videoHeight: height, readyState } = this.video;
    if (!width || readyState < HTMLMediaElement.HAVE_CURRENT_DATA) return;
    if (this.canvas.width !== width || this.canvas.height !== height)
      Object.assign(this.canvas, { width, height });
    this.canvas.getContext("2d")?.drawImage(this.video, 0, 0);
    this.kept = true;
  }

  /**
   * Take the colours of what is shown.
   *
   * @param {HTMLVideoElement | HTMLCanvasElement | HTMLImageElement} shown
   */
  tint(shown) {
    if (shown instanceof HTMLVideoElement && shown.readyState < HTMLMediaElement.HAVE_CURRENT_DATA) return;
    if (shown instanceof HTMLImageElement && !shown.naturalWidth) return;
    this.ambient.getContext("2d")?.drawImage(shown, 0, 0, this.ambient.width, this.ambient.height);
  }
}
