// @ts-check
// Switches between light and dark. Dark is the first choice; a choice is kept, and `?__theme=` in the address comes first.

const KEPT_AS = "longtake.theme";

/**
 * Show the theme that was chosen, and let a button change it.
 *
 * @param {HTMLButtonElement | null} button null where the page has none
 */
export function applyTheme(button) {
  const asked = new URLSearchParams(location.search).get("__theme");
  const chosen = asked === "light" || asked === "dark" ? asked : localStorage.getItem(KEPT_AS);
  draw(chosen !== "light");
  if (!button) return;
  button.onclick = () => {
    const dark = !document.body.classList.contains("dark");
    localStorage.setItem(KEPT_AS, dark ? "dark" : "light");
    draw(dark);
  };
}

/** @param {boolean} dark */
function draw(dark) {
  document.documentElement.classList.toggle("dark", dark);
  document.body.classList.toggle("dark", dark); // where Gradio looks for it
}
