"""Which engine runs: the fastest that is good, remembered, said in one line; or the one that was asked for."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from conftest import tiny_model
from exported import FP32, INT8, tiny_store

from exporters import engine_selection
from exporters.artifacts import ExportError, Store, write_json
from exporters.asked_engine import ENGINE_NAMES, Asked
from exporters.engine_modules import Variant
from exporters.engine_registry import ENGINES, build, key_of
from exporters.engine_selection import InTorch, choose
from exporters.parity import Adherence, Timing
from models.checkpoints.assemble import Model


@pytest.fixture
def store(tmp_path: Path) -> Store:
    shutil.copytree(tiny_store().folder, tmp_path / "engines")
    return Store(tmp_path / "engines")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """Give seconds a chunk by engine in place of a measurement, and count the calls."""
    seconds = {"torch": 1.0, "onnx fp32": 0.6, "onnx int8": 0.4, "asked": 0}

    def timing(models: dict[str, Model], chunks: int) -> dict[str, Timing]:
        seconds["asked"] += 1
        return {name: Timing(seconds[name], 0.0, 0.0, 0.0) for name in models}

    monkeypatch.setattr(engine_selection, "timing", timing)
    return seconds


def judged(store: Store, variant: Variant, *, good: bool) -> None:
    key = key_of(tiny_model(), variant)
    write_json(store.beside(key, "parity.json"), {"good": good, "key": key.name})


def chosen(store: Store, asked: str = "auto") -> tuple[dict[str, str], list[str]]:
    said: list[str] = []
    return choose(tiny_model(), Asked.parse(asked), store, said.append).engine, said


def test_every_engine_that_runs_here_can_be_asked_for_by_name() -> None:
    assert set(ENGINE_NAMES) == set(ENGINES)


def test_the_fastest_good_engine_is_chosen_and_said(store: Store, clock: dict[str, float]) -> None:
    judged(store, FP32, good=True)
    judged(store, INT8, good=True)
    engine, said = chosen(store)
    assert engine["precision"] == "int8"
    assert said == ["engine: onnx int8, 2.5x torch"]


def test_the_choice_is_remembered_and_made_anew_when_the_candidates_change(
    store: Store, clock: dict[str, float]
) -> None:
    judged(store, FP32, good=True)
    assert chosen(store)[0]["precision"] == "fp32"
    assert chosen(store)[0]["precision"] == "fp32"
    assert clock["asked"] == 1
    judged(store, INT8, good=True)
    assert chosen(store)[0]["precision"] == "int8"
    assert clock["asked"] == 2


@pytest.mark.parametrize("measured", [True, False])
def test_an_engine_whose_parity_is_bad_or_unmeasured_is_no_default(
    store: Store, clock: dict[str, float], measured: bool
) -> None:
    judged(store, FP32, good=True)
    if measured:
        judged(store, INT8, good=False)
    assert chosen(store)[0]["precision"] == "fp32"


def test_a_pinned_engine_runs_though_it_is_no_default(store: Store, clock: dict[str, float]) -> None:
    assert chosen(store, "onnx")[0]["precision"] == "int8"
    engine, said = chosen(store, "onnx:fp32")
    assert engine["precision"] == "fp32"
    assert said == ["engine: onnx fp32 (asked for)"]


def test_a_pinned_engine_without_a_precision_is_the_fastest_good_one_and_else_says_that_it_is_not(
    store: Store, clock: dict[str, float]
) -> None:
    assert "parity of onnx fp32, onnx int8 was not measured or is not good" in chosen(store, "onnx")[1][0]
    judged(store, FP32, good=True)
    judged(store, INT8, good=False)
    assert chosen(store, "onnx") == (chosen(store)[0], ["engine: onnx fp32, 1.7x torch"])


def test_what_failed_to_start_is_tried_again_at_the_next_start(store: Store, clock: dict[str, float]) -> None:
    judged(store, FP32, good=True)
    judged(store, INT8, good=True)
    step = store.path(key_of(tiny_model(), INT8)) / "step.onnx"
    whole = step.read_bytes()
    step.write_bytes(b"")
    assert chosen(store)[0]["precision"] == "fp32"
    step.write_bytes(whole)
    assert chosen(store)[0]["precision"] == "int8"


def test_the_next_best_runs_where_the_remembered_one_is_damaged(store: Store, clock: dict[str, float]) -> None:
    judged(store, FP32, good=True)
    judged(store, INT8, good=True)
    assert chosen(store)[0]["precision"] == "int8"
    (store.path(key_of(tiny_model(), INT8)) / "step.onnx").write_bytes(b"")
    engine, said = chosen(store)
    assert engine["precision"] == "fp32"
    assert "damaged" in said[0]
    (store.path(key_of(tiny_model(), FP32)) / "step.onnx").write_bytes(b"")
    assert chosen(store)[0] == {}
    with pytest.raises(ExportError, match=r"none of .* can be started|damaged"):
        chosen(store, "onnx")


def test_a_choice_that_cannot_be_written_down_is_made_all_the_same(
    store: Store, clock: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, value: object) -> None:
        raise ExportError("the disk is full")

    judged(store, FP32, good=True)
    monkeypatch.setattr(engine_selection, "write_json", full)
    engine, said = chosen(store)
    assert engine["precision"] == "fp32"
    assert said == ["note: the choice is not remembered; the disk is full", "engine: onnx fp32, 1.7x torch"]


def test_a_new_build_is_timed_anew(store: Store, clock: dict[str, float]) -> None:
    judged(store, FP32, good=True)
    clock["onnx fp32"] = 2.0
    assert chosen(store)[0] == {}
    build(tiny_model(), FP32, store, lambda text: None)
    judged(store, FP32, good=True)
    clock["onnx fp32"] = 0.5
    assert chosen(store)[0]["precision"] == "fp32"


def test_torch_stays_where_nothing_is_faster_or_nothing_was_exported(
    store: Store, clock: dict[str, float], tmp_path: Path
) -> None:
    judged(store, FP32, good=True)
    clock["onnx fp32"] = 2.0
    assert chosen(store) == ({}, ["engine: torch, none of onnx fp32 is faster here"])
    assert chosen(Store(tmp_path / "none")) == ({}, [])
    assert chosen(store, "torch") == ({}, [])


def test_engines_are_compared_with_torch_in_the_precision_in_which_it_runs(
    store: Store, clock: dict[str, float]
) -> None:
    judged(store, FP32, good=True)
    fast, said = tiny_model(), list[str]()
    in_bfloat16 = InTorch(lambda: fast, "bfloat16")
    assert choose(tiny_model(), Asked.parse("auto"), store, said.append, in_bfloat16).engine["precision"] == "fp32"
    clock["torch"] = 0.5  # it was slower in float32, and that was remembered apart
    assert chosen(store)[0] == {}
    assert choose(tiny_model(), Asked.parse("auto"), store, said.append, in_bfloat16).engine["precision"] == "fp32"
    assert choose(tiny_model(), Asked.parse("torch"), store, said.append, in_bfloat16) is fast


def test_a_damaged_engine_is_passed_over_by_auto_and_refused_when_pinned(store: Store, clock: dict[str, float]) -> None:
    judged(store, FP32, good=True)
    assert chosen(store)[0]["precision"] == "fp32"
    (store.path(key_of(tiny_model(), FP32)) / "step.onnx").write_bytes(b"")
    engine, said = chosen(store)
    assert engine == {}
    assert "damaged" in said[0]
    with pytest.raises(ExportError, match="damaged"):
        chosen(store, "onnx:fp32")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("opennx", "there is no engine 'opennx'"),
        ("onnx:int4", "engine onnx knows fp32, fp16, int8, not 'int4'"),
        ("torch:int8", "engine torch knows fp32, bf16, compiled, not 'int8'"),
        ("auto:bf16", "auto has no precisions to choose, not 'bf16'"),
    ],
)
def test_what_is_no_engine_is_refused_in_one_line(text: str, reason: str) -> None:
    with pytest.raises(ExportError, match=reason):
        Asked.parse(text)


@pytest.mark.parametrize("folder", ["nowhere", "a file"])
def test_auto_runs_in_torch_where_the_folder_of_engines_cannot_be_read(folder: str, tmp_path: Path) -> None:
    """A home of another user (EACCES) is met in containers; root, as which tests may run, reads every folder."""
    (tmp_path / "a file").write_bytes(b"")
    model, said = tiny_model(), list[str]()
    assert choose(model, Asked.parse("auto"), Store(tmp_path / folder), said.append) is model
    assert said == []


def test_what_was_never_exported_names_the_command(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="make it with: longtake export tiny --engine onnx --precision int8"):
        chosen(Store(tmp_path), "onnx")


@pytest.mark.parametrize(
    ("judgments", "bounds", "good"),
    [(2000, (-0.01, 0.01), True), (2000, (0.0, 0.011), False), (1999, (-0.01, 0.0), False)],
)
def test_a_default_loses_at_most_a_point_at_the_bound_of_two_thousand_judgments(
    judgments: int, bounds: tuple[float, float], good: bool
) -> None:
    assert Adherence(judgments, 0.9, 0.9, 0.0, bounds).good is good
