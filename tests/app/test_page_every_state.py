"""Bring each page into each of its states, wide and on a phone, dark and light: axe-core finds no fault in any.

The events of the session are sent by the test, so that a state takes a second. `-m long`; with LONGTAKE_PHOTOS=FOLDER a
picture of each state is kept.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from browser_page import AUDIBLE, chromium, needs_chromium
from page_faults import PHONE, WIDE, axe_script, faults, needs_npm
from page_probe import until, until_says
from pages_alone import PagesAlone, connect, hear, hello, status, timeline
from playwright.sync_api import Browser, Page
from studio_browser import open_scene, until_stage

pytestmark = [needs_chromium, needs_npm, pytest.mark.long]
FAKE = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")
CUES = (
    {"landed": 0, "prompt": "a large red ball circles in the middle over the meadow by day"},
    {"landed": 39, "prompt": "a large white rocket drifts right over the sea at sunset", "blend": 4},
    {"landed": 81, "prompt": "a large yellow star sways in the middle in the city at night", "cut": True},
)
NIGHT = "a large yellow star sways in the city at night in the snow"
TAKE: dict[str, Any] = {
    "id": "7a4e", "seconds": 63.2, "sound": False, "prompts": ["a large red ball over the sea"], "name": "",
    "parent": None, "parent_seconds": None, "picture": False, "changed": 1.79e9, "state": "ended", "recordings": [],
    "render": None,
}  # fmt: skip
Enter = Callable[[Page, PagesAlone], None]


def nothing(page: Page, alone: PagesAlone) -> None:
    """Leave a page as it is opened."""


def starting(page: Page, alone: PagesAlone) -> None:
    alone.begin = None
    page.click("[data-lt=start]")
    until_stage(page, "starting")


def busy(page: Page, alone: PagesAlone) -> None:
    alone.begin = 503, {"error": {"message": "another take is live on this device", "ticket": "t", "place": 2}}
    page.click("[data-lt=start]")
    until_stage(page, "busy")


def failed(page: Page, alone: PagesAlone) -> None:
    alone.begin = 507, {"error": "pocket needs 84 MB of memory, and 12 MB are free: end another session first"}
    page.click("[data-lt=start]")
    until_stage(page, "failed")
    until_says(page, "status", "84 MB")


def live(page: Page, alone: PagesAlone) -> None:
    page.click("[data-lt=start]")
    connect(page, hello(), timeline(*CUES), status())
    until_stage(page, "live")
    page.wait_for_function("document.querySelectorAll('.block').length == 3")
    page.hover("[data-lt=stage]")


def unknown_words(page: Page, alone: PagesAlone) -> None:
    live(page, alone)
    page.fill("[data-lt=prompt]", "a large red dragon sways over the sea at sunset")
    page.get_by_role("button", name="dragon fish").wait_for()


def refused(page: Page, alone: PagesAlone) -> None:
    live(page, alone)
    page.fill("[data-lt=prompt]", NIGHT)
    page.click("[data-lt=send]")
    page.evaluate("line.hear({ type: 'refused', id: line.sent.at(-1).id, why: 'the device ran out of memory' })")
    until_says(page, "note", "out of memory")


def details(page: Page, alone: PagesAlone) -> None:
    refused(page, alone)
    page.click("[data-lt=details]")
    page.get_by_role("dialog", name="What is known of it").wait_for()


def branches(page: Page, alone: PagesAlone) -> None:
    other = {**TAKE, "id": "2", "parent": "1@30", "parent_seconds": 7.3, "seconds": 24.0}
    own = {**TAKE, "parent": "1@60", "parent_seconds": 14.8, "state": "live"}
    alone.takes = [own, other, {**TAKE, "id": "1", "name": "Night city", "seconds": 21.0}]
    live(page, alone)
    view(page, "time")
    page.locator("[data-lt=lines] button").first.wait_for()


def figures(page: Page, alone: PagesAlone) -> None:
    live(page, alone)
    until_says(page, "line", "16 fps")
    page.click("[data-lt=telemetry] summary")
    until_says(page, "figures", "Prompt to screen")


def too_slow(page: Page, alone: PagesAlone) -> None:
    live(page, alone)
    hear(page, status(generated_fps=9.5, buffer_ms=0))
    until_says(page, "word", "too slow here: 9.5 of 16 fps")


def recording(page: Page, alone: PagesAlone) -> None:
    live(page, alone)
    hear(page, {"type": "recording", "id": None, "on": True, "why": ""}, status(recorded_s=7.4))
    until_says(page, "recordword", "7")


def paused(page: Page, alone: PagesAlone) -> None:
    live(page, alone)
    hear(page, {"type": "phase", "phase": "paused", "why": ""}, status(phase="paused"))
    until_stage(page, "paused")
    page.fill("[data-lt=prompt]", NIGHT)
    page.click("[data-lt=send]")
    until_says(page, "status", "Next: a large yellow star")


def reconnecting(page: Page, alone: PagesAlone) -> None:
    live(page, alone)
    page.wait_for_timeout(600)  # the newest frame is copied twice a second
    page.evaluate("line.lose()")
    until_stage(page, "reconnecting")


def catching(page: Page, alone: PagesAlone) -> None:
    live(page, alone)
    hear(page, status(latent=100, playhead=0, catching_up=160))
    until_stage(page, "catching")


def ended(page: Page, alone: PagesAlone) -> None:
    live(page, alone)
    page.click("[data-lt=end]")
    until_stage(page, "ended")


def camera(page: Page, alone: PagesAlone) -> None:
    live(page, alone)
    view(page, "tune")
    page.get_by_role("radio", name="Camera", exact=True).check(force=True)
    page.click("[data-lt=input-camera]")
    hear(page, timeline(*CUES, {"landed": 117, "source": "camera", "strength": 0.6}))
    until(page, "document.querySelector('[data-lt=input] video')?.videoWidth > 0")


def scene(page: Page, alone: PagesAlone) -> None:
    live(page, alone)
    view(page, "time")
    open_scene(page, 0.2)
    page.wait_for_selector("[data-lt=scene-recall]")


def planned(page: Page, alone: PagesAlone) -> None:
    live(page, alone)
    view(page, "time")
    hear(page, timeline(*CUES, to_come=[{"id": 3, "prompt": NIGHT, "at": 150, "blend": 1, "cut": False}]))
    page.locator(".block[data-cue]").click()
    page.wait_for_selector("[data-lt=cue-text]")


def shared(page: Page, alone: PagesAlone) -> None:
    live(page, alone)
    page.click("[data-lt=share]")
    page.locator("[data-lt=qr] img").wait_for()


def slot_menu(page: Page, alone: PagesAlone) -> None:
    page.locator("[data-slot='2'] .play").click(button="right")
    page.wait_for_selector(".pad .menu")


def takes(page: Page, alone: PagesAlone) -> None:
    render = {"state": "rendering", "film": False, "chunks": 40, "done": 10, "why": None}
    done = {**TAKE, "id": "2", "name": "Night city", "render": {"state": "done", "film": True}}
    cut_off = {**TAKE, "id": "3", "state": "cut off", "parent": "2@40", "parent_seconds": 9.8, "recordings": [1]}
    alone.takes = [{**TAKE, "render": render}, done, cut_off]
    view(page, "takes")
    until_says(page, "list", "25 %")
    render["done"] = 16  # from the second look on, what is left can be told
    page.get_by_text(re.compile(r"40 % · rendering · \d+:\d\d left")).wait_for()
    page.locator(".take button[aria-expanded]").nth(1).click()
    page.wait_for_selector(".take .menu")


def tune(page: Page, alone: PagesAlone) -> None:
    view(page, "tune")
    for summary in page.locator(".panel summary").all():
        summary.click()
    page.wait_for_selector("[data-lt=savelist]")


def help_sheet(page: Page, alone: PagesAlone) -> None:
    page.click("[data-lt=help]")
    page.wait_for_selector("[data-lt=sheet]", state="visible")


def view(page: Page, name: str) -> None:
    """Show a view of a phone, or the panel or the unfolded timeline of a wide window."""
    if page.is_visible(".views"):
        page.click(f".views [data-view={name}]")
    elif name == "time":
        page.click("[data-lt=fold]")
    else:
        page.click(f"[data-lt={name}tab]")


STUDIO: dict[str, Enter] = {
    "first": nothing, "starting": starting, "busy": busy, "failed": failed, "live": live, "unknown": unknown_words,
    "refused": refused, "details": details, "branches": branches, "figures": figures, "slow": too_slow,
    "recording": recording, "paused": paused,
    "reconnecting": reconnecting, "catching": catching, "ended": ended, "camera": camera, "scene": scene,
    "planned": planned, "shared": shared, "slot": slot_menu, "takes": takes, "tune": tune, "help": help_sheet,
}  # fmt: skip


def talking(page: Page, *events: dict[str, Any]) -> None:
    """Begin a conversation with an avatar, whose first events these are."""
    page.click("[data-lt=start]")
    connect(page, hello(model="pocket-avatar", fps=25, sound=True), status(state="idle", barge_in="stop"), *events)


def idle(page: Page, alone: PagesAlone) -> None:
    talking(page)
    until_says(page, "state", "idle")


def listening(page: Page, alone: PagesAlone) -> None:
    talking(page, {"type": "avatar", "state": "listening"})
    until_says(page, "state", "listening")


def speaking(page: Page, alone: PagesAlone) -> None:
    talking(page)
    page.fill("[data-lt=text]", "Good evening. Did you see the moon?")
    page.click("[data-lt=say]")
    until_says(page, "log", "Did you see")
    caption = {"type": "caption", "utterance": "u1", "text": "Good evening. Did you see the moon?", "seconds": 0}
    meters = {"type": "meters", "sync": 0.81, "lag_ms": 20, "identity": 0.93}
    hear(page, {"type": "avatar", "state": "speaking"}, caption, meters)
    until_says(page, "caption", "moon")


def interrupted(page: Page, alone: PagesAlone) -> None:
    speaking(page, alone)
    heard = [{"utterance": "u1", "sample": 1, "seconds": 1.2, "text": "Good evening."}]
    hear(page, {"type": "interrupted", "frame": 9, "epoch": 1, "why": "somebody speaks", "heard": heard})
    until_says(page, "log", "interrupted after 1.2 s")


def slow_avatar(page: Page, alone: PagesAlone) -> None:
    talking(page, {"type": "slow", "slow": True})
    until_says(page, "state", "too slow here")


def lost_avatar(page: Page, alone: PagesAlone) -> None:
    idle(page, alone)
    page.evaluate("line.lose()")
    until_says(page, "status", "reconnecting")


def over(page: Page, alone: PagesAlone) -> None:
    idle(page, alone)
    page.click("[data-lt=end]")
    until_says(page, "state", "ended")


def other_face(page: Page, alone: PagesAlone) -> None:
    idle(page, alone)
    page.click("[data-lt=facetab]")
    page.get_by_role("radio", name="bo").click()
    until_says(page, "toast", "Bo can speak after a new start")


def dialogue(page: Page, alone: PagesAlone) -> None:
    page.click("[data-lt=add]")
    page.wait_for_selector("[data-lt=cast] li >> nth=1")


AVATAR: dict[str, Enter] = {
    "before": nothing, "idle": idle, "listening": listening, "speaking": speaking, "interrupted": interrupted,
    "slow": slow_avatar, "reconnecting": lost_avatar, "over": over, "another": other_face, "dialogue": dialogue,
}  # fmt: skip


def watched(page: Page, alone: PagesAlone) -> None:
    connect(page, hello(controls=False), timeline(*CUES), status())
    until_says(page, "word", "Live")


def watched_paused(page: Page, alone: PagesAlone) -> None:
    watched(page, alone)
    hear(page, {"type": "phase", "phase": "paused", "why": ""})
    until_says(page, "word", "Paused")


def watched_lost(page: Page, alone: PagesAlone) -> None:
    watched(page, alone)
    page.wait_for_timeout(600)  # the newest frame is copied twice a second
    page.evaluate("line.lose()")
    until_says(page, "word", "Reconnecting")


def watched_over(page: Page, alone: PagesAlone) -> None:
    watched(page, alone)
    hear(page, {"type": "phase", "phase": "ended", "why": "the link was revoked"})
    until_says(page, "word", "Ended")


WATCH: dict[str, Enter] = {
    "connecting": nothing, "live": watched, "paused": watched_paused, "reconnecting": watched_lost,
    "ended": watched_over,
}  # fmt: skip
PAGES = {
    "login": ("login", {"login": nothing}),
    "opening": ("opening", {"opening": nothing}),
    "studio": ("", STUDIO),
    "avatar": ("avatar/", AVATAR),
    "watch": ("watch/abc", WATCH),
}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium(AUDIBLE, *FAKE) as browser:
        yield browser


@pytest.fixture(scope="module")
def axe() -> str:
    return axe_script()


@pytest.mark.parametrize("window", [WIDE, PHONE], ids=["wide", "phone"])
@pytest.mark.parametrize(("name", "state"), [(name, state) for name, (_, all_) in PAGES.items() for state in all_])
def test_a_state_has_no_fault_in_either_theme(
    browser: Browser, axe: str, tmp_path: Path, window: dict[str, int], name: str, state: str
) -> None:
    alone = PagesAlone(tmp_path)
    path, states = PAGES[name]
    # without motion, so that no colour is on its way to another theme when it is checked
    with browser.new_context(viewport=window, reduced_motion="reduce") as context:  # type: ignore[arg-type]
        page = context.new_page()
        thrown: list[str] = []
        page.on("pageerror", lambda e: thrown.append(str(e)))
        alone.open(page, path)
        states[state](page, alone)
        assert faults(page, axe, f"{name}-{state}") == {}
        assert thrown == []
