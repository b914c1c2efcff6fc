"""Use the pages in a browser without a server: what keys reach, what is announced, and how much work is done."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser_page import AUDIBLE, chromium, needs_chromium
from page_faults import PHONE, WIDE
from page_probe import until, until_says
from pages_alone import ADDRESS, POCKET, SESSION, PagesAlone, connect, hear, hello, status, timeline
from playwright.sync_api import Browser, Page
from studio_browser import until_stage

pytestmark = needs_chromium
DAY = "a large red ball circles in the middle over the meadow by day"
TAKE: dict[str, Any] = {
    "id": "7a4e", "seconds": 63.2, "sound": False, "prompts": [DAY], "name": "", "parent": None, "parent_seconds": None,
    "picture": False, "changed": 1.79e9, "state": "ended", "recordings": [], "render": None,
}  # fmt: skip


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium(AUDIBLE) as browser:
        yield browser


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("alone")


@pytest.fixture
def alone(folder: Path) -> PagesAlone:
    return PagesAlone(folder)


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """Yield a window without a page; what the scripts of its pages throw fails the test."""
    with browser.new_context(viewport=WIDE, reduced_motion="reduce") as context:  # type: ignore[arg-type]
        page = context.new_page()
        thrown: list[str] = []
        page.on("pageerror", lambda e: thrown.append(str(e)))
        yield page
        assert thrown == []


@pytest.fixture
def studio(page: Page, alone: PagesAlone) -> Page:
    """Yield the studio before a take."""
    alone.open(page)
    return page


def start(page: Page) -> None:
    """Begin a take that is live."""
    page.click("[data-lt=start]")
    connect(page, hello(), timeline({"landed": 0, "prompt": DAY}), status())
    until_stage(page, "live")


# what is in sight and can be pressed, typed into or moved; one of a group of radios or tabs: arrows move between them
REACHABLE = """() => {
  const all = [...document.querySelectorAll(
    ".longtake :is(button, a[href], input, select, textarea, summary, [role=slider])")];
  return all.filter((one) => one.checkVisibility() && !one.disabled && !one.closest(".dots, [inert]")
    && !(one.type === "radio" && !one.checked) && !(one.role === "tab" && one.ariaSelected === "false"))
    .map((one) => one.dataset.reach = String(all.indexOf(one)));
}"""
# what Tab has led to, its slot, and whether it can be seen: an ancestor that is shown on hover only would hide it
FOCUSED = """() => {
  const one = document.activeElement;
  const shown = one.closest("label") ?? one; // of a radio or a file the label is drawn
  return [one.dataset.reach ?? one.tagName, one.closest(".pad")?.dataset.slot ?? "",
    shown.checkVisibility({ opacityProperty: true, visibilityProperty: true })];
}"""


def test_tab_alone_reaches_everything_in_sight_and_a_slot_costs_one_stop(studio: Page) -> None:
    start(studio)
    to_reach = set(studio.evaluate(REACHABLE))
    assert len(to_reach) > 30
    studio.evaluate("document.activeElement.blur()")
    stops: list[tuple[str, str, bool]] = []
    for _ in range(2 * len(to_reach)):
        studio.keyboard.press("Tab")
        stop = tuple(studio.evaluate(FOCUSED))
        if stop in stops:
            break
        stops.append(stop)
    assert to_reach <= {name for name, _, _ in stops}
    assert [slot for _, slot, _ in stops if slot] == [str(slot) for slot in range(1, 10)]
    assert [name for name, _, seen in stops if not seen and name != "BODY"] == []
    studio.locator("[data-slot='2'] .play").focus()
    studio.keyboard.press("Shift+F10")  # as the context menu key does
    studio.evaluate("document.activeElement.dispatchEvent(new MouseEvent('contextmenu', { bubbles: true }))")
    assert studio.evaluate("document.activeElement.closest('.menu') !== null")
    studio.locator("[data-lt=theme]").focus()
    studio.keyboard.press("Enter")
    assert not studio.evaluate("document.body.classList.contains('dark')")


def test_a_click_anywhere_on_a_prompt_to_come_opens_it(studio: Page) -> None:
    start(studio)
    to_come = {"id": 3, "prompt": "the sea at night", "at": 150, "blend": 1, "cut": False}
    hear(studio, timeline({"landed": 0, "prompt": DAY}, to_come=[to_come]))
    studio.locator(".block[data-cue]").click()  # its middle is several chunks behind its latent
    assert studio.input_value("[data-lt=cue-text]") == "the sea at night"


def test_a_landing_is_announced_where_a_screen_reader_listens(studio: Page) -> None:
    start(studio)
    assert studio.get_attribute("[data-lt=note]", "role") == "status"
    studio.fill("[data-lt=prompt]", "a large blue fish drifts left over the sea at night")
    studio.press("[data-lt=prompt]", "Enter")
    command = studio.evaluate("line.sent.findLast(({ type }) => type === 'prompt')")
    hear(studio, {"type": "accepted", "id": command["id"]})
    until_says(studio, "note", "accepted")
    hear(studio, {"type": "live", "id": command["id"], "latent": 123, "frame": 489})
    until_says(studio, "note", "lands at 0:30.6")


def test_figures_of_a_new_connection_are_never_negative_and_count_prompts_that_moved_pictures_alone(
    studio: Page,
) -> None:
    played, waits, words = studio.evaluate("""async () => {
      await (await import("/page/messages.js")).loadLaterMessages();
      const names = ["stream_measures", "command_times", "figures"];
      const all = await Promise.all(names.map((name) => import(`/page/${name}.js`)));
      const [{ StreamMeasures }, { CommandTimes }, { waitWords }] = all;
      const measures = new StreamMeasures(), rates = [];
      const counts = [[0, 0, 0], [1000, 16, 9000], [1500, 2, 100], [2500, 18, 9100], [3500, 34, 18100]];
      for (const [now, frames, bytes] of counts) rates.push(measures.add({ now, frames, bytes, roundTrip: 1 }));
      const times = new CommandTimes();
      times.begin(1, "seed", true); // a reroll
      times.begin(2, "prompt", false); // while it stands still
      times.begin(3, "prompt", true);
      const shown = [times.shown(1), times.shown(2), times.shown(3)];
      times.begin(4, "prompt", true);
      times.interrupt();
      return [rates, [...shown, times.shown(4)].map((at) => at !== null), waitWords([1200])];
    }""")
    assert [(rate["playedFps"], rate["kbits"]) for rate in played if rate] == [(16, 72), (16, 72), (16, 72)]
    assert waits == [False, False, True, False]
    assert words[1] == "newest of 1"  # no slowest one in twenty of one


def test_another_model_that_is_chosen_while_live_draws_the_next_take_or_a_new_one_at_once(
    page: Page, alone: PagesAlone
) -> None:
    alone.models = [POCKET, {**POCKET, "name": "causal", "understands": {}, "size": "256x256"}]
    alone.open(page)
    start(page)
    page.select_option("[data-lt=model]", "causal")
    until_says(page, "toast", "causal draws the next take; this one stays with pocket.")
    assert page.inner_text(".block") == "Red ball, meadow"  # the take goes on and keeps its names
    page.get_by_role("button", name="New take now").click()
    page.wait_for_function("document.querySelector('.longtake').dataset.state == 'starting'")
    assert [begun["model"] for begun in alone.begun] == ["pocket", "causal"]


def test_a_film_is_had_larger_and_a_model_tells_where_it_was_measured_and_what_is_its_own(
    page: Page, alone: PagesAlone
) -> None:
    alone.takes = [{**TAKE, "render": {"state": "done", "film": True}}]
    alone.open(page)
    facts = page.inner_text("[data-lt=facts]")
    assert "84 MB of memory of its own" in facts
    assert "made 55 fps here (serve, 2 cores)" in facts
    page.click("[data-lt=takestab]")
    assert page.get_by_role("link", name="Film ready: download it").get_attribute("href") == "api/takes/7a4e/film"
    page.get_by_role("button", name="Download").click()
    for scale in (2, 4):
        film = page.get_by_role("link", name=f"Film {scale}x")
        assert film.get_attribute("href") == f"api/takes/7a4e/film/{scale}x"


def test_time_left_of_a_render_is_told_anew_after_a_restart_of_the_server(page: Page, alone: PagesAlone) -> None:
    render = {"state": "rendering", "film": False, "chunks": 40, "done": 10, "why": None}
    alone.takes = [{**TAKE, "render": render}]
    page.clock.install()
    alone.open(page)
    page.clock.pause_at("2030-01-01")
    page.click("[data-lt=takestab]")
    until_says(page, "list", "25 % · rendering")

    def after(seconds: int, done: int, text: str) -> None:
        for second in range(seconds):
            if second == seconds - 1:
                render["done"] = done
            with page.expect_response("**/api/takes"):
                page.clock.run_for(1000)
        until_says(page, "list", text)

    after(10, 20, "50 % · rendering · 0:20 left")
    page.route(ADDRESS + "api/takes", lambda route: route.fulfill(status=503, json={"error": "starting"}))
    after(20, 20, "50 %")
    page.unroute(ADDRESS + "api/takes")
    after(1, 22, "55 % · rendering")
    after(2, 24, "60 % · rendering · 0:16 left")  # a chunk a second, as if it had not been away


def sent(page: Page) -> dict[str, Any]:
    """Return the newest prompt that the page sent."""
    return dict(page.evaluate("line.sent.findLast(({ type }) => type === 'prompt')"))


def refuse(page: Page) -> None:
    hear(page, {"type": "refused", "id": sent(page)["id"], "why": "the device ran out of memory"})


def test_a_refused_prompt_is_tried_again_as_it_was_or_with_a_cut_and_all_that_is_known_is_told(studio: Page) -> None:
    start(studio)
    studio.fill("[data-lt=prompt]", "a large blue fish over the sea")
    studio.press("[data-lt=prompt]", "Shift+Enter")  # a blend
    first = sent(studio)
    assert not studio.is_visible("[data-lt=again]")
    refuse(studio)
    until_says(studio, "note", "the device ran out of memory. The picture goes on as it was.")
    studio.click("[data-lt=details]")
    dialog = studio.get_by_role("dialog", name="What is known of it")
    for known in ("the device ran out of memory", "a large blue fish over the sea", "pocket", "7a4e", "Chrome"):
        dialog.get_by_text(known, exact=False).first.wait_for()
    dialog.get_by_role("button", name="Close").click()
    studio.click("[data-lt=again]")
    again = sent(studio)
    assert again["id"] != first["id"]
    assert {**again, "id": 0} == {**first, "id": 0}
    assert first["blend"] > 1
    assert not studio.is_visible("[data-lt=again]")  # it is on its way
    refuse(studio)
    studio.click("[data-lt=instead]")
    assert sent(studio)["cut"] is True
    assert sent(studio)["text"] == first["text"]


def test_a_start_that_failed_is_tried_again_and_tells_the_status(page: Page, alone: PagesAlone) -> None:
    alone.begin = 507, {"error": "pocket needs 84 MB of memory, and 12 MB are free"}
    alone.open(page)
    page.click("[data-lt=start]")
    until_stage(page, "failed")
    page.click("[data-lt=why]")
    page.get_by_role("dialog").get_by_text("507").wait_for()
    page.keyboard.press("Escape")
    alone.begin = 201, SESSION
    page.get_by_role("button", name="Try again").click()
    connect(page, hello(), timeline({"landed": 0, "prompt": DAY}), status())
    until_stage(page, "live")
    assert [begun["prompt"] for begun in alone.begun] == [DAY, DAY]


def test_a_picture_that_stands_still_is_called_held_and_what_is_sent_meanwhile_waits(studio: Page) -> None:
    start(studio)
    assert studio.inner_text("[data-lt=nowword]") == "Now"
    hear(studio, {"type": "phase", "phase": "paused", "why": ""})
    until_says(studio, "nowword", "Held")
    hear(studio, {"type": "phase", "phase": "live", "why": ""})
    until_says(studio, "nowword", "Now")
    studio.evaluate("line.lose()")
    until_says(studio, "nowword", "Held")
    until_says(studio, "hint", "waits, and lands when the picture is back")
    studio.click("[data-lt=end]")
    until_says(studio, "hint", "A new prompt continues this take.")


def test_a_prompt_that_was_not_answered_is_sent_once_more_over_the_next_connection(studio: Page) -> None:
    start(studio)
    prompts = "line.sent.filter(({ type }) => type === 'prompt').map(({ id, text }) => [id, text])"
    for text in ("a large blue ball bounces", "a small red ball bounces"):
        studio.fill("[data-lt=prompt]", text)
        studio.press("[data-lt=prompt]", "Enter")
    (first, _), (second, lost) = studio.evaluate(prompts)
    hear(studio, {"type": "accepted", "id": first})
    studio.evaluate("line.lose()")
    connect(studio, hello(), timeline({"landed": 0, "prompt": DAY}), status())
    assert studio.evaluate(prompts)[2:] == [[second, lost]]
    hear(studio, {"type": "accepted", "id": second})
    studio.evaluate("line.lose()")
    connect(studio, hello(), timeline({"landed": 0, "prompt": DAY}), status())
    assert len(studio.evaluate(prompts)) == 3


def test_a_slot_is_renamed_from_its_menu_and_known_by_that_name_after_a_reload(studio: Page) -> None:
    card = studio.locator("[data-slot='2']")
    card.locator(".play").click(button="right")
    card.get_by_role("button", name="Rename", exact=True).click()
    card.get_by_role("textbox", name="Name of slot 2").fill("Lift off")
    studio.keyboard.press("Enter")
    card.get_by_text("Lift off").wait_for()
    studio.reload()
    card.get_by_text("Lift off").wait_for()
    assert "rocket" in str(card.locator(".play").get_attribute("title"))  # its prompt is the same


def test_the_number_of_takes_stands_on_their_tab_and_follows_them(page: Page, alone: PagesAlone) -> None:
    alone.takes = [{**TAKE, "id": str(n)} for n in range(6)]
    alone.open(page)
    until_says(page, "takecount", "6")
    assert page.get_by_role("tab", name="Takes 6").is_visible()
    alone.takes = alone.takes[:4]
    page.click("[data-lt=takestab]")
    until_says(page, "takecount", "4")


def test_a_key_leaves_the_picture_and_the_prompt_alone_and_brings_the_rest_back(studio: Page) -> None:
    start(studio)
    for shown in (False, True):
        studio.evaluate("document.activeElement.blur()")
        studio.keyboard.press("t")
        assert [studio.is_visible(f"[data-lt={name}]") for name in ("slots", "deck", "tune")] == 3 * [shown]
        assert studio.is_visible("[data-lt=prompt]")
        assert studio.get_attribute("[data-lt=plain]", "aria-pressed") == str(not shown).lower()


def test_lines_of_a_family_lie_side_by_side_as_long_as_they_are_and_another_one_goes_on(
    page: Page, alone: PagesAlone
) -> None:
    first = {**TAKE, "id": "a", "name": "Monday", "seconds": 15.0}
    other = {**TAKE, "id": "c", "seconds": 12.0, "parent": "a@30", "parent_seconds": 7.3}
    own = {**TAKE, "parent": "a@60", "parent_seconds": 14.8, "state": "live"}
    alone.takes = [own, other, first, {**TAKE, "id": "stranger"}]
    alone.open(page)
    page.click("[data-lt=start]")
    connect(page, hello(), timeline({"landed": 0, "prompt": DAY}, parent="a@60"), status(latent=120))
    until_stage(page, "live")
    page.click("[data-lt=fold]")
    lines = page.locator("[data-lt=lines]")
    lines.locator(".tag").nth(2).wait_for()
    assert lines.locator(".tag").all_inner_texts() == ["A · 0:15", "B", "C · 0:12"]
    whole = 1.12 * 30  # seconds of the width: a take that goes on has room behind it
    shares = page.evaluate("""[...document.querySelectorAll("[data-lt=lines] path")].map((path) => {
      const svg = path.closest("svg").getBoundingClientRect(), line = path.getBoundingClientRect();
      return [line.left - svg.left, line.right - svg.left].map((x) => x / svg.width);
    })""")
    seconds = [[whole * end for end in line] for line in shares]
    assert seconds == [pytest.approx(line, abs=0.5) for line in ([0, 15], [14.8, 30], [7.3, 12])]
    with page.expect_request("**/api/takes/a/continue"):
        lines.get_by_role("button", name="Monday").click()
    until_says(page, "toast", "A goes on from its end.")
    with page.expect_request("**/api/takes/7a4e/continue"):
        page.get_by_role("button", name="Back to B").click()


def test_a_part_that_cannot_be_had_is_told_once_if_nobody_asked_for_it(studio: Page) -> None:
    told = studio.evaluate("""async () => {
      const { Later, once } = await import("/page/later.js");
      let told = 0;
      const part = new Later(() => Promise.reject(new Error("gone")), once(() => told++));
      for (let i = 0; i < 3; i++) await part.use(() => {});
      return told;
    }""")
    assert told == 1


@pytest.mark.parametrize("window", [WIDE, PHONE], ids=["wide", "phone"])
def test_an_avatar_shows_its_face_before_the_start_all_its_features_and_how_to_change_it_while_live(
    page: Page, alone: PagesAlone, window: dict[str, int]
) -> None:
    page.set_viewport_size(window)  # type: ignore[arg-type]
    alone.open(page, "avatar/")
    until(page, "document.querySelector('[data-lt=chosen]').naturalWidth > 0")
    assert page.is_visible("[data-lt=chosen]")
    features = page.locator("[data-lt=designer] select")
    assert features.count() == 11
    for feature in features.all():
        feature.scroll_into_view_if_needed()
        assert feature.is_visible()
    page.get_by_text("a photograph is redrawn and changes within seconds").wait_for()
    page.click("[data-lt=start]")
    connect(page, hello(model="pocket-avatar", fps=25, sound=True), status(state="idle"))
    page.click("[data-lt=facetab]")
    page.get_by_role("radio", name="bo").click()
    until_says(page, "toast", "Bo can speak after a new start")
    page.get_by_role("button", name="Start anew as Bo").click()
    page.wait_for_timeout(0)
    until(page, "document.querySelector('[data-lt=chosen]').src.endsWith('api/faces/bo')")
    assert alone.begun[-1]["face"] == "bo"


# the timeline of an hour with 720 cues, as the page feeds it; `added` are the blocks that were drawn meanwhile
HOUR = """(() => {
  const [{ Timeline }, { TimelineControl }] = modules;
  const root = document.querySelector(".longtake").cloneNode(true); // the page's own timeline draws on what it was of
  document.querySelector(".longtake").replaceWith(root);
  const timeline = new Timeline(root);
  const control = new TimelineControl(root, timeline, {});
  const cues = Array.from({ length: 720 }, (_, i) => ({ landed: 20 * i, prompt: `scene ${i}` }));
  const event = (count) => ({ type: "timeline", take: "hour", parent: null, cues: cues.slice(0, count) });
  const status = (latent) => ({ latent, playhead: latent - 6, oldest: 0 });
  const blocks = document.querySelector("[data-lt=blocks]"), added = [];
  new MutationObserver((all) => added.push(...all.flatMap((one) => [...one.addedNodes]))).observe(blocks, {
    childList: true,
  });
  timeline.status = status(14400);
  timeline.follow(event(719));
  control.drawList();
  return { timeline, control, event, status, blocks, added };
})()"""


def test_a_scene_in_the_list_of_a_phone_has_its_picture_once_it_was_seen(studio: Page) -> None:
    studio.evaluate("""async () => {
      const names = ["timeline", "timeline_control"];
      window.modules = await Promise.all(names.map((name) => import(`/page/${name}.js`)));
    }""")
    studio.evaluate(f"window.hour = {HOUR}")
    studio.evaluate("""() => {
      const { timeline, control, status } = hour, seen = document.createElement("canvas");
      seen.width = seen.height = 56;
      const pen = seen.getContext("2d");
      pen.fillStyle = "red";
      pen.fillRect(0, 0, 56, 56);
      timeline.status = status(14366);
      control.draw();
      timeline.film.pictures.set(14366, seen); // soon after scene 718 has come
      control.draw();
    }""")
    reds = studio.evaluate("""[...document.querySelectorAll("[data-lt=cues] canvas")].slice(0, 3).map(
      (picture) => picture.getContext("2d").getImageData(28, 28, 1, 1).data[0])""")
    assert reds == [255, 0, 0]


def test_an_hour_of_cues_is_drawn_no_finer_than_it_is_seen_and_only_where_it_is_seen(studio: Page) -> None:
    studio.evaluate("""async () => {
      const names = ["timeline", "timeline_control"];
      window.modules = await Promise.all(names.map((name) => import(`/page/${name}.js`)));
    }""")
    studio.evaluate(f"window.hour = {HOUR}")
    count, ends = studio.evaluate("""() => {
      const { blocks } = hour, all = [...blocks.children].map((block) => block.getBoundingClientRect());
      return [all.length, [all[0].left, all.at(-1).right].map((x) => x - blocks.getBoundingClientRect().left)];
    }""")
    width = studio.evaluate("hour.blocks.clientWidth")
    assert count <= width / 6 + 1
    assert ends == pytest.approx([0, width], abs=1)
    studio.evaluate("""async () => {
      hour.added.length = 0;
      hour.timeline.status = hour.status(14401); // a step that nobody can see
      hour.timeline.draw();
      await new Promise(requestAnimationFrame);
    }""")
    assert studio.evaluate("hour.added.length") == 0
    assert studio.evaluate("Number.parseFloat(hour.timeline.head.style.left)") == pytest.approx(100 * 14395 / 14401)
    rows = "document.querySelectorAll('[data-lt=cues] > li')"
    studio.evaluate(f"window.before = new Set({rows})")
    studio.evaluate("hour.timeline.follow(hour.event(720)); hour.control.drawList()")
    assert studio.evaluate(f"[[...{rows}].length, [...{rows}].filter((row) => !before.has(row)).length]") == [720, 1]
    studio.evaluate("""async () => {
      hour.timeline.zoom(16);
      hour.timeline.reel.scrollLeft = hour.timeline.reel.scrollWidth / 2;
      await new Promise(requestAnimationFrame);
      await new Promise(requestAnimationFrame);
    }""")
    box = studio.locator("[data-lt=reel]").bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] - 14
    studio.mouse.move(x, y)
    under = studio.evaluate("([x, y]) => document.elementFromPoint(x, y).textContent", [x, y])
    assert re.fullmatch(r"3[78]\d", under)
    assert studio.inner_text("[data-lt=hover]").endswith(under)
    assert studio.evaluate("hour.blocks.children.length") < 200
