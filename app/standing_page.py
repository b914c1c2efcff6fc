"""Fill the pages that stand alone with their texts, because no other file can be had when they are shown.

That is so while the server starts, and for a browser without a login.
"""

from __future__ import annotations

from app.page_folder import PAGE

_BEGINS = "export const MESSAGES = "


def standing_page(name: str) -> str:
    """Return the page of `NAME.html`, framed by `standing.html`, which puts the browser's language into it.

    What stands before and behind `main` in `NAME.html` goes into the head and behind the frame's script.
    """
    catalogs = {file.parent.name: file.read_text(encoding="utf-8") for file in PAGE.glob("messages/*/opening.js")}
    tables = (f"{code}: {text.split(_BEGINS)[1].strip().rstrip(';')}" for code, text in sorted(catalogs.items()))
    head, _, rest = (PAGE / f"{name}.html").read_text(encoding="utf-8").partition("<main>")
    main, _, script = rest.partition("</main>")
    parts = {"head": head, "main": main, "script": script, "texts": f"{{ {', '.join(tables)} }}"}
    page = (PAGE / "standing.html").read_text(encoding="utf-8")
    for part, text in parts.items():
        page = page.replace(f"{{{{{part}}}}}", text.strip())
    return page
