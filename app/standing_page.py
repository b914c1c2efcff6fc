"""Fill the pages that stand alone with their texts, because no other file can be had when they are shown.

That is so while the server starts, and for a browser without a login.
"""

from __future__ import annotations

from app.page_folder import PAGE

_BEGINS = "export const MESSAGES = "


def standing_page(name: str) -> str:
    """Return the page `NAME.html` with the texts of all languages, of which its script takes the browser's."""
    catalogs = {file.parent.name: file.read_text(encoding="utf-8") for file in PAGE.glob("messages/*/opening.js")}
    tables = (f"{code}: {text.split(_BEGINS)[1].strip().rstrip(';')}" for code, text in sorted(catalogs.items()))
    page = (PAGE / f"{name}.html").read_text(encoding="utf-8")
    return page.replace("{{texts}}", f"{{ {', '.join(tables)} }}")
