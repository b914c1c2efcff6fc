"""What may be trusted: an artifact that is whole and made for this very model, and nothing else."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from conftest import tiny_model
from exported import FP32, tiny_store

from exporters import engine_registry
from exporters.artifacts import MANIFEST, ExportError, Key, Store, write_json
from exporters.engine_modules import Variant
from exporters.engine_registry import build, key_of, start
from exporters.engine_selection import is_good
from models.catalog import POCKET
from models.checkpoints.assemble import random_model
from models.codecs.tiny import TinyCodec


@pytest.fixture
def copied(tmp_path: Path) -> Store:
    """Copy the exported engines, so that a test may damage them."""
    shutil.copytree(tiny_store().folder, tmp_path / "engines")
    return Store(tmp_path / "engines")


def test_a_whole_artifact_is_found_and_an_absent_one_names_its_command(copied: Store) -> None:
    model = tiny_model()
    assert copied.find(key_of(model, FP32)) is not None
    with pytest.raises(ExportError, match="longtake export tiny --engine onnx --precision fp16"):
        start(model, Variant("onnx", "fp16"), copied)


def _truncate(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


def _flip(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


@pytest.mark.parametrize("damage", [_truncate, _flip, Path.unlink])
@pytest.mark.parametrize("name", ["step.onnx", "decoder.onnx"])
def test_a_damaged_file_is_refused_in_one_line_and_built_anew(
    copied: Store,
    monkeypatch: pytest.MonkeyPatch,
    damage,
    name: str,  # type: ignore[no-untyped-def]
) -> None:
    model = tiny_model()
    key = key_of(model, FP32)
    damage(copied.path(key) / name)
    with pytest.raises(ExportError, match=rf"damaged \({name} is not what was built\).*longtake export") as said:
        start(model, FP32, copied)
    assert "\n" not in str(said.value)
    monkeypatch.setattr(engine_registry.ENGINES["onnx"], "make", lambda *a: (a[2] / name).write_bytes(b"new"))
    build(model, FP32, copied, lambda text: None)
    assert (copied.path(key) / name).read_bytes() == b"new"
    assert copied.find(key) is not None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"key": 1}', '{"key": {}, "files": 3}'])
def test_a_damaged_manifest_is_refused(copied: Store, text: str) -> None:
    key = key_of(tiny_model(), FP32)
    (copied.path(key) / MANIFEST).write_text(text)
    with pytest.raises(ExportError, match=r"damaged|made for something else"):
        copied.find(key)


def test_a_foreign_artifact_under_the_right_name_is_refused(copied: Store) -> None:
    model = tiny_model()
    key, other = key_of(model, FP32), key_of(replace(model, fingerprint="of somebody else"), FP32)
    os.rename(copied.path(key), copied.path(other))
    with pytest.raises(ExportError, match=r"made for something else \(weights differs\)"):
        copied.find(other)


def test_other_weights_codec_configuration_or_versions_are_another_artifact(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model()
    names = {key_of(model, FP32).name, key_of(replace(model, fingerprint="other"), FP32).name}
    changed = replace(model, entry=replace(model.entry, transformer={**model.entry.transformer, "ffn_dim": 65}))
    names.add(key_of(changed, FP32).name)
    names.add(key_of(tiny_model(window=9), FP32).name)
    codec = tiny_model()
    with torch.no_grad():
        codec.generator.codec.decoder[1].weight[0] += 1  # type: ignore[attr-defined]
    names.add(key_of(codec, FP32).name)
    names.add(key_of(model, Variant("onnx", "int8")).name)
    monkeypatch.setattr(engine_registry, "version", lambda package: "0.0")
    names.add(key_of(model, FP32).name)
    assert len(names) == 7


def test_a_build_that_fails_leaves_nothing_and_keeps_what_was_there(
    copied: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny_model()
    before = sorted(p.name for p in copied.folder.iterdir())

    def fail(model, precision, folder, say):  # type: ignore[no-untyped-def]
        (folder / "step.onnx").write_bytes(b"half")
        raise RuntimeError("the compiler died")

    monkeypatch.setattr(engine_registry.ENGINES["onnx"], "make", fail)
    with pytest.raises(RuntimeError, match="the compiler died"):
        build(model, FP32, copied, lambda text: None)
    assert sorted(p.name for p in copied.folder.iterdir()) == before
    assert copied.find(key_of(model, FP32)) is not None


def test_a_verdict_does_not_outlive_what_it_was_passed_on(copied: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model()
    key = key_of(model, FP32)
    write_json(copied.beside(key, "parity.json"), {"good": True, "key": key.name})
    monkeypatch.setattr(engine_registry.ENGINES["onnx"], "make", lambda model, precision, folder, say: None)
    build(model, FP32, copied, lambda text: None)
    assert not is_good(model, FP32, copied)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_no_space_is_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    def full(model, precision, folder, say):  # type: ignore[no-untyped-def]
        raise OSError(code, os.strerror(code), str(folder))

    monkeypatch.setattr(engine_registry.ENGINES["onnx"], "make", full)
    with pytest.raises(ExportError, match=r"no space left on the disk; nothing was kept, make room and run it again$"):
        build(tiny_model(), FP32, Store(tmp_path / "engines"), lambda text: None)
    assert list((tmp_path / "engines").iterdir()) == []


KILLED = """
import sys, time
from pathlib import Path
from exporters.artifacts import Key, Store
with Store(Path(sys.argv[1])).building(Key({"model": "m", "engine": "onnx", "precision": "fp32"})) as folder:
    (folder / "step.onnx").write_bytes(b"half")
    print("writing", flush=True)
    time.sleep(60)
"""


def test_a_killed_build_leaves_nothing_that_a_later_run_trusts(tmp_path: Path) -> None:
    key = Key({"model": "m", "engine": "onnx", "precision": "fp32"})
    build_ = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path)], stdout=subprocess.PIPE)
    assert build_.stdout is not None
    build_.stdout.readline()
    build_.send_signal(signal.SIGKILL)
    build_.wait()
    store = Store(tmp_path)
    assert store.find(key) is None
    assert list(tmp_path.glob(".*partial"))
    with store.building(key) as folder:
        assert list(tmp_path.glob(".*partial")) == [folder]  # what the dead one left is swept away
        (folder / "step.onnx").write_bytes(b"whole")
    assert store.find(key) == store.path(key)
    assert json.loads((store.path(key) / MANIFEST).read_text())["files"].keys() == {"step.onnx"}


@pytest.mark.parametrize("number", ["", f"import os; os.getpid = lambda: {os.getpid()}"], ids=["its own", "the same"])
def test_a_build_that_runs_beside_is_left_alone_whatever_its_number_is(number: str, tmp_path: Path) -> None:
    key = Key({"model": "m", "engine": "onnx", "precision": "fp32"})
    other = subprocess.Popen([sys.executable, "-c", number + KILLED, str(tmp_path)], stdout=subprocess.PIPE)
    assert other.stdout is not None
    other.stdout.readline()
    with Store(tmp_path).building(key) as folder:
        (folder / "step.onnx").write_bytes(b"whole")
        assert len(list(tmp_path.glob(".*partial"))) == 2
    other.kill()
    other.wait()
    assert Store(tmp_path).find(key) is not None


def test_a_value_that_is_written_by_many_at_once_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "verdict.json"
    with ThreadPoolExecutor(8) as many:  # containers that share a folder have processes of the same number too
        list(many.map(lambda number: write_json(path, [number] * 1000), range(200)))
    assert len(set(json.loads(path.read_text()))) == 1
    assert list(tmp_path.iterdir()) == [path]


def test_openvinos_full_disk_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise RuntimeError("basic_ios::clear: iostream error")

    monkeypatch.setattr("openvino.save_model", full)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=0))
    with pytest.raises(ExportError, match=f"{tmp_path}: no space left on the disk") as e:
        build(tiny_model(), Variant("openvino", "fp32"), Store(tmp_path), lambda text: None)
    assert "\n" not in str(e.value)
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_is_full_elsewhere_is_named(tmp_path: Path) -> None:
    key = key_of(tiny_model(), FP32)
    elsewhere = str(tmp_path.parent / "scratch" / "weights")
    with pytest.raises(ExportError, match="scratch: no space left"), Store(tmp_path).building(key):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), elsewhere)


def test_a_codec_with_another_normalisation_is_another_codec() -> None:
    model, other = tiny_model(), tiny_model()
    codec = other.generator.codec
    assert isinstance(codec, TinyCodec)
    before = key_of(model, FP32)
    assert key_of(other, FP32) == before
    codec.config = replace(codec.config, latents_mean=(0.5,) * codec.config.latent_channels)
    assert key_of(other, FP32) != before


def test_random_weights_are_the_same_each_time() -> None:
    """An artifact of them is then found, and compared with the weights that it was made of."""
    before = torch.random.get_rng_state()
    a, b = (random_model(POCKET, torch.device("cpu"), torch.float32) for _ in range(2))
    assert key_of(a, FP32) == key_of(b, FP32)
    assert isinstance(a.generator.transformer, torch.nn.Module)
    assert isinstance(b.generator.transformer, torch.nn.Module)
    pairs = zip(a.generator.transformer.parameters(), b.generator.transformer.parameters(), strict=True)
    assert all(torch.equal(x, y) for x, y in pairs)
    assert torch.equal(before, torch.random.get_rng_state())
