"""Show the pages in a browser without a server: tests answer the requests, and send the events of a session."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlparse

import av
import numpy as np
import segno
from playwright.sync_api import Page, Route

from app.gradio_page import PAGES, STYLES, TITLES
from app.standing_page import standing_page
from models.pocket.world.portrait.face import ATTRIBUTES
from models.pocket.world.portrait.gallery import FIRST, GALLERY, as_png, drawn, face_named
from models.pocket.world.scene import WORDING, vocabulary
from models.text.prompt_reading import PromptError, read_prompt

PAGE = Path(__file__).resolve().parents[2] / "app" / "page"
STANDING = ("login", "opening")
ADDRESS = "https://pages.test/"  # a browser gives its camera to a safe origin only
# stands in for connection.js: a test opens and breaks the connection by window.line, and sends events over it
LINE = """
export class Connection {
  constructor(video, frames, base, session, on) {
    Object.assign(this, { video, on, transport: "", returning: false, talk: null, peer: null, sent: [] });
    window.line = this;
  }
  async open() {}
  connect(...events) {
    Object.assign(this, { transport: "WebRTC", returning: false, talk: (text) => this.sent.push(JSON.parse(text)) });
    if (!this.video.src) Object.assign(this.video, { src: "/picture.mp4", loop: true });
    this.play();
    this.on.opened();
    this.hear(...events);
  }
  lose() {
    Object.assign(this, { talk: null, returning: true });
    this.on.lost();
  }
  hear(...events) {
    for (const event of events) this.on.heard(event);
  }
  play() {
    this.video.play().catch(() => {});
  }
  async fallBack() {}
  async sendSound() {}
  close() {
    this.talk = null;
  }
  async stats() {
    const frames = Math.round((16 * performance.now()) / 1000);
    return { frames, bytes: 9000 * frames, roundTrip: 2 };
  }
}
"""
POCKET: dict[str, Any] = {
    "name": "pocket", "title": "pocket", "speaks": False, "here": True, "loaded": True, "size": "128x128", "fps": 16,
    "memory_mb": 84, "disk_mb": 42, "measured": {"fps": 55, "by": "serve", "on": "2 cores"},
    "understands": {name: [way for ways in values.values() for way in ways if way] for name, values in WORDING.items()},
    "inputs": ["image", "film", "camera"], "strength": {"low": 0.3, "high": 0.9, "usual": 0.6},
}  # fmt: skip
AVATAR = {
    **POCKET, "name": "pocket-avatar", "title": "pocket-avatar", "speaks": True, "fps": 25, "understands": {},
    "inputs": [], "strength": None,
}  # fmt: skip
SESSION: dict[str, Any] = {"id": "5e55", "key": "k", "take": "7a4e", "ice": [], "sound": False}
LINK = {"number": 1, "watch": "watch/abc", "expires": 1.79e9, "viewers": 20}


class PagesAlone:
    """Answers what the pages ask; `begin` is the status and JSON that a new session is answered with, None: nothing."""

    def __init__(self, folder: Path) -> None:
        self.begin: tuple[int, Any] | None = (201, SESSION)
        self.begun: list[dict[str, Any]] = []  # what sessions were asked for with
        self.takes: list[dict[str, Any]] = []
        self.models: list[dict[str, Any]] = [POCKET, AVATAR]
        self.film = folder / "face.mp4"
        _film_of_a_face(self.film)

    def __call__(self, route: Route) -> None:
        url = urlparse(route.request.url)
        path = url.path.removeprefix("/")
        if path in ("", "avatar/"):
            route.fulfill(content_type="text/html", body=_framed("avatar" if path else "studio"))
        elif path.startswith("watch/"):
            route.fulfill(path=PAGE / "watch.html")
        elif path in STANDING:
            page = standing_page(path).replace("{{stage}}", "the server").replace("{{base}}", "./")
            route.fulfill(content_type="text/html", body=page)
        elif path == "page/connection.js":
            route.fulfill(content_type="text/javascript", body=LINE)
        elif path.startswith("page/"):
            route.fulfill(path=PAGE / path.removeprefix("page/"))
        elif path == "picture.mp4":
            speaks = "/avatar/" in (route.request.headers.get("referer") or "")
            route.fulfill(path=self.film if speaks else PAGE / "media" / "sample.mp4")
        elif path.startswith("api/"):
            self._api(route, path.removeprefix("api/"), parse_qs(url.query))
        elif not path.startswith("whip/"):  # a camera is never answered
            route.fulfill(status=404, json={"error": f"not found: {path}"})

    def _api(self, route: Route, path: str, query: dict[str, list[str]]) -> None:
        answers: dict[str, Callable[[], Any]] = {
            "models": lambda: self.models,
            "takes": lambda: self.takes,
            "login": lambda: {"needed": False},
            "models/pocket/reading": lambda: _reading(query["prompt"][0]),
            "faces": lambda: {"gallery": list(GALLERY), "attributes": _attributes(), "speaks_text": True},
            "sessions/5e55/links": lambda: LINK,
            "sessions/5e55/ice": list,
        }
        if path in answers:
            route.fulfill(json=answers[path]())
        elif path == "sessions":
            self.begun.append(route.request.post_data_json)
            if self.begin:
                route.fulfill(status=self.begin[0], json=self.begin[1])
        elif path.startswith("faces/"):
            look = path.removeprefix("faces/").replace("%3D", "=").replace("%2C", ",")
            route.fulfill(content_type="image/png", body=as_png(drawn(face_named(look))))
        elif path.endswith("/qr"):
            code = io.BytesIO()
            segno.make(ADDRESS + "watch/abc").save(code, kind="svg", scale=6)
            route.fulfill(content_type="image/svg+xml", body=code.getvalue())
        elif path.endswith("/say"):
            route.fulfill(status=202, json={"utterance": "u1", "seconds": 2.4})
        else:
            route.fulfill(status=404, json={"error": f"not found: {path}"})

    def open(self, page: Page, path: str = "") -> None:
        """Open a page, and wait until it is ready to be used."""
        page.route(ADDRESS + "**", self)
        page.goto(ADDRESS + path)
        if path in STANDING:
            return
        page.wait_for_function("document.querySelector('.longtake') && !document.querySelector('.longtake').inert")
        if not path.startswith("watch"):
            page.wait_for_function("document.querySelector('[data-lt=facts]')?.textContent")


def connect(page: Page, *events: dict[str, Any]) -> None:
    """Let the connection open, with these events as its first."""
    page.wait_for_function("window.line && line.talk === null")
    page.evaluate("(events) => line.connect(...events)", list(events))
    page.wait_for_function("document.querySelector('[data-lt=video]').videoWidth > 0")


def hear(page: Page, *events: dict[str, Any]) -> None:
    """Send events over the connection."""
    page.evaluate("(events) => line.hear(...events)", list(events))


def hello(**other: Any) -> dict[str, Any]:
    """Return the first event of a session."""
    usual = {"session": "5e55", "controls": True, "model": "pocket", "fps": 16, "chunk": 3, "first_chunk": 3}
    return {"type": "hello", **usual, "phase": "live", "sound": False, "loras": [], **other}


def status(latent: int = 120, **other: Any) -> dict[str, Any]:
    """Return a status event of a session that is live."""
    usual = {"phase": "live", "catching_up": None, "playhead": latent - 6, "oldest": 0, "held_mb": 31, "knots": None}
    more = {"generated_fps": 55.0, "buffer_ms": 900, "prompt_ms": None, "viewers": 1, "look_ahead": "smooth"}
    return {"type": "status", "latent": latent, **usual, **more, "recorded_s": None, **other}


def timeline(*cues: dict[str, Any], **other: Any) -> dict[str, Any]:
    """Return a timeline event with these cues."""
    return {"type": "timeline", "take": "7a4e", "parent": None, "cues": list(cues), "to_come": [], **other}


def _framed(name: str) -> str:
    """Frame a page as Gradio does: with a title, in a main landmark, with its style sheets."""
    base, styles = next((base, styles) for _, page, base, styles in PAGES if page == name)
    sheets = "".join(f'<link rel="stylesheet" href="{base}page/{sheet}.css">' for sheet in (*STYLES, *styles))
    mount = f'import {{ mount }} from "/page/{name}.js"; mount(document.querySelector(".longtake"));'
    viewport = '<meta name="viewport" content="width=device-width, initial-scale=1">'
    return (
        f'<!doctype html><html lang="en" class="dark"><meta charset="utf-8">{viewport}<title>{TITLES[name]}</title>'
        f'{sheets}<body class="dark"><main>{(PAGE / f"{name}.html").read_text(encoding="utf-8")}</main>'
        f'<script type="module">{mount}</script>'
    )


def _reading(prompt: str) -> dict[str, Any]:
    try:
        read = read_prompt(prompt, vocabulary(), "pocket")
    except PromptError as e:
        return {"understood": False, "why": str(e), "unknown": {}, "notes": []}
    return {"understood": True, "why": "", "unknown": read.unknown, "notes": read.notes}


def _attributes() -> dict[str, list[str]]:
    return {name: list(values) for name, values in ATTRIBUTES.items()}


def _film_of_a_face(path: Path) -> None:
    """Write a second of a face at rest."""
    face = drawn(GALLERY[FIRST])
    picture = np.frombuffer(face.pixels, np.uint8).reshape(face.height, face.width, 3)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height = face.width, face.height
        stream.pix_fmt = "yuv420p"
        for _ in range(25):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
