"""`/v1/videos` is obeyed as other servers obey it, by plain HTTP and by the `openai` package."""

from __future__ import annotations

import base64
import io
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import openai
import pytest
from fastapi.testclient import TestClient
from PIL import Image
from studio_app import client_of, studio
from tiny_server import serving_tiny_model

from app import services as services_module
from models.checkpoints.assemble import ASSETS
from streaming import background_renders
from streaming.render_process import Program
from streaming.take.take_file import parse

TOKEN = "correct-horse-battery-staple"
ALICE, BOB = "alice-key-0123456789", "bob-key-0123456789ab"
KEYS = f"alice:{ALICE} bob:{BOB}"
PROMPT = "a red ball bounces over the meadow by day"
GHOST = f"video_{'0' * 32}"
SAMPLE = ASSETS.parent / "app" / "page" / "media" / "sample.mp4"
# stands for a render that is done at once, but waits as long as a file `hold` lies in the folder above
RENDERS = f"""
import pathlib, shutil, sys, time
film = pathlib.Path(sys.argv[2])
while (film.parent.parent / "hold").exists():
    time.sleep(0.02)
shutil.copyfile({str(SAMPLE)!r}, film)
"""


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    def program(library: object, model: str, take: Path, film: Path) -> Program:
        return Program([sys.executable, "-c", RENDERS, str(take), str(film)], film.parent, {})

    monkeypatch.setattr(services_module, "render_program", program)


@pytest.fixture
def client(tmp_path: Path) -> Iterator[TestClient]:
    with client_of(studio(tmp_path, TOKEN=TOKEN, VIDEO_KEYS=KEYS)) as client:
        client.headers["authorization"] = f"Bearer {ALICE}"
        yield client


@pytest.fixture(scope="module")
def refusing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """Serve tests that order nothing in the end."""
    with client_of(studio(tmp_path_factory.mktemp("refusing"), TOKEN=TOKEN, VIDEO_KEYS=KEYS)) as client:
        client.headers["authorization"] = f"Bearer {ALICE}"
        yield client


def by(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


def completed(client: Any, name: str) -> dict[str, Any]:
    while (told := client.get(f"/v1/videos/{name}").json())["status"] in ("queued", "in_progress"):
        time.sleep(0.02)
    assert told["status"] == "completed", told
    return dict(told)


def picture(size: tuple[int, int] = (300, 200)) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", size, (200, 30, 30)).save(out, "JPEG")
    return out.getvalue()


@pytest.mark.parametrize("how", ["json", "form"])
def test_a_video_is_ordered_followed_downloaded_and_deleted(client: TestClient, how: str) -> None:
    order = {"prompt": PROMPT, "seconds": "2", "size": "128x128", "seed": "7"}
    sent = {"json": order} if how == "json" else {"files": {name: (None, value) for name, value in order.items()}}
    video = client.post("/v1/videos", **sent).json()
    assert (video["object"], video["model"], video["seconds"]) == ("video", "pocket", "2")
    assert (video["prompt"], video["size"], video["error"]) == (PROMPT, "128x128", None)
    told = completed(client, video["id"])
    assert (told["progress"], told["expires_at"] - told["completed_at"]) == (100, 7 * 24 * 3600)
    address = f"/v1/videos/{video['id']}/content"
    film = client.get(address)
    assert film.headers["content-type"] == "video/mp4"
    assert film.content == SAMPLE.read_bytes()
    with av.open(str(SAMPLE)) as container:
        width, height = container.streams.video[0].width, container.streams.video[0].height
    sizes = {"thumbnail": (width, height), "spritesheet": (8 * width, 4 * height)}
    for variant, size in sizes.items():
        got = client.get(address, params={"variant": variant})
        assert Image.open(io.BytesIO(got.content)).size == size
    assert client.delete(f"/v1/videos/{video['id']}").json() == {
        "id": video["id"],
        "object": "video.deleted",
        "deleted": True,
    }
    assert client.get(address).status_code == 404


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # the package warns of each of these methods
def test_the_openai_package_orders_polls_downloads_remixes_and_extends(tmp_path: Path) -> None:
    with serving_tiny_model(tmp_path, {"LONGTAKE_TOKEN": TOKEN}) as address:
        client = openai.OpenAI(api_key=TOKEN, base_url=f"{address}/v1", max_retries=0)
        video = client.videos.create_and_poll(
            prompt=PROMPT, model="pocket", seconds="4", size="128x128", extra_body={"seed": 7}
        )  # type: ignore[call-overload]
        assert (video.status, video.progress) == ("completed", 100)
        assert client.videos.download_content(video.id).read()[4:8] == b"ftyp"
        remix = client.videos.remix(video.id, prompt="a blue fish drifts over the sea")
        assert remix.remixed_from_video_id == video.id
        longer = client.videos.extend(
            prompt="it snows", seconds="4", video=openai.omit, extra_body={"video": {"id": video.id}}
        )
        assert float(longer.seconds) >= 8
        url = f"data:image/jpeg;base64,{base64.b64encode(picture()).decode()}"
        for reference in (("a.jpg", picture()), {"image_url": url}):
            extra = {"extra_body": {"input_reference": reference}} if isinstance(reference, dict) else {}
            given = {} if extra else {"input_reference": reference}
            assert client.videos.create(prompt=PROMPT, **given, **extra).status in ("queued", "in_progress")
        assert len(list(client.videos.list(limit=2))) == 5
        with pytest.raises(openai.NotFoundError) as unknown:
            client.videos.retrieve(GHOST)
        assert (unknown.value.code, unknown.value.param) == ("video_not_found", "video_id")
        assert client.videos.delete(remix.id).deleted
        with pytest.raises(openai.AuthenticationError):
            openai.OpenAI(api_key="wrong", base_url=f"{address}/v1", max_retries=0).videos.list()


def test_the_take_holds_what_was_ordered_and_remix_and_extension_change_only_what_they_say(
    client: TestClient, tmp_path: Path
) -> None:
    def take_of(name: str) -> Any:
        return parse((tmp_path / "videos" / f"{name}.yaml").read_text(), "t")

    order = {"prompt": (None, PROMPT), "seed": (None, "7"), "seconds": (None, "4")}
    first = client.post("/v1/videos", files={**order, "input_reference": ("a.jpg", picture())}).json()["id"]
    completed(client, first)
    take = take_of(first)
    assert (take.seed, take.cues[0].prompt, take.cues[0].start) == (7, PROMPT, f"{first}.png")
    assert Image.open(tmp_path / "videos" / f"{first}.png").size == (256, 256)
    remix = client.post(f"/v1/videos/{first}/remix", json={"prompt": "a blue fish drifts over the sea"}).json()
    assert (remix["remixed_from_video_id"], remix["seconds"]) == (first, "4")
    completed(client, remix["id"])
    (cue,) = take_of(remix["id"]).cues
    assert (cue.prompt, cue.start) == ("a blue fish drifts over the sea", f"{remix['id']}.png")
    longer = client.post(
        "/v1/videos/extensions", json={"prompt": "it snows", "seconds": 2, "video": {"id": first}}
    ).json()
    completed(client, longer["id"])
    last = take_of(longer["id"]).cues[-1]
    assert (last.prompt, last.at) == ("it snows", 18)  # 4 s are 16 latents, and whole chunks of 3 were drawn
    assert float(longer["seconds"]) == pytest.approx((1 + 4 * (18 + 8 - 1)) / 16)
    client.delete(f"/v1/videos/{first}")
    assert sorted({p.name.partition(".")[0] for p in (tmp_path / "videos").iterdir()}) == sorted(
        [remix["id"], longer["id"]]
    )


def test_a_whole_take_is_ordered_as_a_text(client: TestClient) -> None:
    text = f"seed: 3\nlength: 4s\ncues:\n- prompt: {PROMPT}\n- at: 2s\n  prompt: it snows\n  cut: true\n"
    video = client.post("/v1/videos", json={"take": text}).json()
    assert (video["prompt"], float(video["seconds"])) == (PROMPT, pytest.approx(61 / 16))


@pytest.mark.parametrize(
    ("order", "says", "param"),
    [
        ({}, "prompt: is missing", "prompt"),
        ({"prompt": ""}, "must not be empty", "prompt"),
        ({"prompt": "x" * 5000}, "too long", "prompt"),
        ({"prompt": "a\x00b"}, "control character", "prompt"),
        ({"prompt": ["a"]}, "valid string", "prompt"),
        ({"prompt": "a", "seconds": "0"}, "no number of seconds", "seconds"),
        ({"prompt": "a", "seconds": "nan"}, "no number of seconds", "seconds"),
        ({"prompt": "a", "seconds": "-4"}, "no number of seconds", "seconds"),
        ({"prompt": "a", "seconds": 1e9}, "no number of seconds", "seconds"),
        ({"prompt": "a", "seconds": "٤"}, "no number of seconds", "seconds"),
        ({"prompt": "a", "size": "130x128"}, "multiple", "size"),
        ({"prompt": "a", "size": "8192x8192"}, "too large", "size"),
        ({"prompt": "a", "size": "../.."}, "is not a size", "size"),
        ({"prompt": "a", "seed": True}, "where a number is needed", "seed"),
        ({"prompt": "a", "seed": -1}, "greater than or equal", "seed"),
        ({"prompt": "a", "model": "pocket-avatar"}, "speaks", "model"),
        ({"prompt": "a", "negative_prompt": "b"}, "negative_prompt: is not used here", "negative_prompt"),
        ({"prompt": "a", "input_reference": {"image_url": "http://127.0.0.1/x.png"}}, "data: URL", "input_reference"),
        ({"prompt": "a", "input_reference": {"file_id": "f"}}, "send the file itself", "input_reference"),
        ({"prompt": "a", "input_reference": {"image_url": "data:image/png;base64,AA=="}}, "not a", "input_reference"),
        ({"prompt": "a", "input_reference": {"image_url": "data:image/png;base64,!"}}, "no base", "input_reference"),
        ({"take": "cues: ["}, "take:", "take"),
        ({"take": "cues:\n- prompt: a", "seed": 3}, "says it already", "seed"),
        ({"take": "cues:\n- prompt: a\n  start: a.png"}, "names files", "take"),
        ({"take": "cues:\n- prompt: a\n  lora: ['/etc/passwd:1']"}, "names files", "take"),
        ({"take": "length: 24h\ncues:\n- prompt: a"}, "", "take"),
        ([], "no object", None),
    ],
)  # fmt: skip
def test_an_order_that_cannot_be_obeyed_is_refused_in_one_line(
    refusing: TestClient, order: Any, says: str, param: str | None
) -> None:
    got = refusing.post("/v1/videos", content=json.dumps(order), headers={"content-type": "application/json"})
    error = got.json()["error"]
    assert got.status_code == 400, error
    assert says in error["message"]
    assert "\n" not in error["message"]
    assert (error["type"], error["param"]) == ("invalid_request_error", param)
    assert refusing.get("/v1/videos").json()["data"] == []


def test_an_unknown_model_is_not_replaced_by_another(refusing: TestClient) -> None:
    got = refusing.post("/v1/videos", json={"prompt": "a", "model": "sora-2"})
    assert (got.status_code, got.json()["error"]["code"]) == (404, "model_not_found")


def test_a_key_neither_sees_nor_changes_the_videos_of_another_and_opens_nothing_else(
    client: TestClient, tmp_path: Path
) -> None:
    video = client.post("/v1/videos", json={"prompt": PROMPT}).json()["id"]
    completed(client, video)
    for key in (BOB, TOKEN):
        client.headers.update(by(key))
        answers = [
            client.get(f"/v1/videos/{video}"),
            client.get(f"/v1/videos/{video}/content"),
            client.delete(f"/v1/videos/{video}"),
            client.post(f"/v1/videos/{video}/remix", json={"prompt": "a"}),
            client.post("/v1/videos/extensions", json={"prompt": "a", "video": {"id": video}}),
        ]
        assert [answer.status_code for answer in answers] == [404] * 5
        assert client.get("/v1/videos").json()["data"] == []
        assert client.get("/v1/videos", params={"after": video}).status_code == 400
    client.headers.update(by(ALICE))
    assert client.get("/api/takes").status_code == 401
    assert client.get("/v1/videos/..%2f..%2fjobs/content").status_code == 404
    client.headers.update(by("wrong"))
    refused = client.get("/v1/videos")
    assert (refused.status_code, refused.json()["error"]["code"]) == (401, "invalid_api_key")


def test_a_key_has_a_quota_of_its_own(client: TestClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background_renders, "MOST_UNFINISHED", 2)
    monkeypatch.setattr(background_renders, "MOST_KEPT", 3)
    (tmp_path / "hold").touch()

    def order(key: str = ALICE) -> int:
        return client.post("/v1/videos", json={"prompt": PROMPT}, headers=by(key)).status_code

    assert [order(), order(), order(), order(BOB)] == [200, 200, 429, 200]
    running, _ = (video["id"] for video in client.get("/v1/videos", params={"order": "asc"}).json()["data"])
    early = client.get(f"/v1/videos/{running}/content")
    assert (early.status_code, early.json()["error"]["code"]) == (400, "video_not_ready")
    (tmp_path / "hold").unlink()
    for video in client.get("/v1/videos").json()["data"]:
        completed(client, video["id"])
    assert [order(), order()] == [200, 429]
    client.delete(f"/v1/videos/{running}")
    assert order() == 200
    assert len(list((tmp_path / "videos").glob("*.png"))) == 0


def test_videos_are_listed_in_pages(client: TestClient) -> None:
    names = [client.post("/v1/videos", json={"prompt": PROMPT}).json()["id"] for _ in range(3)]
    first = client.get("/v1/videos", params={"limit": 2}).json()
    assert ([v["id"] for v in first["data"]], first["has_more"]) == (names[:0:-1], True)
    rest = client.get("/v1/videos", params={"limit": 2, "after": first["last_id"]}).json()
    assert ([v["id"] for v in rest["data"]], rest["has_more"]) == (names[:1], False)
    assert client.get("/v1/videos", params={"limit": 0}).status_code == 400


def test_a_video_expires(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background_renders, "SWEEP_SECONDS", 0.02)
    monkeypatch.setattr(background_renders, "EXPIRY", 0.0)
    with client_of(studio(tmp_path, local=True), base="http://localhost") as client:
        video = client.post("/v1/videos", json={"prompt": PROMPT}).json()["id"]
        while client.get(f"/v1/videos/{video}").status_code == 200 or list((tmp_path / "videos").iterdir()):
            time.sleep(0.02)


@pytest.mark.parametrize("method", ["edits", "characters"])
def test_what_is_not_served_says_so(refusing: TestClient, method: str) -> None:
    got = refusing.post(f"/v1/videos/{method}", json={})
    assert (got.status_code, got.json()["error"]["type"]) == (501, "server_error")


def test_the_studios_renders_are_jobs_of_the_same_table(client: TestClient, tmp_path: Path) -> None:
    client.headers.update(by(TOKEN))
    session = client.post("/api/sessions", json={"prompt": PROMPT, "seed": 5}).json()
    while client.get(f"/api/sessions/{session['id']}").json()["latent"] < 1:
        time.sleep(0.02)
    client.delete(f"/api/sessions/{session['id']}", headers={"x-longtake-key": session["key"]})
    take = session["take"]
    assert client.post(f"/api/takes/{take}/render").status_code == 202
    told = completed(client, take)
    assert (told["id"], told["prompt"], told["expires_at"]) == (take, PROMPT, None)
    assert client.get(f"/api/takes/{take}/film").content == client.get(f"/v1/videos/{take}/content").content
