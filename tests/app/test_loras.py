"""LoRAs on the command line and in the HTTP API."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
import yaml
from command_line import refused, run
from conftest import tiny_model
from loras import lora_file
from tiny_server import serving_tiny_model, session_of, status_of

from models.checkpoints.assemble import Model
from models.transformer import CausalWanTransformer
from streaming.take.take_loras import OfferedLora


def ink(folder: Path, seed: int = 0) -> Path:
    transformer = tiny_model().generator.transformer
    assert isinstance(transformer, CausalWanTransformer)
    return lora_file(folder / "ink.safetensors", transformer, seed)


def wait_for_chunk(address: str, session: dict[str, str], latents: int = 6) -> None:
    with httpx.Client() as client:
        for _ in range(600):
            if status_of(address, session)["latent"] >= latents:
                return
            client.get(f"{address}/healthz")
    raise AssertionError("no chunk was drawn")


def test_sessions_use_the_loras_of_the_server_and_go_on_with_the_same_files_only(tmp_path: Path) -> None:
    file, (data, models) = ink(tmp_path), (tmp_path / "data", tmp_path / "models")
    (tmp_path / "other.safetensors").write_bytes(b"no LoRA")
    offered = [OfferedLora("ink.safetensors", file, 0.5), OfferedLora("other", tmp_path / "other.safetensors", 1)]
    with serving_tiny_model(data, loras=offered) as address:
        with session_of(address) as session:
            control, headers = f"{address}/api/sessions/{session['id']}/control", {"x-longtake-key": session["key"]}
            said = {"id": 1, "type": "lora", "name": "ink.safetensors", "scale": -1}
            assert httpx.post(control, json=said, headers=headers).status_code == 202
            wrong = httpx.post(control, json=said | {"id": 2, "name": "other"}, headers=headers)
            assert wrong.status_code == 400
            assert wrong.json()["error"] == "no LoRA is called 'other'; there are ink.safetensors"
            wait_for_chunk(address, session, 12)
            status = httpx.get(f"{address}/api/sessions/{session['id']}")
            assert str(tmp_path) not in status.text
            assert [c["lora"] for c in status.json()["timeline"]["cues"]] == [
                ["ink.safetensors:0.5"],
                ["ink.safetensors:-1"],
            ]
        take = yaml.safe_load(httpx.get(f"{address}/api/takes/{session['take']}").text)
        assert take["loras"] == {"ink.safetensors": str(file)}
        assert len(take["record"]["lora ink.safetensors"]) == 16
        again = httpx.post(f"{address}/api/takes/{session['take']}/continue", json={})
        assert again.status_code == 201, again.text
    ink(tmp_path, seed=1)
    with serving_tiny_model(data) as address:
        for says in ("ink.safetensors is another file than the take was made with", "cannot be read (no such file)"):
            refusal = httpx.post(f"{address}/api/takes/{session['take']}/continue", json={})
            assert refusal.status_code == 409
            assert says in refusal.json()["error"]
            file.unlink(missing_ok=True)
    assert not models.exists()


def test_a_render_with_loras_is_refused_with_other_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("app.loaded_model.load", lambda *_, **__: tiny_model())
    monkeypatch.chdir(tmp_path)
    (tmp_path / "t.yaml").write_text("length: 9\ncues:\n  - prompt: a red ball\n")
    file = ink(tmp_path)
    assert run(capsys, "render", "t.yaml", "-o", "o.mp4", "--lora", f"{file}:0.5")[0] == 0
    take = yaml.safe_load((tmp_path / "o.take.yaml").read_text())
    assert take["cues"][0]["lora"] == ["ink.safetensors:0.5"]
    assert take["loras"] == {"ink.safetensors": str(file)}
    assert run(capsys, "render", "o.take.yaml", "-o", "again.mp4")[0] == 0
    assert (tmp_path / "again.mp4").read_bytes() == (tmp_path / "o.mp4").read_bytes()

    longer = ("render", "t.yaml", "-o", "o.mp4", "--extend", "3")
    refused(run(capsys, *longer), "its take differs from latent 0 on")
    ink(tmp_path, seed=1)
    refused(run(capsys, *longer, "--lora", f"{file}:0.5"), "it was made with another file ink.safetensors")
    refused(
        run(capsys, "render", "o.take.yaml", "-o", "x.mp4", "--lora", file), "the take itself gives ink.safetensors"
    )
    refused(run(capsys, *longer, "--lora", file, "--lora", "none.safetensors"), "no such file")
    refused(run(capsys, *longer, "--lora", f"{file}:9"), "between -2 and 2")
    by_engine = run(capsys, "render", "t.yaml", "-o", "x.mp4", "--lora", f"{file}:0.5", "--engine", "onnx:fp32")
    refused(by_engine, "no onnx fp32 engine", "longtake export", "--lora ink.safetensors:0.5")
    file.write_bytes(b"PK")
    refused(run(capsys, *longer, "--lora", file), "ink.safetensors")


def test_an_engine_is_exported_with_the_loras_of_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    exported: list[Model] = []
    monkeypatch.setattr("app.loaded_model.load", lambda *_, **__: tiny_model())
    monkeypatch.setattr("app.engine_choice.export", lambda model, *_: exported.append(model))
    monkeypatch.setenv("LONGTAKE_MODELS", str(tmp_path / "models"))
    file = ink(tmp_path)
    assert run(capsys, "export", "pocket", "--lora", f"{file}:0.5")[0] == 0
    assert run(capsys, "export", "pocket")[0] == 0
    assert [str(model.generator.fixed) for model in exported] == ["ink.safetensors:0.5", ""]
    refused(run(capsys, "export", "pocket", "--lora", f"{file}:0"), "every LoRA has the scale 0")
