"""Read one complete set of weights of one variant from a folder, or refuse the folder with the reason."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor

from models.checkpoints.weight_files import CheckpointError, read

WHOLE = {f"layer{i}.weight": torch.full((4, 4), float(i)) for i in range(6)}
INDEX = "model.safetensors.index.json"
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 99\n"


def part(number: int, of: int = 3) -> str:
    return f"model-{number:05d}-of-{of:05d}.safetensors"


def sharded(folder: Path, weights: dict[str, Tensor] | None = None, variant: str = "") -> None:
    """Write three parts of two tensors each and their index, as the Hugging Face libraries do."""
    weights = weights or WHOLE
    names = list(weights)
    placed: dict[str, str] = {}
    for i in range(3):
        file = part(i + 1).replace("model-", f"model{variant}-")
        mine = names[2 * i : 2 * i + 2]
        save_file({k: weights[k] for k in mine}, folder / file)
        placed |= dict.fromkeys(mine, file)
    size = sum(t.numel() * t.element_size() for t in weights.values())
    index = {"metadata": {"total_size": size}, "weight_map": placed}
    (folder / INDEX.replace(".index", f"{variant}.index")).write_text(json.dumps(index))


def assert_whole(tensors: dict[str, Tensor]) -> None:
    assert set(tensors) == set(WHOLE)
    assert all(torch.equal(tensors[k], WHOLE[k]) for k in WHOLE)


def half() -> dict[str, Tensor]:
    return {k: v.half() + 1 for k, v in WHOLE.items()}


def test_parts_with_and_without_an_index_are_joined(tmp_path: Path) -> None:
    sharded(tmp_path)
    assert_whole(read(tmp_path))
    (tmp_path / INDEX).unlink()
    assert_whole(read(tmp_path))


def test_one_file_in_a_folder_is_read_whatever_it_is_called(tmp_path: Path) -> None:
    save_file(WHOLE, tmp_path / "anything.fp16.safetensors")
    (tmp_path / "._anything.safetensors").write_bytes(b"\x00\x05\x16\x07")  # what macOS leaves on foreign disks
    assert_whole(read(tmp_path))


@pytest.mark.parametrize("variant", [".fp16", ".bf16", ".non_ema"])
def test_of_variants_the_plain_one_is_read_and_none_is_mixed_in(tmp_path: Path, variant: str) -> None:
    sharded(tmp_path)
    sharded(tmp_path, half(), variant)
    assert_whole(read(tmp_path))
    for file in tmp_path.iterdir():
        file.unlink()
    save_file(WHOLE, tmp_path / "model.safetensors")
    save_file(half(), tmp_path / f"model{variant}.safetensors")
    assert_whole(read(tmp_path))


def _index(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], object]:
    def spoil(folder: Path) -> None:
        content = json.loads((folder / INDEX).read_text())
        change(content)
        (folder / INDEX).write_text(json.dumps(content))

    return spoil


def _save(name: str, tensors: dict[str, Tensor]) -> Callable[[Path], object]:
    return lambda folder: save_file(tensors, folder / name)


SPOILT: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (lambda f: (f / part(2)).unlink(), f"{part(2)} is missing, 2 of 3 parts are here"),
    "pointer": (lambda f: (f / part(2)).write_bytes(LFS), "git-lfs pointer"),
    "cut": (lambda f: (f / part(2)).write_bytes((f / part(2)).read_bytes()[:-9]), "is cut short"),
    "lost key": (_save(part(2), {"layer2.weight": WHOLE["layer2.weight"]}), "does not hold layer3.weight"),
    "foreign key": (_save(part(2), {k: WHOLE[k] for k in list(WHOLE)[2:4]} | {"x": torch.ones(1)}), "not name: x"),
    "twice": (_save(part(2), {k: WHOLE[k] for k in list(WHOLE)[1:4]}), f"holds layer1.weight, which {part(1)} holds"),
    "other variant": (_save(part(2), {k: half()[k] for k in list(WHOLE)[2:4]}), "parts of two variants"),
    "all of another": (lambda f: [_save(part(i + 1), {k: half()[k] for k in list(WHOLE)[2 * i : 2 * i + 2]})(f)
                                  for i in range(3)], "promises 384 bytes of weights, its parts hold 192"),
    "size": (_index(lambda c: c["metadata"].update(total_size=385)), "promises 385 bytes"),
    "whole beside": (_save("model.safetensors", WHOLE), "an index of parts of the same name"),
    "two models": (lambda f: (f / "b.safetensors.index.json").write_bytes((f / INDEX).read_bytes()), "several models"),
    "outside": (_index(lambda c: c["weight_map"].update(x="../../etc/passwd")), "which is no file beside it"),
    "absolute": (_index(lambda c: c["weight_map"].update(x="/etc/passwd")), "which is no file beside it"),
    "no map": (_index(lambda c: c.pop("weight_map")), "has no weight_map"),
    "list": (_index(lambda c: c.update(weight_map=[1])), "has no weight_map"),
    "numbers": (_index(lambda c: c["weight_map"].update(x=3)), "has no weight_map"),
    "page": (lambda f: (f / INDEX).write_bytes(b"<!DOCTYPE html><html>"), "it is a web page"),
    "pointer for an index": (lambda f: (f / INDEX).write_bytes(LFS), "git-lfs pointer"),
    "empty index": (lambda f: (f / INDEX).write_bytes(b""), "an empty file"),
}  # fmt: skip


@pytest.mark.parametrize("what", SPOILT)
def test_parts_that_do_not_belong_together_are_refused(tmp_path: Path, what: str) -> None:
    sharded(tmp_path)
    spoil, says = SPOILT[what]
    spoil(tmp_path)
    with pytest.raises(CheckpointError) as e:
        read(tmp_path)
    assert says in str(e.value)
    assert str(e.value).isprintable()


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (["a.safetensors", "b.safetensors"], "several files of weights, a.safetensors, b.safetensors"),
        (["a.safetensors", part(1, 2), part(2, 2)], "several files of weights"),
        ([part(1, 2), part(2, 2), part(1, 3)], "several files of weights"),
        ([part(1), part(3)], f"{part(2)} is missing"),
        (["pytorch_model.bin"], "holds no .safetensors file; there is pytorch_model.bin"),
        (["__0_0.distcp"], "pieces of a distributed training"),
        (["zero_to_fp32.py", "mp_rank_00_model_states.pt"], "pieces of a distributed training"),
        ([], "holds no .safetensors file"),
    ],
)
def test_a_choice_between_files_is_refused(tmp_path: Path, names: list[str], says: str) -> None:
    for i, name in enumerate(names):
        save_file({f"k{i}": torch.ones(1)}, tmp_path / name)
    with pytest.raises(CheckpointError) as e:
        read(tmp_path)
    assert says in str(e.value)


NAMES = st.sampled_from([part(1), part(2), part(3), "model.safetensors", "", ".", "..", "a/b", "\x00", "é\n"])
ANYTHING = st.recursive(
    st.none() | st.integers() | st.text(max_size=5) | NAMES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
KEYS = st.sampled_from(list(WHOLE)) | st.text(max_size=5)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.fixed_dictionaries(
        {}, optional={"metadata": ANYTHING, "weight_map": st.dictionaries(KEYS, NAMES, max_size=7) | ANYTHING}
    )
    | ANYTHING
)
def test_no_index_ends_in_anything_but_weights_or_a_line(tmp_path: Path, index: Any) -> None:
    sharded(tmp_path)
    (tmp_path / INDEX).write_text(json.dumps(index))
    refused = ""
    try:
        assert read(tmp_path)
    except CheckpointError as e:
        refused = str(e)
    assert "\n" not in refused
