"""The parity report: what it measures, says and leaves behind."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import BrightnessJudge, tiny_model
from exported import FP32, INT8, tiny_store

from exporters.artifacts import Store
from exporters.engine_registry import key_of
from exporters.engine_selection import is_good
from exporters.parity import adherence, psnr
from exporters.verify import is_equal, verdict, verify


@pytest.fixture
def store(tmp_path: Path) -> Store:
    shutil.copytree(tiny_store().folder, tmp_path / "engines")
    return Store(tmp_path / "engines")


def test_float32_is_good_without_a_judge_and_the_page_stands_alone(store: Store) -> None:
    model = tiny_model()
    report = verify(model, FP32, store, lambda text: None, latents=60)
    assert report["good"]
    assert is_good(model, FP32, store)
    assert max(report["rollout"]["largest"]) < 1e-4
    assert len(report["rollout"]["psnr"]) == 20
    assert set(report["drift"]) == {"colour", "sharpness", "motion"}
    assert all(abs(v) < 0.5 for v in report["drift"].values())
    assert set(report["steps"]) == {"0", "0.75", "1"}
    assert all(e["largest"] < 1e-4 for e in report["steps"].values())
    assert set(report["timing"]) == {"torch", "onnx fp32"}
    assert json.loads(store.beside(key_of(model, FP32), "parity.json").read_text()) == report
    page = store.beside(key_of(model, FP32), "html").read_text()
    assert page.count("<svg") == 2
    assert "http" not in page


def test_int8_of_a_model_that_no_judge_reads_is_measured_and_is_no_default(store: Store) -> None:
    model = tiny_model()
    report = verify(model, INT8, store, lambda text: None, latents=18)
    assert not report["good"]
    assert "no judge reads this model" in report["verdict"]
    assert set(report["timing"]) == {"torch", "onnx fp32", "onnx int8"}  # all in the same run
    assert report["bytes"]["step.onnx"] > 0
    assert report["int8"]["kept"] is not None


def test_two_equal_models_lose_no_adherence() -> None:
    found = adherence(tiny_model(), tiny_model(), BrightnessJudge(), 3, lambda text: None)
    assert found.loss == 0
    assert found.loss_bounds == (0, 0)
    assert found.torch == found.engine
    assert found.judgments > 3 * 6 * 3
    assert not found.good  # three prompts prove nothing


def test_the_verdict_says_why() -> None:
    long = {"largest": [0.5], "psnr": [40.0]}
    assert verdict(long, None, equal=False).startswith("not a default: frames at 40.0 dB of torch's over 1 chunks")
    assert verdict({"largest": [1e-6], "psnr": [99.0]}, None, equal=True).startswith("good: latents within 1.0e-06")


def test_an_engine_that_stops_giving_numbers_is_no_equal() -> None:
    assert is_equal({"largest": [1e-6, 1e-4]})
    assert not is_equal({"largest": [1e-6, float("nan"), float("nan")]})
    assert not is_equal({"largest": [1e-6, 2e-4]})


@pytest.mark.parametrize("asked", [["pocked"], ["longlive-1.3b", "--models", "nowhere"], ["--precision", "int4"]])
def test_what_verify_cannot_do_is_one_line(tmp_path: Path, asked: list[str]) -> None:
    command = [sys.executable, "-m", "exporters.verify", "--engine", "onnx", "--store", str(tmp_path), *asked]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1


def test_psnr_of_equal_and_of_opposite_frames() -> None:
    black, white = torch.zeros(1, 2, 2, 3, dtype=torch.uint8), torch.full((1, 2, 2, 3), 255, dtype=torch.uint8)
    assert psnr(black, black) == 99
    assert np.isclose(psnr(black, white), 0)


def test_the_doors_open_without_the_exporters_libraries() -> None:
    absent = "import sys; [sys.modules.__setitem__(n, None) for n in ('onnx', 'onnxruntime', 'openvino', 'onnxscript')]"
    done = subprocess.run(
        [sys.executable, "-c", f"{absent}; import app.engine_choice"], check=False, capture_output=True
    )
    assert done.returncode == 0, done.stderr.decode()
