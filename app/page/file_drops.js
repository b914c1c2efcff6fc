// @ts-check
// Takes in files that are dropped on parts of the page, or pasted anywhere.

/**
 * @param {HTMLElement[]} places on which files may be dropped
 * @param {(file: File) => void} take called with the first file
 */
export function takeFiles(places, take) {
  for (const place of places) {
    place.addEventListener("dragover", (e) => {
      if (!e.dataTransfer?.types.includes("Files")) return;
      e.preventDefault();
      place.classList.add("drops");
    });
    place.addEventListener("dragleave", () => place.classList.remove("drops"));
    place.addEventListener("drop", (e) => {
      place.classList.remove("drops");
      const [file] = e.dataTransfer?.files ?? [];
      if (!file) return;
      e.preventDefault();
      take(file);
    });
  }
  document.addEventListener("paste", (e) => {
    const [file] = e.clipboardData?.files ?? [];
    if (file) take(file);
  });
}
