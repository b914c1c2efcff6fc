// @ts-check
// Draws the small pictures of buttons: `<i data-icon="NAME">` in the markup becomes an SVG of 16 by 16 units.

/** @type {Record<string, string>} name -> path; each draws its own subpaths with strokes of 1.5 units */
const PATHS = {
  sun: "M8 2.2a5.8 5.8 0 1 0 0 11.6zM8 2.2a5.8 5.8 0 0 1 0 11.6",
  power: "M8 2v5.5M4.6 4.2a5.2 5.2 0 1 0 6.8 0",
  eye: "M1.5 8S4 3.7 8 3.7 14.5 8 14.5 8 12 12.3 8 12.3 1.5 8 1.5 8zM8 6a2 2 0 1 0 0 4 2 2 0 0 0 0-4z",
  play: "M5 3.2v9.6L12.6 8z",
  pause: "M5.5 3.5v9M10.5 3.5v9",
  undo: "M5.5 3 2.5 6l3 3M2.8 6h6.4a3.7 3.7 0 0 1 0 7.4H6",
  dice: "M3 3h10v10H3zM6 6h.01M10 10h.01M10 6h.01M6 10h.01",
  record: "M8 4.2a3.8 3.8 0 1 0 0 7.6 3.8 3.8 0 0 0 0-7.6z",
  send: "M13 3v4a2.5 2.5 0 0 1-2.5 2.5H3.5M6.3 6.5l-3 3 3 3",
  blend: "M1.5 4.5h2.8c3.5 0 4 7 7.5 7h2.5M1.5 11.5h2.8c1.3 0 2.2-1 2.9-2.2M8.9 6.5c.7-1.1 1.5-2 2.9-2h2.5",
  cut: "M4.2 2.7 11 11.2M11.8 2.7 5 11.2M4 11a1.7 1.7 0 1 0 0 3.4A1.7 1.7 0 0 0 4 11zM12 11a1.7 1.7 0 1 0 0 3.4 1.7 1.7 0 0 0 0-3.4z",
  clock: "M8 2.2a5.8 5.8 0 1 0 0 11.6A5.8 5.8 0 0 0 8 2.2zM8 5v3.2l2 1.3",
  plus: "M8 3.5v9M3.5 8h9",
  minus: "M3.5 8h9",
  up: "M4 9.8 8 6l4 3.8",
  camera: "M2 5h2.7l1.2-1.8h4.2L11.3 5H14v7.5H2zM8 6.5a2.2 2.2 0 1 0 0 4.4 2.2 2.2 0 0 0 0-4.4z",
  link: "M6.7 9.3a2.5 2.5 0 0 0 3.7.2l2-2a2.6 2.6 0 0 0-3.7-3.7l-.8.8M9.3 6.7a2.5 2.5 0 0 0-3.7-.2l-2 2a2.6 2.6 0 0 0 3.7 3.7l.8-.8",
  small: "M2 3h12v10H2zM8 8h4v3H8z",
  plain: "M2 3h12v10H2zM2 10.3h12",
  pen: "M3 13l.7-2.8L11 2.9l2.1 2.1-7.3 7.3z",
  full: "M2.5 6V2.5H6M10 2.5h3.5V6M13.5 10v3.5H10M6 13.5H2.5V10",
  down: "M4 6.2 8 10l4-3.8",
  download: "M8 2v7.5M4.8 6.8 8 10l3.2-3.2M2.5 13.5h11",
  more: "M3.5 8h.01M8 8h.01M12.5 8h.01",
  tune: "M2 5h6M11.5 5H14M2 11h2.5M8 11h6M9.7 3.3a1.7 1.7 0 1 0 0 3.4 1.7 1.7 0 0 0 0-3.4zM6.2 9.3a1.7 1.7 0 1 0 0 3.4 1.7 1.7 0 0 0 0-3.4z",
  takes: "M2.5 2.5h4.3v4.3H2.5zM9.2 2.5h4.3v4.3H9.2zM2.5 9.2h4.3v4.3H2.5zM9.2 9.2h4.3v4.3H9.2z",
  line: "M1.5 8h13M5 5v6M10.5 5v6",
  text: "M3 4V3h10v1M8 3v10M6.5 13h3",
  picture: "M2 3h12v10H2zM2.5 11.5l3.3-3.3 2.4 2.3 2-2 3.3 3M10.5 6h.01",
  film: "M2 3h12v10H2zM5 3v10M11 3v10M2 6.3h3M2 9.7h3M11 6.3h3M11 9.7h3",
  branch: "M4.5 2.2v11.6M4.5 9c0-3 7-1.5 7-5.2M11.5 2.2a.8.8 0 1 0 0 1.6.8.8 0 0 0 0-1.6z",
  close: "M4 4l8 8M12 4l-8 8",
  sound: "M2.5 6.2v3.6H5l3.5 3V3.2L5 6.2zM11 6a3 3 0 0 1 0 4M12.7 4.2a5.4 5.4 0 0 1 0 7.6",
  silent: "M2.5 6.2v3.6H5l3.5 3V3.2L5 6.2zM11.2 6.3l3.3 3.4M14.5 6.3l-3.3 3.4",
  microphone: "M8 2a2 2 0 0 0-2 2v3.5a2 2 0 0 0 4 0V4a2 2 0 0 0-2-2zM3.8 7.5a4.2 4.2 0 0 0 8.4 0M8 11.7V14",
  stop: "M4.5 4.5h7v7h-7z",
  file: "M4 2h5l3.5 3.5V14H4zM9 2v3.5h3.5",
};
const NAMESPACE = "http://www.w3.org/2000/svg";

/**
 * Make one picture.
 *
 * @param {string} name
 */
export function icon(name) {
  const svg = document.createElementNS(NAMESPACE, "svg");
  svg.setAttribute("viewBox", "0 0 16 16");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS(NAMESPACE, "path");
  path.setAttribute("d", PATHS[name] ?? "");
  svg.append(path);
  return svg;
}

/**
 * Replace every `<i data-icon>` by its picture.
 *
 * @param {ParentNode} root
 */
export function drawIcons(root) {
  for (const place of root.querySelectorAll("i[data-icon]")) {
    place.replaceWith(icon(place.getAttribute("data-icon") ?? ""));
  }
}
