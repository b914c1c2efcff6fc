"""The evaluation compares arms on the same noise and says what it measured."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from conftest import BrightnessJudge, tiny_model, with_rollout

from models import catalog
from models.checkpoints.assemble import ASSETS, Model, load
from models.judge import classifier
from models.judge import evaluation as evaluate
from models.judge.classifier import ATTRIBUTES, Judge
from streaming.rollout import Rollout
from streaming.take.take_file import CueLine, Take


@pytest.fixture(scope="module")
def pocket() -> Model:
    return load(catalog.POCKET, ASSETS, torch.device("cpu"), torch.float32)


@pytest.fixture(scope="module")
def judge() -> Judge:
    return classifier.load(ASSETS / "judge" / "judge.safetensors")


def test_prompts_are_held_out_and_always_the_same() -> None:
    assert evaluate.prompts(5) == evaluate.prompts(24)[:5]
    assert all(a.held_out and b.held_out and a.caption() != b.caption() for a, b in evaluate.prompts(24))


def test_every_arm_changes_one_thing(pocket: Model) -> None:
    default, *others = evaluate.arms(pocket)
    assert {"no sink", "on_switch none", "on_switch clear", "on_switch flush", "sink reanchor"} < {
        a.name for a in others
    }
    for arm in others:
        fields = [f for f in arm.config.__dataclass_fields__ if getattr(arm.config, f) != getattr(default.config, f)]
        assert len(fields) == 1, arm.name


def test_two_arms_are_rolled_out_judged_and_written_down(pocket: Model, judge: Judge, tmp_path: Path) -> None:
    arms = [a for a in evaluate.arms(pocket) if a.name in ("default", "1 step")]
    said: list[str] = []
    for arm in arms:
        evaluate.short(judge, arm, evaluate.prompts(1), 2, said.append)
        assert all(len(v) == 1 for v in arm.by_prompt.values())
        assert len(arm.switches) == 2
    drift = evaluate.long(judge, arms[0], 1, 18, said.append, switch_every=3)
    assert [len(s) for s in drift.series["sharpness"]] == [6]
    text = evaluate.save(tmp_path, arms, [drift], dict.fromkeys(ATTRIBUTES, 1.0), {"model": "pocket"})
    assert "| default |" in text
    assert "Δ" in next(line for line in text.splitlines() if line.startswith("| 1 step"))
    assert "drift per 100 chunks" in text
    results = json.loads((tmp_path / "results.json").read_text())
    assert 0 <= results["arms"]["default"]["by_prompt"]["scene"][0] <= 1
    assert (tmp_path / "drift.png").stat().st_size > 5000


@pytest.mark.parametrize(
    ("layout", "ways"),
    [
        ({"chunk": 3, "window": 9, "sink": 3, "first_chunk": 1}, {"window 6", "knot 1", "knot 2"}),
        ({"chunk": 2, "window": 6, "sink": 1}, {"window 3", "knot 1", "knot 2"}),
        ({"chunk": 1, "window": 5, "sink": 1}, {"window 3", "knot 1"}),
    ],
    ids=["a first chunk of 1", "chunks of 2 and a sink of 1", "frame by frame"],
)
def test_a_model_with_chunks_of_any_length_is_evaluated(layout: dict[str, int], ways: set[str], tmp_path: Path) -> None:
    model, judge = with_rollout(tiny_model(), **layout), BrightnessJudge()
    arms = evaluate.arms(model)
    assert {a.name for a in arms if a.name.startswith(("window", "knot"))} == ways
    for arm in arms:
        evaluate.short(judge, arm, evaluate.prompts(1), 1, lambda said: None)
        assert len(arm.switches) == 1
    latents = model.entry.rollout.grid.start(6)
    drift = evaluate.long(judge, arms[0], 1, latents, lambda said: None, switch_every=3)
    assert all(len(stream) == 6 for streams in drift.series.values() for stream in streams)
    assert np.isfinite(drift.series["motion"]).all()
    assert "| default |" in evaluate.save(tmp_path, arms, [], dict.fromkeys(ATTRIBUTES, 1.0), {})
    evaluate.sheet(model, tmp_path / "sheet.png", seeds=1)
    assert (tmp_path / "sheet.png").exists()


def test_every_take_has_noise_of_its_own_and_arms_share_it(
    pocket: Model, judge: Judge, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[int, ...]] = []

    def noted(arm: evaluate.Arm, prompts: object, seeds: tuple[int, ...]) -> Iterator[list[np.ndarray]]:
        asked.append(seeds)
        return iter([[np.zeros((12, 128, 128, 3), np.uint8) for _ in seeds] for _ in range(8)])

    monkeypatch.setattr(evaluate, "in_step", noted)
    for arm in evaluate.arms(pocket)[:2]:
        evaluate.short(judge, arm, evaluate.prompts(3), 2, lambda _: None)
    assert asked[0] == asked[1]
    assert len(set(asked[0])) == 6


def test_streams_that_drift_alike_are_told_from_streams_that_do_not() -> None:
    noise = np.random.default_rng(0).normal(size=(8, 200)).cumsum(1)  # each stream wanders
    base = evaluate.Drift("base", {"motion": noise.tolist()})
    falling = evaluate.Drift("falling", {"motion": (noise[:, :150] - 0.01 * np.arange(150)).tolist()})
    mean, low, high = falling.against(base)["motion"]
    assert (mean, low, high) == pytest.approx((-1, -1, -1))
    wide = falling.slopes()["motion"]
    assert wide[2] - wide[1] > 1


def test_the_same_arm_measures_the_same(pocket: Model, judge: Judge) -> None:
    results = []
    for _ in range(2):
        arm = evaluate.arms(pocket)[0]
        evaluate.short(judge, arm, evaluate.prompts(1), 1, lambda _: None)
        results.append({k: v for k, v in arm.by_prompt.items() if not np.isnan(v[0])})
    assert results[0] == results[1]


def test_takes_that_run_in_step_are_the_takes_that_run_alone(pocket: Model) -> None:
    (before, after), (before2, after2) = evaluate.prompts(2)
    arm = evaluate.arms(pocket)[0]
    pairs = [(before.caption(), before2.caption())] * 4 + [(after.caption(), after2.caption())] * 2
    together = [frames[1] for frames in evaluate.in_step(arm, pairs, (3, 4))]
    cues = [CueLine(prompt=before2.caption()), CueLine(at=12, prompt=after2.caption())]
    take = Take(model="pocket", seed=4, noise="torch", length=18, cues=cues)  # as evaluations draw
    alone = np.concatenate([b.frames for b in Rollout(pocket, take).until(6)])
    difference = np.abs(np.concatenate(together).astype(int) - alone)
    assert difference.max() <= 2


def test_the_contact_sheet_shows_every_prompt_with_every_seed(pocket: Model, tmp_path: Path) -> None:
    evaluate.sheet(pocket, tmp_path / "sheet.png", seeds=1)
    picture = cv2.imread(str(tmp_path / "sheet.png"))
    assert picture is not None
    assert picture.shape == (len(evaluate.SHEET) * (128 + 18), 2 * 128, 3)
    cells = [picture[i * 146 + 18 : (i + 1) * 146] for i in range(len(evaluate.SHEET))]
    assert all(np.abs(a.astype(int) - b).mean() > 10 for i, a in enumerate(cells) for b in cells[:i])
