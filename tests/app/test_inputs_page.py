"""Use the studio's controls with a tiny model, by pointer, keyboard and touch: inputs, LoRAs, emphasis, watch link."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from browser_page import chromium, needs_chromium
from films import film
from page_probe import end, latest, shared_link, until, until_says
from playwright.sync_api import Browser, Page, Route
from studio_browser import open_scene, opened, start, studio_page, until_latent, until_stage
from studio_server import ROOT
from test_loras import ink
from tiny_server import serving_tiny_model

from streaming.take.take_loras import OfferedLora

pytestmark = needs_chromium
FAKE = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")
NIGHT = ROOT / "app" / "page" / "media" / "scene-star.webp"  # a picture of the model's own world
DAY = "a large red ball bounces over the meadow by day"
NEWEST = "probe.latest('timeline').cues.at(-1)"
# drops a file of the given name, type and content (base64) on an element, as a browser reports it
DROP = """([selector, name, type, content]) => {
  const bytes = Uint8Array.from(atob(content), (c) => c.charCodeAt(0));
  const dataTransfer = new DataTransfer();
  dataTransfer.items.add(new File([bytes], name, { type }));
  for (const kind of ["dragover", "drop"]) {
    const event = new DragEvent(kind, { dataTransfer, bubbles: true, cancelable: true });
    document.querySelector(selector).dispatchEvent(event);
  }
}"""

# the timeline with prompts at latents 4, 5 and 12 of a model whose chunk is one latent, and what is asked for with it
PLANNED = """(() => {
  const [{ CuesToCome }, { Timeline }, { TimelineControl }] = modules;
  const timeline = new Timeline(document.body);
  Object.assign(timeline, { fps: 24, chunk: 1, firstChunk: 1, goesOn: true });
  timeline.status = { latent: 2, playhead: 4 };
  const cue = (id, at) => ({ id, at, prompt: `prompt ${id}`, blend: 1, cut: false });
  timeline.toCome = [cue(1, 4), cue(2, 5), cue(3, 12), cue(4, 12)];
  const told = [], sent = [];
  const note = { answer() {}, tell: (text) => told.push(text) };
  const client = { send: ({ replaces, at, text }) => sent.push([replaces, at, text]) };
  const dialog = document.querySelector("[data-lt=scene]");
  const cues = new CuesToCome(dialog, { timeline, client, note, typed: () => "new" });
  new TimelineControl(document.body, timeline, { planned: (act) => act(cues) });
  timeline.draw();
  return { timeline, told, sent, cues, dialog };
})()"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("inputs")
    offered = OfferedLora("ink.safetensors", ink(folder), 0.5)
    with serving_tiny_model(folder, pages=True, loras=[offered]) as address:
        yield address


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium(*FAKE) as browser:
        yield browser


@pytest.fixture
def page(server: str, browser: Browser) -> Iterator[Page]:
    with studio_page(browser, server) as page:
        yield page


def dropped(page: Page, selector: str, file: Path, kind: str) -> None:
    content = base64.b64encode(file.read_bytes()).decode()
    page.evaluate(DROP, [selector, file.name, kind, content])


def way(page: Page, name: str) -> None:
    """Choose what comes in: Text, Image, Film or Camera."""
    page.get_by_role("radio", name=name, exact=True).check(force=True)


def newest_cue(page: Page) -> dict[str, Any]:
    return dict(latest(page, "timeline")["cues"][-1])


def test_a_picture_that_is_dropped_on_the_stage_begins_a_scene_and_is_shown_small(page: Page, tmp_path: Path) -> None:
    start(page, DAY)
    until_latent(page, 6)
    dropped(page, "[data-lt=stage]", NIGHT, "image/webp")
    until(page, f"{NEWEST}.start?.endsWith('.files/scene-star.webp')")
    assert page.inner_text("[data-lt=input] b") == "scene-star.webp"
    assert page.evaluate("document.querySelector('[data-lt=input] img').naturalWidth") > 0
    until(page, "document.querySelector('[data-lt=blocks] > :last-child').textContent == 'From scene-star.webp'")
    page.screenshot(path=str(tmp_path / "picture.png"))
    page.reload()
    until(page, "document.querySelector('[data-lt=input] img')?.naturalWidth > 0")  # from the take's own files
    assert page.inner_text("[data-lt=input] b") == "scene-star.webp"


def test_a_file_that_is_chosen_before_the_start_waits_for_it(page: Page) -> None:
    way(page, "Image")
    page.set_input_files("[data-lt=input-file]", NIGHT)
    until_says(page, "input", "waits for Start")
    start(page, DAY)
    until(page, f"probe.latest('timeline') && {NEWEST}.start?.endsWith('.files/scene-star.webp')")
    page.click("[data-lt=input-again]")
    until(page, "probe.latest('timeline').cues.filter((cue) => cue.start).length == 2")


def test_a_film_is_followed_or_gone_on_from_and_let_go(page: Page, tmp_path: Path) -> None:
    film(tmp_path / "walk.mp4", frames=40, fps=16)
    start(page, DAY)
    until_latent(page, 6)
    way(page, "Film")
    page.set_input_files("[data-lt=input-file]", tmp_path / "walk.mp4")
    until(page, f"{NEWEST}.source?.endsWith('walk.mp4')")
    until_says(page, "input", "followed")
    assert newest_cue(page)["strength"] == 0.4  # the model's usual one
    slider = page.locator("[data-lt=strength]")
    assert [slider.get_attribute(name) for name in ("min", "max")] == ["0.3", "0.5"]
    slider.focus()
    page.keyboard.press("End")
    until(page, f"{NEWEST}.strength == 0.5")
    page.screenshot(path=str(tmp_path / "film.png"))
    page.get_by_role("radio", name="Go on from its end").check(force=True)
    until(page, f"{NEWEST}.start?.endsWith('walk.mp4')")
    assert any(cue.get("source") == "none" for cue in latest(page, "timeline")["cues"])
    until_says(page, "input", "began with it")
    page.get_by_role("radio", name="Follow it").check(force=True)
    until(page, f"{NEWEST}.source?.endsWith('walk.mp4')")
    page.click("[data-lt=input-stop]")
    until(page, f"{NEWEST}.source == 'none'")
    until(page, "document.querySelector('[data-lt=blocks] > :last-child').textContent == 'Follows nothing'")


def test_the_camera_is_followed_with_a_strength_and_a_part_until_it_is_turned_off(page: Page, tmp_path: Path) -> None:
    way(page, "Camera")
    start(page, DAY)
    until_latent(page, 6)
    page.click("[data-lt=input-camera]")
    until(page, f"{NEWEST}.source == 'camera' || {NEWEST}.source?.endsWith('.camera')", 30)
    until_says(page, "input", "followed")
    until(page, "document.querySelector('[data-lt=input] video').videoWidth > 0")
    until(page, "document.querySelector('[data-lt=blocks] > :last-child').textContent == 'Follows the camera'")

    page.click("[data-lt=region-draw]")
    box = page.locator("[data-lt=regions]").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 0.25 * box["width"], box["y"] + 0.25 * box["height"])
    page.mouse.down()
    page.mouse.move(box["x"] + 0.75 * box["width"], box["y"] + 0.75 * box["height"])
    page.mouse.up()
    until(page, f"{NEWEST}.region")
    parts = [float(part.strip(" %")) for part in newest_cue(page)["region"].split(",")]
    assert parts == pytest.approx([25, 25, 50, 50], abs=1)
    page.screenshot(path=str(tmp_path / "camera.png"))

    page.focus("[data-lt=region-left]")  # by keyboard
    page.keyboard.press("Control+a")
    page.keyboard.type("60")
    page.keyboard.press("Enter")
    until(page, f"{NEWEST}.region?.startsWith('60%')")
    assert newest_cue(page)["region"].split(",")[2].strip() == "40%"  # no wider than what is left of the picture
    page.click("[data-lt=region-all]")
    until(page, f"{NEWEST}.region == '0%, 0%, 100%, 100%'")
    assert page.is_hidden("[data-lt=regions]")
    page.click("[data-lt=input-camera]")
    until(page, f"{NEWEST}.source == 'none'")
    until(page, "!probe.latest('status').camera")
    assert page.is_hidden("[data-lt=input]")


def test_what_cannot_be_used_is_told_in_one_line(page: Page, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no picture")
    start(page, DAY)
    until_latent(page, 3)
    dropped(page, "[data-lt=inputs]", tmp_path / "notes.txt", "text/plain")
    until_says(page, "input-says", "notes.txt: no picture, film or LoRA")
    assert "\n" not in page.inner_text("[data-lt=input-says]")
    assert "bad" in str(page.get_attribute("[data-lt=input-says]", "class"))


def test_inputs_that_a_model_lacks_are_off_and_name_the_models_that_have_them(browser: Browser, server: str) -> None:
    def lacking(route: Route) -> None:
        models = route.fetch().json()
        models[0]["inputs"] = ["image"]
        route.fulfill(json=models)

    context = browser.new_context(viewport={"width": 1100, "height": 900})
    context.route("**/api/models", lacking)
    page = context.new_page()
    page.goto(server)
    page.wait_for_selector("[data-lt=input-help]")
    until_says(page, "input-help", "pocket takes no film; longlive-1.3b, self-forcing")
    assert page.get_by_role("radio", name="Film").is_disabled()
    assert page.get_by_role("radio", name="Camera").is_disabled()
    assert page.get_by_role("radio", name="Image").is_enabled()
    dropped(page, "[data-lt=inputs]", NIGHT, "video/mp4")
    until_says(page, "input-says", "pocket takes no film")
    context.close()


def test_on_a_phone_every_input_is_within_reach_of_a_finger(browser: Browser, server: str, tmp_path: Path) -> None:
    page = opened(browser, server, viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    start(page, DAY)
    until_latent(page, 3)
    page.tap(".views [data-view=tune]")
    page.get_by_role("radio", name="Camera").tap()
    page.tap("[data-lt=input-camera]")
    until_says(page, "input", "followed", 30)
    sizes = page.evaluate("""[...document.querySelectorAll("[data-lt=inputs] :is(button, input, label.drop)")]
      .filter((part) => part.offsetParent)
      .map((part) => (part.type == "radio" ? part.parentElement : part))
      .map((part) => [part.dataset.lt ?? part.textContent, part.offsetHeight])
      .filter(([, height]) => height < 44)""")
    assert sizes == []
    page.screenshot(path=str(tmp_path / "phone.png"))
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.tap("[data-lt=input-stop]")
    until(page, f"{NEWEST}.source == 'none'")
    end(page)


def test_a_past_scene_is_brought_back_from_its_dialog_and_stands_on_the_timeline(page: Page) -> None:
    start(page, DAY)
    until_latent(page, 9)
    page.fill("[data-lt=prompt]", "a large blue fish drifts left over the sea at night")
    page.press("[data-lt=prompt]", "Control+Enter")
    until(page, "probe.latest('timeline').cues.length == 2")
    until_latent(page, 21)
    open_scene(page, 0.1)
    page.click("[data-lt=scene-recall]")
    until(page, f"typeof {NEWEST}.recall == 'number'")
    until(page, "document.querySelector('[data-lt=blocks] > :last-child').textContent.startsWith('Back to 0:0')")
    until_says(page, "now", "a large red ball")
    assert json.dumps(newest_cue(page)["landed"]).isdigit()


def test_a_prompt_is_planned_moved_by_keys_and_drag_changed_and_lands_where_it_waits(page: Page) -> None:
    night, to_come = "a large blue fish drifts left over the sea at night", "probe.latest('timeline').to_come"
    start(page, DAY)
    until_latent(page, 6)
    page.click("[data-lt=pause]")  # so that the time to come stands still
    until_stage(page, "paused")
    page.wait_for_timeout(600)  # a chunk that was being drawn is told by the next status
    timeline = page.locator("[data-lt=timeline]")
    for text in (night, "to be taken back"):
        timeline.focus()
        for key in ("End", "ArrowRight", "ArrowRight", *(() if text == night else ("PageDown",)), "Enter"):
            page.keyboard.press(key)
        page.fill("[data-lt=cue-text]", text)
        page.click(".planned .go")
        until(page, f"{to_come}.some(({{ prompt }}) => prompt == '{text}')")
        until_says(page, "note", "waits for 0:")
    at = latest(page, "timeline")["to_come"][0]["at"]
    timeline.focus()
    for key in ("End", "ArrowRight", "ArrowRight"):
        page.keyboard.press(key)
    assert f"to come: {night}" in str(timeline.get_attribute("aria-valuetext"))
    page.keyboard.press("Alt+ArrowRight")
    until(page, f"{to_come}[0].at == {at + 3}")
    until_says(page, "note", "now waits for 0:")
    box = page.locator(".block[data-cue]").first.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 3, box["y"] + 5)
    page.mouse.down()
    page.mouse.move(box["x"] + 30, box["y"] + 5, steps=3)
    page.mouse.move(box["x"] + 60, box["y"] + 5, steps=3)
    page.mouse.up()
    until(page, f"{to_come}[0].at > {at + 3}")
    assert not page.is_visible("[data-lt=scene]")
    page.locator(".block[data-cue]").last.click()
    page.click("[data-lt=cue-gone]")
    until(page, f"{to_come}.length == 1")
    page.locator(".block[data-cue]").click()
    assert page.input_value("[data-lt=cue-text]") == night
    page.select_option("[data-lt=cue-how]", "cut")
    page.fill("[data-lt=cue-at]", str(round((4 * (at - 1) + 1) / latest(page, "hello")["fps"], 1)))
    page.click(".planned .go")
    until(page, f"{to_come}[0].cut && {to_come}[0].at == {at}")
    page.click("[data-lt=resume]")
    until(page, f"{NEWEST}.prompt == '{night}' && {to_come}.length == 0")
    assert (newest_cue(page)["landed"], newest_cue(page)["cut"]) == (at, True)
    page.wait_for_selector(".block[data-cue]", state="detached")


def test_a_planned_prompt_is_the_one_that_was_clicked_keeps_its_latent_and_takes_no_other_ones_place(
    page: Page,
) -> None:
    page.evaluate("""async () => {
      await (await import("/page/messages.js")).loadLaterMessages();
      const names = ["cues_to_come", "timeline", "timeline_control"];
      window.modules = await Promise.all(names.map((name) => import(`/page/${name}.js`)));
    }""")
    page.evaluate(f"window.planned = {PLANNED}")
    page.evaluate("document.querySelector('.block[data-cue=\"4\"]').click()")
    assert page.input_value("[data-lt=cue-text]") == "prompt 4"  # not that of 3, which is at the same latent
    page.click("[data-lt=cue-close]")
    page.evaluate("document.querySelector('.block[data-cue=\"1\"]').click()")
    assert page.input_value("[data-lt=cue-at]") == "0.5"  # it is 0.54 s, and 0.5 s belongs to latent 3
    page.fill("[data-lt=cue-text]", "changed")
    page.click(".planned .go")
    assert page.evaluate("planned.sent") == [[1, 4, "changed"]]
    page.evaluate("document.querySelector('.block[data-cue=\"2\"]').click()")
    page.fill("[data-lt=cue-at]", "0.6")
    page.click(".planned .go")
    why = page.eval_on_selector("[data-lt=cue-at]", "(field) => field.validationMessage")
    assert why.startswith("another prompt waits for 0:00.5 already")
    page.fill("[data-lt=cue-at]", "0.9")
    page.click(".planned .go")
    page.evaluate("planned.cues.move(planned.timeline.toCome[1], 4)")
    assert page.evaluate("planned.told")[0].startswith("another prompt waits for 0:00.5 already")
    page.focus("[data-lt=timeline]")
    page.keyboard.press("Alt+ArrowRight")  # over the one behind it
    assert page.evaluate("planned.sent.slice(1)") == [[2, 6, "prompt 2"], [1, 6, "prompt 1"]]
    page.evaluate("planned.cues.open(4)")
    page.click(".planned .go")  # a new one takes the next chunk that is free
    assert page.evaluate("planned.sent.at(-1)") == [None, 6, "new"]


def test_a_lora_is_turned_by_its_slider_and_another_one_is_added(page: Page, tmp_path: Path) -> None:
    start(page, DAY)
    until_latent(page, 3)
    slider = page.get_by_role("slider", name="ink.safetensors")
    assert slider.input_value() == "0.5"  # as the server was started with
    slider.focus()
    page.keyboard.press("ArrowRight")
    until(page, f"{NEWEST}.lora?.[0] == 'ink.safetensors:0.55'")
    (tmp_path / "own").mkdir()
    file = ink(tmp_path / "own", seed=1).rename(tmp_path / "wash.safetensors")
    page.set_input_files("[data-lt=lora-file]", file)
    until(page, f"{NEWEST}.lora?.[0].endsWith('.files/wash.safetensors:1')")
    own = page.get_by_role("slider", name="wash.safetensors")
    assert own.input_value() == "1"
    own.focus()
    page.keyboard.press("Home")
    until(page, f"{NEWEST}.lora?.[0].endsWith('.files/wash.safetensors:-2')")
    assert slider.input_value() == "0.55"
    switch = page.get_by_role("switch", name="ink.safetensors")
    assert switch.is_checked()
    page.keyboard.press("Shift+Tab")  # to the switch of the second one
    page.keyboard.press("Space")
    until(page, f"{NEWEST}.lora?.[0].endsWith('.files/wash.safetensors:0')")
    switch.click()
    until(page, f"{NEWEST}.lora?.[0] == 'ink.safetensors:0'")
    switch.click()  # it comes back as strong as it was
    until(page, f"{NEWEST}.lora?.[0] == 'ink.safetensors:0.55'")


def test_selected_words_are_given_more_or_less_emphasis_by_keys_and_buttons(page: Page) -> None:
    field = page.locator("[data-lt=prompt]")

    def emphasised(text: str, start: int, end: int, *keys: str) -> str:
        field.fill(text)
        field.evaluate("(field, [start, end]) => field.setSelectionRange(start, end)", [start, end])
        for key in keys:
            field.press(key)
        return str(field.input_value())

    text = "a large red ball"
    assert emphasised(text, 8, 11, "Control+ArrowUp", "Control+ArrowUp") == "a large (red:1.2) ball"
    assert emphasised(text, 8, 12, "Control+ArrowDown") == "a large (red:0.9) ball"  # without the space
    assert emphasised(text, 9, 9, "Control+ArrowUp") == "a large (red:1.1) ball"  # the word at the caret
    assert emphasised("a (red ball:1.1)", 4, 4, "Control+ArrowDown") == "a red ball"
    assert emphasised("a (red:2)", 3, 6, "Control+ArrowUp") == "a (red:2)"  # the most there is
    assert emphasised("a (red:1.2) (blue:1.4) ball", 0, 20, "Control+ArrowUp") == "a (red:1.2) (blue:1.4) ball"
    assert emphasised(text, 8, 11) == text
    page.get_by_role("button", name="More of the selected words").click()
    page.get_by_role("button", name="More of the selected words").click()
    assert field.input_value() == "a large (red:1.2) ball"
    page.get_by_role("button", name="Less of the selected words").click()
    assert field.input_value() == "a large (red:1.1) ball"
    field.press("Control+z")
    assert field.input_value() == "a large (red:1.2) ball"
    name = """(known) => import("/page/scene_labels.js").then((m) => m.sceneLabel("a (red:1.2) ball", known))"""
    assert (
        page.evaluate(name, {"subject": ["ball"], "colour": ["red"]}) == "Red ball"
    )  # the signs are no part of a scene's name


def test_the_watch_link_is_shown_as_a_qr_code_of_its_address_until_it_is_revoked(page: Page) -> None:
    start(page, DAY)
    until_latent(page, 3)
    page.hover("[data-lt=stage]")
    address = shared_link(page)
    until(page, "document.querySelector('[data-lt=qr] img').naturalWidth > 0")
    picture = np.frombuffer(page.locator("[data-lt=qr] img").screenshot(), np.uint8)
    read, *_ = cv2.QRCodeDetector().detectAndDecode(cv2.imdecode(picture, cv2.IMREAD_GRAYSCALE))
    assert read == address
    page.click("[data-lt=revoke]")
    page.wait_for_selector("[data-lt=qr]", state="hidden")
