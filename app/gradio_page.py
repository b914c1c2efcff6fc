"""Build the pages of studio and avatar, each a Gradio page around one component with its own scripts."""

from __future__ import annotations

import json

from fastapi import FastAPI
from fastapi.responses import RedirectResponse

from app.gradio_import import gr
from app.page_folder import PAGE
from models.cache_shape import AnchorPolicy
from models.cue import OnLora, OnSwitch, SinkOnSwitch
from streaming.live.pacing import LookAhead

PRESETS = {
    "Meadow": "a large red ball bounces in the middle over the meadow by day",
    "Night city": "a large yellow star sways on the left in the city at night",
    "Snow": "a large purple fish drifts right in the forest by day in the snow",
    "Sunset sea": "a large white rocket circles in the middle over the sea at sunset",
}
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


def _announced(event: str, detail: str) -> str:
    """Return a JavaScript function that sends an event to the studio's script; `detail` is an expression of `v`."""
    return f"(v) => {{ document.dispatchEvent(new CustomEvent({event!r}, {{ detail: {detail} }})); return []; }}"


def mount(app: FastAPI) -> FastAPI:
    """Add the studio at / of the server, and the avatar at /avatar/; return the application."""
    app.get("/avatar", include_in_schema=False)(lambda: RedirectResponse("avatar/"))
    with gr.Blocks(title="Longtake avatar") as speaking:
        _component("avatar", "../")
    style = "".join(f'<link rel="stylesheet" href="../page/{name}.css">' for name in ("page", "avatar"))
    app = gr.mount_gradio_app(
        app, speaking, path="/avatar", head=style, ssr_mode=False, footer_links=[], max_file_size="1mb"
    )
    with gr.Blocks(title="Longtake") as page:
        _component("studio", "")
        with gr.Row():
            for label, prompt in PRESETS.items():
                gr.Button(label, size="sm").click(
                    None, None, None, js=_announced("longtake:preset", json.dumps(prompt))
                )
        with gr.Accordion("More", open=False):
            with gr.Row():
                forms = {
                    "seed": gr.Textbox(label="seed (at the next start)", placeholder="any", max_lines=1),
                    "look_ahead": gr.Radio([v.value for v in LookAhead], value="smooth", label="look-ahead"),
                }
            with gr.Row():
                forms |= {
                    "on_switch": gr.Radio([v.value for v in OnSwitch], value="recache", label="on switch"),
                    "on_lora": gr.Radio([v.value for v in OnLora], value="recache", label="on LoRA"),
                    "sink_on_switch": gr.Radio([v.value for v in SinkOnSwitch], value="keep", label="sink on switch"),
                    "anchor": gr.Radio([v.value for v in AnchorPolicy], value="trailing", label="anchor"),
                }
            for name, form in forms.items():
                form.input(None, form, None, js=_announced("longtake:option", f"{{ name: {name!r}, value: v }}"))
    head = '<link rel="stylesheet" href="page/page.css">'
    return gr.mount_gradio_app(app, page, path="/", head=head, ssr_mode=False, footer_links=[], max_file_size="1mb")
