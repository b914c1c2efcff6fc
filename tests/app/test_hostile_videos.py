"""Hostile orders, names and fields of `/v1/videos` are answered in one line, and leave nothing behind."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from studio_app import client_of, studio

KEY = "alice-key-0123456789"
GHOST = f"video_{'0' * 32}"
FORM = "multipart/form-data; boundary=x"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("hostile")


@pytest.fixture(scope="module")
def client(folder: Path) -> Iterator[TestClient]:
    with client_of(studio(folder, TOKEN="correct-horse", VIDEO_KEYS=f"alice:{KEY}")) as client:
        client.headers["authorization"] = f"Bearer {KEY}"
        yield client


def part(name: str, value: str, more: str = "") -> str:
    return f'--x\r\ncontent-disposition: form-data; name="{name}"{more}\r\n\r\n{value}\r\n'


def form(*parts: str) -> tuple[str, str]:
    return FORM, "".join(parts) + "--x--\r\n"


def body(value: Any) -> tuple[str, str]:
    return "application/json", json.dumps(value)


PROMPT = part("prompt", "a red ball")
FILE = '; filename="a.png"'
ORDERS = {
    "no JSON": ("application/json", "{"),
    "deep JSON": ("application/json", "[" * 100_000),
    "a number": body(7),
    "no UTF-8": ("application/json", b'{"prompt": "\xff"}'),
    "half a character": body({"prompt": "a \ud800 ball"}),
    "a field with a line break": body({"prompt": "a", "b\nc\x1b[2J": 1}),
    "a field without end": body({"prompt": "a", "x" * 50_000: 1}),
    "a model with a line break": body({"prompt": "a", "model": "po\ncket"}),
    "a model in a folder": body({"prompt": "a", "model": "../../pocket"}),
    "a size with a line break": body({"prompt": "a", "size": "64x\n64"}),
    "a size of other digits": body({"prompt": "a", "size": "６４x６４"}),
    "seconds without end": body({"prompt": "a", "seconds": "9" * 5000}),
    "seconds beyond every float": body({"prompt": "a", "seconds": 10**400}),
    "an infinite number": ("application/json", '{"prompt": "a", "seconds": Infinity}'),
    "a seed beyond 64 bits": body({"prompt": "a", "seed": 2**70}),
    "a seed of a list": body({"prompt": "a", "seed": [1]}),
    "a reference to a file here": body({"prompt": "a", "input_reference": {"image_url": "file:///etc/passwd"}}),
    "a reference of another kind": body({"prompt": "a", "input_reference": "a.png"}),
    "references to both": body({"prompt": "a", "input_reference": {"image_url": "data:,", "file_id": "f"}}),
    "a take with an alias bomb": body({"take": "a: &a [1]\nb: &b [*a, *a]\ncues: [*b, *b]"}),
    "a take of another tag": body({"take": "!!python/object/apply:os.system ['true']"}),
    "an empty take": body({"take": ""}),
    "a form without parts": (FORM, ""),
    "a form without end": (FORM, PROMPT),
    "a form of another boundary": ("multipart/form-data; boundary=y", PROMPT),
    "a form without boundary": ("multipart/form-data", PROMPT),
    "a field twice": form(PROMPT, PROMPT),
    "a field of a field twice": form(PROMPT, part("input_reference[a]", "1"), part("input_reference[a]", "2")),
    "a field and its field": form(PROMPT, part("prompt[a]", "1")),
    "a prompt as a file": form(part("prompt", "a", FILE)),
    "a file that is no picture": form(PROMPT, part("input_reference", "GIF", FILE)),
    "a file under a name with a line": form(PROMPT, part("a%0D%0Ab", "1", FILE)),
    "two files": form(PROMPT, *[part("input_reference", "a", FILE)] * 2),
    "many fields": form(PROMPT, *[part(f"f{n}", "1") for n in range(500)]),
}
OTHERS = {
    "a name in a folder": ("GET", "/v1/videos/..%2f..%2fjobs.sqlite", None),
    "a name with a zero": ("GET", "/v1/videos/video_%00", None),
    "a name without end": ("GET", f"/v1/videos/{'a' * 5000}", None),
    "a ghost": ("DELETE", f"/v1/videos/{GHOST}", None),
    "the film of a ghost": ("GET", f"/v1/videos/{GHOST}/content", None),
    "another variant": ("GET", f"/v1/videos/{GHOST}/content?variant=../film", None),
    "another order": ("GET", "/v1/videos?order=sideways", None),
    "too many": ("GET", "/v1/videos?limit=101", None),
    "after a ghost": ("GET", f"/v1/videos?after={GHOST}", None),
    "after something long": ("GET", f"/v1/videos?after={'a' * 5000}", None),
    "a remix of a ghost": ("POST", f"/v1/videos/{GHOST}/remix", body({"prompt": "a"})),
    "a remix without prompt": ("POST", f"/v1/videos/{GHOST}/remix", body({})),
    "a remix with more": ("POST", f"/v1/videos/{GHOST}/remix", body({"prompt": "a", "seed": 1})),
    "an extension of a ghost": ("POST", "/v1/videos/extensions", body({"prompt": "a", "video": {"id": GHOST}})),
    "an extension in a folder": ("POST", "/v1/videos/extensions", body({"prompt": "a", "video": {"id": "../x"}})),
    "an extension of a list": ("POST", "/v1/videos/extensions", body({"prompt": "a", "video": [GHOST]})),
    "an extension of nothing": ("POST", "/v1/videos/extensions", body({"prompt": "a"})),
    "another method": ("PUT", "/v1/videos", body({})),
    "another path": ("GET", f"/v1/videos/{GHOST}/film", None),
}
ALL = {**{name: ("POST", "/v1/videos", sent) for name, sent in ORDERS.items()}, **OTHERS}


@pytest.mark.parametrize("name", ALL)
def test_it_is_refused_in_one_line_and_leaves_nothing_behind(client: TestClient, folder: Path, name: str) -> None:
    method, path, sent = ALL[name]
    kind, content = sent or ("", "")
    got = client.request(method, path, content=content, headers={"content-type": kind} if kind else {})
    assert 400 <= got.status_code < 500, got.text
    error = got.json()["error"]
    said = error["message"]
    assert 0 < len(said) <= 400
    assert said.isprintable()
    assert (error["param"] or "").isprintable()
    assert client.get("/v1/videos").json()["data"] == []
    assert list((folder / "videos").iterdir()) == []


def test_a_field_of_other_characters_is_named_without_them(client: TestClient) -> None:
    kind, content = body({"prompt": "a", "b\nc\x1b[2J": 1})
    error = client.post("/v1/videos", content=content, headers={"content-type": kind}).json()["error"]
    assert error["param"] == "b?c?[2J"
    assert error["message"].startswith("b?c?[2J: is not used here; there are prompt")
    token = {"authorization": "Bearer correct-horse"}
    other = client.post("/api/sessions", json={"prompt": "a", "b\nc\x1b[2J": 1}, headers=token)
    assert (other.status_code, other.json()["error"][:9]) == (422, "b?c?[2J: ")
