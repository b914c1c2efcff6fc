"""Build the pages of studio and avatar, each a Gradio page around one component with its own scripts."""

from __future__ import annotations

from fastapi import FastAPI
from fastapi.responses import RedirectResponse

from app.gradio_endpoints import WAITING, add_endpoints
from app.gradio_import import gr
from app.gradio_theme import theme
from app.page_folder import PAGE

# path on the server, name of its files, way to the root, style sheets of its own; the studio is last, since it takes
# every path that no other page has
PAGES = (
    ("/avatar", "avatar", "../", ("stage", "avatar")),
    ("/", "studio", "", ("stage", "studio", "deck", "panel", "input", "phone")),
)
# seconds between looks of Gradio's queue for calls while it has none: its own 0.001 wakes an idle server 2,000 times a
# second, which takes a tenth of a core from drawing
QUEUE_LOOKS_EVERY = 0.05
TITLES = {"studio": "Longtake", "avatar": "Longtake avatar"}
STYLES = ("tokens", "base", "bar", "gradio")  # of every page, in this order
# Gradio runs this as a function, which has no address to resolve imports against: the page's address is used
_MOUNT = """
const script = new URL("%spage/%s.js", document.baseURI);
import(script).then(({ mount }) => mount(element.querySelector(".longtake")));
"""


def _component(name: str, base: str) -> gr.HTML:
    """Return a Gradio component that holds `page/NAME.html` and runs `page/NAME.js`.

    Pictures, commands and events use a separate connection, never Gradio's. `base` is the path from the page to the
    root of the server.
    """
    # the template takes no value: if Gradio rendered it again, the elements that the script made would be lost
    template = (PAGE / f"{name}.html").read_text(encoding="utf-8")
    return gr.HTML(html_template=template, js_on_load=_MOUNT % (base, name), elem_id="player")


def _head(base: str, *styles: str) -> str:
    """Return the links to the style sheets of a page."""
    return "".join(f'<link rel="stylesheet" href="{base}page/{name}.css">' for name in (*STYLES, *styles))


def mount(app: FastAPI) -> FastAPI:
    """Add the studio at / of the server, and the avatar at /avatar/; return the application."""
    app.get("/avatar", include_in_schema=False)(lambda: RedirectResponse("avatar/"))
    for path, name, base, styles in PAGES:
        with gr.Blocks(title=TITLES[name], fill_width=True, fill_height=True) as page:
            _component(name, base)
            if name == "studio":
                add_endpoints(app.state.services)
        queue = page.queue(max_size=WAITING)._queue
        queue.sleep_when_free = queue.progress_update_sleep_when_free = QUEUE_LOOKS_EVERY
        app = gr.mount_gradio_app(
            app,
            page,
            path=path,
            head=_head(base, *styles),
            theme=theme(),
            ssr_mode=False,
            footer_links=["api"] if name == "studio" else [],
            max_file_size="1mb",
        )
    return app
