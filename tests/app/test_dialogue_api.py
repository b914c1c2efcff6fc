"""Command a live dialogue over HTTP, the socket of its sound, and the page of an avatar."""

from __future__ import annotations

import io
import itertools
import json
import shutil
import unicodedata
import wave
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
import yaml
from avatar_browser import avatar_page, start
from avatar_client import begin, tone, wav
from browser_page import AUDIBLE, chromium, needs_chromium
from page_probe import until, until_says
from studio_server import serving
from websockets.sync.client import connect

needs_espeak = pytest.mark.skipif(
    shutil.which("espeak-ng") is None, reason="needs espeak-ng: apt-get install espeak-ng"
)
SPEAKERS = [{"name": "Ada"}, {"name": "Guest", "face": "hair=curly"}]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(tmp_path_factory.mktemp("dialogue"), "--tiny", program="avatar_server.py") as (address, _):
        yield address


def test_two_faces_speak_over_http_and_the_socket_and_their_take_holds_what_was_heard(server: str) -> None:
    session = begin(server, speakers=SPEAKERS)
    url, key = f"{server}/api/sessions/{session['id']}", {"x-longtake-key": session["key"]}
    with connect(f"{url}/audio".replace("http", "ws"), additional_headers=key) as socket:
        socket.send(json.dumps({"type": "start", "utterance": "g", "rate": 16000, "speaker": "guest"}))
        socket.send(wav(tone(0.6))[44:])
        socket.send(json.dumps({"type": "text", "text": "And I am a guest."}))
        socket.send(json.dumps({"type": "commit"}))
        got = httpx.post(f"{url}/audio?speaker=Ada&utterance=a", content=wav(tone(0.5)), headers=key)
        assert got.status_code == 202, got.text
        ended: list[tuple[str, str]] = []
        while len(ended) < 2:
            event = json.loads(socket.recv(timeout=20))
            if event["type"] == "utterance.ended":
                ended.append((event["speaker"], event["utterance"]))
    assert ended == [("Guest", "g"), ("Ada", "a")]
    got = httpx.post(f"{url}/audio?speaker=bo", content=wav(tone(0.1)), headers=key)
    assert (got.status_code, got.json()["error"]) == (404, "no speaker is called 'bo'; there are Ada, Guest")
    httpx.delete(url, headers=key)
    take = yaml.safe_load(httpx.get(f"{server}/api/takes/{session['take']}").text)
    assert [speaker["name"] for speaker in take["speakers"]] == ["Ada", "Guest"]
    with wave.open(io.BytesIO(httpx.get(f"{server}/api/takes/{session['take']}/sound").content)) as file:
        heard = np.frombuffer(file.readframes(file.getnframes()), np.int16)
    assert np.count_nonzero(heard) == pytest.approx(1.1 * file.getframerate(), rel=0.05)


def test_a_speaker_is_found_however_the_accents_of_the_name_were_typed(server: str) -> None:
    typed = {form: unicodedata.normalize(form, "Jörg") for form in ("NFC", "NFD")}
    assert typed["NFC"] != typed["NFD"]
    twice = [{"name": typed[form], "face": "ada"} for form in typed]
    refused = httpx.post(f"{server}/api/sessions", json={"model": "pocket-avatar", "speakers": twice})
    assert (refused.status_code, "is named twice" in refused.json()["error"]) == (400, True), refused.text
    session = begin(server, speakers=[{"name": typed["NFD"], "face": "ada"}, {"name": "कविता", "face": "bo"}])
    url, key = f"{server}/api/sessions/{session['id']}", {"x-longtake-key": session["key"]}
    for name in (*typed.values(), "कविता"):
        got = httpx.post(f"{url}/audio", params={"speaker": name}, content=wav(tone(0.1)), headers=key)
        assert got.status_code == 202, got.text
    httpx.delete(url, headers=key)


@needs_espeak
def test_a_text_is_said_by_the_speaker_that_its_request_names(server: str) -> None:
    session = begin(server, speakers=SPEAKERS)
    url, key = f"{server}/api/sessions/{session['id']}", {"x-longtake-key": session["key"]}
    with connect(f"{url}/audio".replace("http", "ws"), additional_headers=key) as socket:
        evening, hello = {"speaker": "guest", "text": "Good evening."}, {"text": "Hello.", "pause": 0.5}
        for said in (evening | {"queue": "replace"}, hello):
            got = httpx.post(f"{url}/say", json=said, headers=key, timeout=30)
            assert got.status_code == 202, got.text
        captions: list[tuple[str, str]] = []
        while len(captions) < 2:
            event = json.loads(socket.recv(timeout=20))
            if event["type"] == "caption":
                captions.append((event["speaker"], event["text"]))
    assert captions == [("Guest", "Good evening."), ("Ada", "Hello.")]
    got = httpx.post(f"{url}/say", json={"speaker": "bo", "text": "Hello."}, headers=key)
    assert (got.status_code, got.json()["error"]) == (404, "no speaker is called 'bo'; there are Ada, Guest")
    httpx.delete(url, headers=key)


CAPTIONS = "probe.events.filter(({ type }) => type == 'caption').map(({ speaker, text }) => [speaker, text])"
RECORD_STATES = """() => {
  const state = document.querySelector('[data-lt=state]');
  window.states = [];
  new MutationObserver(() => states.push(state.textContent)).observe(state, { childList: true });
}"""


@needs_chromium
@needs_espeak
def test_two_faces_of_the_page_say_a_pasted_dialogue_in_turn(server: str) -> None:
    with chromium(AUDIBLE) as browser, avatar_page(browser, server) as page:
        page.click("[data-lt=add]")
        page.fill("[data-lt=cast] li:nth-child(2) input", "Bob")
        page.click("[data-lt=faces] button[title=cem]")
        until_says(page, "start", "Start with Ada and Bob")
        with page.expect_request("**/api/sessions") as asked:
            start(page)
        speakers = [{"name": "Ada", "face": "ada"}, {"name": "Bob", "face": "cem"}]
        assert {"speakers": speakers, "layout": "side"}.items() <= json.loads(asked.value.post_data or "{}").items()
        assert page.evaluate("(({ videoWidth: w, videoHeight: h }) => w == 2 * h)(document.querySelector('video'))")
        page.evaluate(RECORD_STATES)
        page.fill("[data-lt=text]", "ada: Good evening.\n# a pause\n\nzed: Who is it?")
        page.press("[data-lt=text]", "Enter")
        until_says(page, "note", "line 4, “zed: Who is it?”, names no speaker; begin it with one of Ada, Bob")
        page.fill("[data-lt=text]", "ada: Good evening.\nBOB: Hello, Ada.")
        page.press("[data-lt=text]", "Enter")
        until_says(page, "caption", "Ada: Good evening.")
        until_says(page, "caption", "Bob: Hello, Ada.")
        page.select_option("[data-lt=speaker]", "Bob")
        page.fill("[data-lt=text]", "Note: it is late.")
        page.press("[data-lt=text]", "Enter")
        until(page, f"{CAPTIONS}.length == 3")
        until_says(page, "state", "idle")
        assert page.evaluate(CAPTIONS) == [
            ["Ada", "Good evening."],
            ["Bob", "Hello, Ada."],
            ["Bob", "Note: it is late."],
        ]
        assert {"Ada: speaking", "Bob: speaking"} <= set(page.evaluate("states"))
        assert page.text_content("[data-lt=caption]") == ""
        spoken = page.locator("[data-lt=log] .by").all_text_contents()
        assert [by.split(" · ")[0] for by in spoken] == ["Ada", "Bob", "Bob"]


# notes, whenever the page shows a frame, which speaker its caption names and the reddest and greenest of the picture
WATCH = """() => {
  const video = document.querySelector("video"), copy = document.createElement("canvas");
  const pen = copy.getContext("2d", { willReadFrequently: true });
  window.seen = [];
  const look = () => {
    pen.drawImage(video, 0, 0, 1, 1);
    const [red, green] = pen.getImageData(0, 0, 1, 1).data;
    const state = document.querySelector("[data-lt=state]").textContent;
    seen.push([state, red > green ? 0 : 1, video.videoWidth / video.videoHeight]);
    video.requestVideoFrameCallback(look);
  };
  video.requestVideoFrameCallback(look);
}"""


@needs_chromium
@needs_espeak
def test_the_picture_in_the_browser_is_of_the_speaker_at_each_turn_where_the_film_cuts(tmp_path: Path) -> None:
    with (
        serving(tmp_path, program="coloured_faces_server.py") as (address, _),
        chromium(AUDIBLE) as browser,
        avatar_page(browser, address) as page,
    ):
        page.click("[data-lt=add]")
        page.check("[data-lt=layouts] input[value=cut]", force=True)
        start(page)
        first, second = page.locator("[data-lt=speaker] option").all_text_contents()
        page.evaluate(WATCH)
        said = "This is said at some length, so that it lasts."
        page.fill("[data-lt=text]", f"{second}: {said}\n{first}: {said}\n{second}: {said}")
        page.press("[data-lt=text]", "Enter")
        until(page, f"{CAPTIONS}.length == 3")
        until_says(page, "state", "idle")
        seen = page.evaluate("seen")
    shown = [face for _, face, _ in seen]
    turns = [face for face, group in itertools.groupby(shown) if len(list(group)) > 2]
    assert turns == [0, 1, 0, 1]  # the first one until somebody speaks
    assert {shape for _, _, shape in seen} == {1}
    for number, name in enumerate((first, second)):
        faces = [face for state, face, _ in seen if state == f"{name}: speaking"]
        assert faces.count(number) > 0.7 * len(faces)  # a turn is told up to half a second before it is heard


@needs_chromium
@needs_espeak
def test_one_speaker_of_the_page_is_interrupted_and_the_others_turn_goes_on_after_its_pause(server: str) -> None:
    with chromium(AUDIBLE) as browser, avatar_page(browser, server) as page:
        page.click("[data-lt=add]")
        page.check("[data-lt=layouts] input[value=cut]", force=True)
        with page.expect_request("**/api/sessions") as asked:
            start(page)
        assert json.loads(asked.value.post_data or "{}")["layout"] == "cut"
        assert page.evaluate("(({ videoWidth: w, videoHeight: h }) => w == h)(document.querySelector('video'))")
        first, second = page.locator("[data-lt=speaker] option").all_text_contents()
        for text, why in (
            (f"{first}: Hello.\npause 1s", "line 2: a pause stands before a turn"),
            (f"pause 1s\npause 1s\n{first}: Hello.", "line 2: a pause stands before a turn"),
            (f"pause 61s\n{first}: Hello.", "line 1: write pause 1s, pause 1.5s or pause 500ms, up to 60 s"),
        ):
            page.fill("[data-lt=text]", text)
            page.press("[data-lt=text]", "Enter")
            until_says(page, "note", why)
        long = "This is a long sentence that goes on and on, " * 3
        said: list[dict[str, object]] = []
        page.on("request", lambda r: said.append(json.loads(r.post_data or "{}")) if r.url.endswith("/say") else None)
        page.fill("[data-lt=text]", f"{first}: {long}.\npause 500ms\n{second}: Hello.\n{first}: Never said.")
        page.press("[data-lt=text]", "Enter")
        until(page, "document.querySelectorAll('[data-lt=log] li').length == 3")
        until_says(page, "state", f"{first}: speaking")
        page.click(f"[data-lt=hush] button:text-is('{first}')")
        until_says(page, "caption", f"{second}: Hello.")
        until_says(page, "state", "idle")
        assert [(turn["speaker"], turn.get("pause")) for turn in said] == [(first, None), (second, 0.5), (first, None)]
        marks = [row.count("interrupted after") for row in page.locator("[data-lt=log] li").all_text_contents()]
        assert marks == [1, 0, 1]


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ({"speakers": SPEAKERS[:1]}, "speakers"),
        ({"speakers": SPEAKERS, "face": "ada"}, "face and portrait are of one avatar"),
        ({"speakers": [{"name": "Ada"}, {"name": "ada"}]}, "ada is named twice"),
        ({"speakers": [{"name": "Nobody"}, {"name": "ada"}]}, "nobody"),
        ({"layout": "cut"}, "layout"),
    ],
)
def test_a_dialogue_that_cannot_be_is_refused_in_one_line(server: str, asked: dict[str, object], why: str) -> None:
    got = httpx.post(f"{server}/api/sessions", json={"model": "pocket-avatar", **asked})
    assert got.status_code in (400, 404, 422)
    assert why in got.json()["error"]
    assert "\n" not in got.json()["error"]


@needs_espeak
def test_a_pause_that_nothing_stands_before_is_refused_in_one_line(server: str) -> None:
    for asked, said, why in (
        ({"speakers": SPEAKERS}, {"pause": 61}, "pause"),
        ({"speakers": SPEAKERS}, {"pause": 1, "queue": "replace"}, "leave out its pause"),
        ({"face": "ada"}, {"pause": 1}, "this avatar is alone"),
    ):
        session = begin(server, **asked)
        url, key = f"{server}/api/sessions/{session['id']}", {"x-longtake-key": session["key"]}
        got = httpx.post(f"{url}/say", json={"text": "Hello.", **said}, headers=key)
        assert got.status_code in (400, 422)
        assert why in got.json()["error"]
        httpx.delete(url, headers=key)
