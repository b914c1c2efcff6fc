// @ts-check
// Keeps a small picture of each take that was shown in this browser.

const KEPT_AS = "longtake.pictures";
const MOST = 60; // newest takes

export class TakePictures {
  constructor() {
    /** @type {Map<string, string>} take -> data URL, the newest last */
    this.pictures = new Map(Object.entries(JSON.parse(localStorage.getItem(KEPT_AS) || "{}")));
  }

  /**
   * Keep the picture of a take; does nothing if there is none.
   *
   * @param {string} take id
   * @param {string} picture data URL
   */
  keep(take, picture) {
    if (!take || !picture) return;
    this.pictures.delete(take);
    this.pictures.set(take, picture);
    const newest = [...this.pictures].slice(-MOST);
    this.pictures = new Map(newest);
    try {
      localStorage.setItem(KEPT_AS, JSON.stringify(Object.fromEntries(newest)));
    } catch {
      // the browser's storage is full: the pictures last as long as the page
    }
  }

  /** @param {string} take id */
  of(take) {
    return this.pictures.get(take) ?? "";
  }
}
