"""Find faults of a page as it is shown: those of axe-core, what stands out of the window, what a finger cannot meet."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from tempfile import mkdtemp

import pytest
from playwright.sync_api import Page

NPM = shutil.which("npm")
needs_npm = pytest.mark.skipif(NPM is None, reason="needs Node.js and npm")
TOOLS = Path(__file__).resolve().parents[1] / "page"
WIDE, PHONE = {"width": 1440, "height": 900}, {"width": 390, "height": 844}
FAULTS = """axe.run(document, { resultTypes: ["violations"] }).then(({ violations }) => violations.map(
  ({ id, impact, nodes }) => [id, impact, ...nodes.map((node) => `${node.target}: ${node.failureSummary}`)]))"""
# what stands out of the window, and buttons whose words do not fit into them
OVERFLOWS = """() => [...document.querySelectorAll(".longtake *")].filter((one) => {
  const box = one.getBoundingClientRect();
  if (!box.width || !one.checkVisibility() || one.closest(".unseen, .ambient, .clipped, .reel")) return false;
  if (one.matches("button") && one.scrollWidth > one.clientWidth + 1) return true;
  return box.right > innerWidth + 1 || box.left < -1;
}).map((one) => `${one.tagName} ${one.dataset.lt ?? one.className} ${one.textContent.trim().slice(0, 30)}`)"""
# what a finger meets and is smaller than 44 pixels; of a radio, a box or a file its label is met, links in a text aside
SMALL = """() => [...document.querySelectorAll(
  "button, a[href], select, summary, textarea, .segments label, label:has(> [type=checkbox], > [type=file]), " +
  "input:not([type=radio], [type=checkbox], [type=file])")].filter((one) => {
  const { width, height } = one.getBoundingClientRect();
  if (getComputedStyle(one).display === "inline") return false;
  return one.checkVisibility() && width && !one.closest(".unseen") && (height < 43.5 || width < 43.5);
}).map((one) => `${one.dataset.lt ?? one.className} ${one.textContent.trim().slice(0, 30)}`)"""


def axe_script() -> str:
    """Return the script of axe-core, installed as the lock file names it where it is not there yet."""
    folder = TOOLS
    if not (folder / "node_modules" / "axe-core").exists():
        folder = Path(mkdtemp())
        for name in ("package.json", "package-lock.json"):
            shutil.copy(TOOLS / name, folder)
        subprocess.run([str(NPM), "ci"], cwd=folder, check=True, capture_output=True, timeout=120)
    return (folder / "node_modules" / "axe-core" / "axe.min.js").read_text(encoding="utf-8")


def faults(page: Page, axe: str, name: str) -> dict[str, list[str]]:
    """Return what is wrong with a page in each theme, by where: an empty dictionary where nothing is.

    Where the variable LONGTAKE_PHOTOS names a folder, a picture of the page is kept there for each theme.
    """
    found: dict[str, list[str]] = {}
    window = page.viewport_size
    assert window is not None
    page.evaluate(axe)
    for theme in ("dark", "light"):
        page.evaluate(
            "(dark) => [document.documentElement, document.body].map((one) => one.classList.toggle('dark', dark))",
            theme == "dark",
        )
        found[f"{name}, {theme}"] = page.evaluate(FAULTS)
        if photos := os.environ.get("LONGTAKE_PHOTOS"):
            page.screenshot(path=f"{photos}/{name}-{theme}-{window['width']}.png")
    found[f"{name} stands out"] = page.evaluate(OVERFLOWS)
    if window["width"] == PHONE["width"]:
        found[f"{name}, too small"] = page.evaluate(SMALL)
    return {where: what for where, what in found.items() if what}
