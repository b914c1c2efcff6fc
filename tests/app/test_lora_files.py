"""LoRAs are uploaded for a session, merged by its commands alone, and forgotten with it; uploads may be forms."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch
from conftest import tiny_model
from loras import lora_tensors
from safetensors.torch import save
from sessions import replayed
from test_files import files, left, picture
from tiny_server import serving_tiny_model, session_of, status_of

from models.checkpoints.assemble import Model
from models.lora import MergedLoras
from models.transformer import CausalWanTransformer
from streaming.take import uploaded_files
from streaming.take.history import replay_journal
from streaming.take.journal import examine
from streaming.take.take_file import parse
from streaming.take.take_loras import use_loras


def transformer_of(model: Model) -> CausalWanTransformer:
    assert isinstance(model.generator.transformer, CausalWanTransformer)
    return model.generator.transformer


def lora(seed: int = 0, **how: float) -> bytes:
    return save(lora_tensors(transformer_of(tiny_model()), seed, **how))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("loras")


@pytest.fixture(scope="module")
def model() -> Model:
    return tiny_model()


@pytest.fixture(scope="module")
def server(data: Path, model: Model) -> Iterator[str]:
    with serving_tiny_model(data, model=lambda: model) as address:
        yield address


def merged_of(model: Model) -> MergedLoras:
    assert model.generator.loras is not None
    return model.generator.loras


def control(server: str, session: dict[str, Any], **command: Any) -> httpx.Response:
    url, key = f"{server}/api/sessions/{session['id']}/control", {"x-longtake-key": session["key"]}
    return httpx.post(url, json=command, headers=key)


def until(met: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not met():
        assert time.monotonic() < end
        time.sleep(0.02)


def end(server: str, session: dict[str, Any]) -> None:
    url, key = f"{server}/api/sessions/{session['id']}", {"x-longtake-key": session["key"]}
    assert httpx.delete(url, headers=key).status_code == 204


def landed(server: str, session: dict[str, Any]) -> int:
    return len(status_of(server, session)["timeline"]["cues"])


def test_sessions_merge_the_loras_that_were_uploaded_for_them_and_the_model_forgets_them(
    server: str, data: Path, model: Model
) -> None:
    pristine = {n: p.clone() for n, p in transformer_of(model).named_parameters()}
    with session_of(server) as mine, session_of(server) as other:
        a = files(server, mine, "POST", "style.safetensors", lora(1)).json()
        b = files(server, other, "POST", "style.safetensors", lora(2)).json()
        unused = files(server, other, "POST", "unused", lora(3)).json()
        assert a == {
            "name": f"{mine['take']}.files/style.safetensors",
            "kind": "lora",
            "bytes": len(lora(1)),
            "notes": [],
        }
        assert set(merged_of(model).names) == {a["name"], b["name"], unused["name"]}
        assert control(server, mine, id=1, type="lora", name=b["name"], scale=1).status_code == 400
        assert control(server, mine, id=2, type="lora", name=a["name"], scale=1).status_code == 202
        assert control(server, other, id=2, type="lora", name=b["name"], scale=-0.5).status_code == 202
        until(lambda: landed(server, mine) == landed(server, other) == 2)
        assert files(server, mine, "DELETE", a["name"]).status_code == 409
        length = [status_of(server, s)["latent"] for s in (mine, other)]
        until(lambda: all(status_of(server, s)["latent"] > n + 6 for s, n in zip((mine, other), length, strict=True)))
        end(server, mine)
        end(server, other)
    until(lambda: merged_of(model).names == ())
    assert all(torch.equal(p, pristine[n]) for n, p in transformer_of(model).named_parameters())
    assert merged_of(model).pristine_bytes() == 0
    assert not (data / "takes" / unused["name"]).exists()
    for session, file, seed in ((mine, a, 1), (other, b, 2)):
        address = f"{server}/api/takes/{session['take']}"
        assert httpx.get(f"{address}/files", params={"name": file["name"]}).content == lora(seed)
        take, fresh = parse(httpx.get(address).text, "take.yaml"), tiny_model()
        use_loras(fresh, take, data / "takes")
        lines = examine(data / "takes" / f"{session['take']}.jsonl").lines
        assert replayed(take, fresh) == replay_journal(lines).history.hashes


def test_a_take_with_an_uploaded_lora_is_continued_and_the_model_then_forgets_it(
    server: str, data: Path, model: Model
) -> None:
    with session_of(server) as first:
        name = files(server, first, "POST", "a", lora(4)).json()["name"]
        assert control(server, first, id=1, type="lora", name=name, scale=1).status_code == 202
        until(lambda: landed(server, first) == 2)
    until(lambda: merged_of(model).names == ())
    url = f"{server}/api/takes/{first['take']}/continue"
    again = httpx.post(url, json={}).json()
    assert merged_of(model).names == (name,)
    assert control(server, again, id=1, type="lora", name=name, scale=0.25).status_code == 202
    end(server, again)
    until(lambda: merged_of(model).names == ())
    (data / "takes" / name).write_bytes(lora(5))
    assert httpx.post(url, json={}).status_code == 409
    assert merged_of(model).names == ()


def test_a_lora_that_does_not_fit_is_refused_in_one_line_and_is_not_kept(
    server: str, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, tensors = left(data), lora_tensors(transformer_of(tiny_model()))
    key = next(iter(tensors))
    wrong = {
        "is cut short": lora()[:-40],
        "no numbers": save(tensors | {key: torch.full_like(tensors[key], float("nan"))}),
        "no pair of one rank": save(tensors | {key: torch.ones(3, 48)}),
        "LoHa": save({f"{key.partition('.lora')[0]}.hada_w1_a": torch.ones(2, 2)}),
        "another size": save({k: v.repeat(1, 2) if "lora_A" in k else v.repeat(2, 1) for k, v in tensors.items()}),
        "too large": lora(size=3e37),
    }
    with session_of(server) as session:
        for why, body in wrong.items():
            got = files(server, session, "POST", "dir/x\n.safetensors", body)
            error = got.json()["error"]
            assert (got.status_code, why in error) == (422, True), (why, error)
            assert error.startswith("dir/x?.safetensors: ")
            assert error.isprintable()
            assert ".partial" not in error
        monkeypatch.setattr(uploaded_files, "MOST_LORA_BYTES", len(lora()) + 10)
        name = files(server, session, "POST", "a", lora()).json()["name"]
        full = files(server, session, "POST", "b", lora())
        assert (full.status_code, "LoRAs of a session have at most" in full.json()["error"]) == (413, True)
        assert files(server, session, "POST", "p", picture()).status_code == 201
        assert files(server, session, "DELETE", name).status_code == 204
        assert control(server, session, id=1, type="lora", name=name, scale=1).status_code == 400
    assert left(data) == before


def test_a_form_brings_one_file_whose_name_stands_in_it(server: str, data: Path) -> None:
    with session_of(server) as session:
        url, key = f"{server}/api/sessions/{session['id']}/files", {"x-longtake-key": session["key"]}

        def post(**body: Any) -> httpx.Response:
            return httpx.post(url, **({"headers": key} | body))

        named = post(files={"file": ("my cat.png", picture())}).json()
        assert named["name"] == f"{session['take']}.files/my-cat.png"
        assert post(files={"x": ("a", lora())}, params={"name": "b"}).json()["name"].endswith("/b.safetensors")
        both = post(files=[("a", ("a.png", picture())), ("b", ("b.png", picture()))])
        assert (both.status_code, both.json()["error"]) == (422, "the form has several files; send one at a time")
        field = post(files={"file": ("a.png", picture())}, data={"name": "x"})
        assert (field.status_code, "'name' that is no file" in field.json()["error"]) == (422, True)
        kind = key | {"content-type": "multipart/form-data; boundary=b"}
        part = b'--b\r\nContent-Disposition: form-data; name="f"; filename="a.png"\r\n'
        damaged = [
            b"", b"hello", part, part + b"\r\n" + picture(), b"--b--\r\n", part + b"x" * 20000,
            part + b"\r\n" + picture() + b"\r\n--c--\r\n",
        ]  # fmt: skip
        for body in damaged:
            got = post(content=body, headers=kind)
            assert got.status_code == 422, (body[:80], got.text)
            assert got.json()["error"].startswith(("the form", "the headers of a part")), got.text
        without = post(content=b"x", headers=key | {"content-type": "multipart/form-data"})
        assert (without.status_code, "no boundary" in without.json()["error"]) == (422, True)
        assert len(files(server, session, "GET").json()) == 2
    assert left(data) == [name for name in left(data) if not name.startswith(session["take"])]
