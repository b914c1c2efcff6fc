"""MIDI, gamepads and a tapped tempo play the studio; a set list keeps slots and bindings. No device is plugged in."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser_page import chromium, needs_chromium
from page_probe import latest, until, until_says
from playwright.sync_api import Browser, Page
from studio_browser import start, studio_page
from tiny_server import serving_tiny_model

pytestmark = needs_chromium
# a keyboard and a gamepad, as Chromium reports them; `midi` sends bytes, `pad` sets what is pressed
DEVICES = """
  const keyboard = { name: "Keys", state: "connected", onmidimessage: null };
  navigator.requestMIDIAccess = async () => ({ inputs: new Map([["1", keyboard]]), onstatechange: null });
  window.midi = (...bytes) => keyboard.onmidimessage({ data: new Uint8Array(bytes) });
  const gamepad = { id: "Pad", index: 0, buttons: [{ value: 0 }, { value: 0 }], axes: [0] };
  let plugged = false;
  navigator.getGamepads = () => [plugged ? gamepad : null];
  window.plug = () => {
    plugged = true;
    dispatchEvent(Object.assign(new Event("gamepadconnected"), { gamepad }));
  };
  window.pad = (button, value) => { gamepad.buttons[button] = { value }; };
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving_tiny_model(tmp_path_factory.mktemp("controllers"), pages=True) as address:
        yield address


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def page(server: str, browser: Browser) -> Iterator[Page]:
    with studio_page(browser, server) as page:
        page.evaluate(f"() => {{ {DEVICES} }}")
        page.click("[data-lt=controllers] summary")
        page.click("[data-lt=midi]")
        until_text(page, "[data-lt=controllers] [role=status]", "MIDI: Keys")
        yield page


def until_text(page: Page, selector: str, text: str) -> None:
    until(page, f"document.querySelector({json.dumps(selector)})?.textContent.includes({json.dumps(text)})")


def learn(page: Page, control: str, *bytes_: int) -> None:
    """Bind what the keyboard sends to a control."""
    page.click(f"[data-learn='{control}']")
    page.evaluate(f"midi({', '.join(map(str, bytes_))})")
    until(page, f"document.querySelector(`[data-learn='{control}']`).textContent == 'Learn'")


def newest_prompt(page: Page, text: str) -> None:
    until(page, f"probe.latest('timeline')?.cues.at(-1)?.prompt == {json.dumps(text)}", 30)


def test_a_learned_key_plays_a_slot_and_is_known_after_a_reload(page: Page) -> None:
    slot = page.get_attribute("[data-slot='3'] button", "title")
    start(page)
    learn(page, "slot 3", 0x90, 36, 100)
    page.evaluate("midi(0x80, 36, 0)")
    assert "one" not in (slot or "")
    page.evaluate("midi(0x90, 36, 1)")
    newest_prompt(page, str(slot))
    page.evaluate("midi(0x90, 36, 0)")  # a note that is let go
    assert page.evaluate("JSON.parse(localStorage.getItem('longtake.bindings'))") == {"midi 1 note 36": "slot 3"}
    page.reload()
    until_text(page, "[data-lt=controllers] .bindings", "midi 1 note 36")
    page.wait_for_selector("[data-lt=end]", state="visible")  # the session goes on by itself; only then it can be ended


def test_a_gamepad_presses_pause_once_for_each_press(page: Page) -> None:
    start(page)
    until(page, "probe.latest('status')?.phase == 'live'", 30)
    page.evaluate("plug()")
    page.click("[data-learn=pause]")
    page.evaluate("pad(1, 1)")
    until_text(page, "[data-lt=controllers] .bindings", "pad 0 button 1")
    assert latest(page, "status")["phase"] == "live"  # what was learned is not obeyed at once
    page.evaluate("pad(1, 0)")
    page.evaluate("new Promise(requestAnimationFrame).then(() => new Promise(requestAnimationFrame))")
    page.evaluate("pad(1, 1)")
    until(page, "probe.latest('status')?.phase == 'paused'", 30)


def test_a_fader_moves_the_strength_and_is_forgotten_on_request(page: Page) -> None:
    learn(page, "strength", 0xB0, 7, 127)
    page.evaluate("for (let i = 0; i <= 40; i++) midi(0xb0, 7, i)")
    slider = "document.querySelector('[data-lt=strength]')"
    place = f"({slider}.valueAsNumber - {slider}.min) / ({slider}.max - {slider}.min)"
    until(page, f"Math.abs({place} - 40 / 127) < 0.05")
    page.click("li:has([data-learn=strength]) button:text('Forget')")
    assert page.evaluate("localStorage.getItem('longtake.bindings')") == "{}"


def test_a_tapped_tempo_holds_a_prompt_back_to_the_border_nearest_to_a_beat(page: Page) -> None:
    waits = page.evaluate("""async () => {
      const { Tempo } = await import("./page/tempo.js");
      const tempo = new Tempo();
      for (const at of [0, 500, 1000, 1500]) tempo.tap(at);
      const found = [tempo.bpm];
      tempo.on = true;
      found.push(tempo.wait);  // no border is known yet
      tempo.follow(2250, 750);  // 250 ms off a beat; the next one is on a beat
      found.push(tempo.wait, tempo.off);
      tempo.follow(2500, 750);
      found.push(tempo.wait);
      tempo.on = false;
      tempo.follow(2250, 750);
      found.push(tempo.wait);
      tempo.tap(9000);
      found.push(tempo.bpm);  // begun anew
      return found;
    }""")
    assert waits == [120, 0, 750, 0, 0, 0, 0]
    for _ in range(2):
        page.click("[data-lt=tap]")
    until(page, "document.querySelector('[data-lt=bpm]').textContent.includes('beats a minute')")


def test_a_set_list_comes_back_as_it_was_saved_and_another_file_is_refused(page: Page, tmp_path: Path) -> None:
    learn(page, "cut", 0xC0, 5)
    with page.expect_download() as download:
        page.click("[data-lt=savelist]")
    file = tmp_path / "friday.json"
    download.value.save_as(file)
    kept = json.loads(file.read_text())
    assert kept["bindings"] == {"midi 1 program 5": "cut"}
    kept["slots"][2] = {"text": "a large green cube sways over the sea", "picture": "https://example.org/x.png"}
    kept["bpm"] = 128
    file.write_text(json.dumps(kept))
    page.evaluate("localStorage.removeItem('longtake.bindings')")
    page.set_input_files("[data-lt=listfile]", file)
    until_text(page, "[data-lt=bpm]", "128.0 beats")
    assert page.get_attribute("[data-slot='2'] button", "title") == "a large green cube sways over the sea"
    assert page.locator("[data-slot='2'] img").count() == 0  # a picture from elsewhere is not loaded
    assert page.evaluate("JSON.parse(localStorage.getItem('longtake.bindings'))") == kept["bindings"]
    for text in ("{}", "[1]", "no list", '{"kind": "longtake set list", "slots": 3}'):
        (tmp_path / "other.json").write_text(text)
        page.set_input_files("[data-lt=listfile]", tmp_path / "other.json")
        until_says(page, "note", "other.json is no set list")


def test_the_output_window_shows_the_picture_alone(page: Page) -> None:
    start(page)
    with page.expect_popup() as popup:
        page.click("[data-lt=output]")
    output = popup.value
    output.wait_for_url("**/watch/**clean")
    until(output, "document.querySelector('video').videoWidth > 0", 30)
    output.close()
