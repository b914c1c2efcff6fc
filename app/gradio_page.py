"""The studio page: Gradio around one player component of our own."""

from __future__ import annotations

import json
import os
from pathlib import Path

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")

import gradio as gr
from fastapi import FastAPI
from fastapi.responses import RedirectResponse

from models.cache_shape import AnchorPolicy
from models.cue import OnSwitch, SinkOnSwitch
from streaming.live.pacing import LookAhead

PAGE = Path(__file__).parent / "page"
PRESETS = {
    "Meadow": "a large red ball bounces in the middle over the meadow by day",
    "Night city": "a large yellow star sways on the left in the city at night",
    "Snow": "a large purple fish drifts right in the forest by day in the snow",
    "Sunset sea": "a large white rocket circles in the middle over the sea at sunset",
}
_MOUNT = """
const scripts = %s;
scripts.forEach((name, i) => {
  const script = document.createElement("script");
  script.src = "%spage/" + name;
  script.async = false;
  if (i === scripts.length - 1) script.onload = () => window.longtake.%s(element.querySelector(".longtake"), {});
  document.head.append(script);
});
"""


def _component(page: str, scripts: list[str], mount: str, base: str) -> gr.HTML:
    """One of our pages: what is live goes over its own connection, never through Gradio."""
    # the template is constant: Gradio's re-rendering would drop what the script has put there
    template = (PAGE / page).read_text(encoding="utf-8")
    return gr.HTML(html_template=template, js_on_load=_MOUNT % (json.dumps(scripts), base, mount), elem_id="player")


def player() -> gr.HTML:
    """Video, prompt, timeline and status."""
    return _component(
        "studio.html",
        ["presented_frames.js", "connection.js", "place_in_line.js", "studio.js", "take_list.js"],
        "mount",
        "",
    )


def avatar() -> gr.HTML:
    """A portrait that speaks: who it is, what it says, its microphone and its meters."""
    scripts = [
        "presented_frames.js",
        "connection.js",
        "place_in_line.js",
        "level_meter.js",
        "face_choice.js",
        "avatar.js",
    ]
    return _component("avatar.html", scripts, "mountAvatar", "../")


def mount(app: FastAPI) -> FastAPI:
    """Put the studio at / of the server, and the avatar at /avatar/."""
    app.get("/avatar", include_in_schema=False)(lambda: RedirectResponse("avatar/"))
    with gr.Blocks(title="Longtake avatar") as speaking:
        avatar()
    style = "".join(f'<link rel="stylesheet" href="../page/{name}.css">' for name in ("page", "avatar"))
    app = gr.mount_gradio_app(
        app, speaking, path="/avatar", head=style, ssr_mode=False, footer_links=[], max_file_size="1mb"
    )
    with gr.Blocks(title="Longtake") as page:
        player()
        with gr.Row():
            for label, prompt in PRESETS.items():
                gr.Button(label, size="sm").click(None, None, None, js=f"() => window.longtake.preset({prompt!r})")
        with gr.Accordion("More", open=False):
            with gr.Row():
                forms = {
                    "seed": gr.Textbox(label="seed (at the next start)", placeholder="any", max_lines=1),
                    "look_ahead": gr.Radio([v.value for v in LookAhead], value="smooth", label="look-ahead"),
                }
            with gr.Row():
                forms |= {
                    "on_switch": gr.Radio([v.value for v in OnSwitch], value="recache", label="on switch"),
                    "sink_on_switch": gr.Radio([v.value for v in SinkOnSwitch], value="keep", label="sink on switch"),
                    "anchor": gr.Radio([v.value for v in AnchorPolicy], value="trailing", label="anchor"),
                }
            for name, form in forms.items():
                form.input(None, form, None, js=f"(v) => window.longtake.option({name!r}, v)")
    head = '<link rel="stylesheet" href="page/page.css">'
    return gr.mount_gradio_app(app, page, path="/", head=head, ssr_mode=False, footer_links=[], max_file_size="1mb")
