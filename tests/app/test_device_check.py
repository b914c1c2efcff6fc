"""The device check measures every stage, keeps what it has when a stage hangs or fails, and says what was not run."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from app.device_check import kernels, page, pictures
from app.device_check.measuring import FUNCTIONS, measure
from app.device_check.running import run
from app.device_check.stages import DEADLINES
from models.codecs.tiny import TinyCodecConfig

ROOT = Path(__file__).parents[2]
HIDDEN = ("diffusers", "transformers", "pydantic", "ftfy", "cv2", "av", "yaml", "PIL", "accelerate", "torchao")


def values(found: Any, name: str = "") -> list[tuple[str, Any]]:
    """Return all figures of nested results with the names that lead to them."""
    if not isinstance(found, dict):
        return [(name, found)]
    return [one for key, part in found.items() for one in values(part, f"{name}/{key}")]


@pytest.mark.parametrize("stage", FUNCTIONS)
def test_a_stage_measures_tiny_shapes_on_a_cpu(stage: str) -> None:
    found = measure(stage, "cpu", dry=True)
    assert json.loads(json.dumps(found)) == found
    failed = [(name, said) for name, said in values(found) if isinstance(said, str) and "Error:" in said]
    lacking = ("sageattention", "torchao", "pinned memory", "h264_nvenc", "capability")
    assert [one for one in failed if not any(word in " ".join(one) for word in lacking)] == []
    rates = [figure for name, figure in values(found) if name.endswith(("fps", "/ms")) or "fps" in name]
    assert all(isinstance(rate, float | int) and rate > 0 for rate in rates if not isinstance(rate, str))


def test_stages_have_deadlines_in_the_order_in_which_they_run() -> None:
    assert list(DEADLINES) == list(FUNCTIONS)


def test_yuv_made_on_the_device_is_what_opencv_makes() -> None:
    assert measure("copies", "cpu", dry=True)["YUV differs from OpenCV's by"] in (0, 1)


def test_the_decoder_that_is_said_to_be_compiled_runs_compiled_code(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[object] = []

    def compiled(work: Callable[..., object], **how: object) -> Callable[..., object]:
        return lambda *given: (ran.append(how), work(*given))[1]

    monkeypatch.setattr(torch, "compile", compiled)
    monkeypatch.setattr(pictures, "TAE", {16: TinyCodecConfig(encoder_width=4, decoder_widths=(4, 4, 4, 4))})
    measure("codecs", "cpu", dry=True)
    assert ran[0] == {"dynamic": False}


def test_an_attention_that_fails_leaves_the_figures_of_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    def without_bias(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
        if bias is not None:
            raise RuntimeError("no kernel takes a bias")
        return q

    monkeypatch.setattr(kernels, "attend", without_bias)
    found = measure("attention", "cpu", dry=True)
    assert found["with a bias for its padding ms"] == "RuntimeError: no kernel takes a bias"
    assert isinstance(found["a prompt's 96 keys ms"], float)


def test_a_stage_that_measures_one_of_several_cards_runs_on_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Events and counters of memory are those of the current device: on another one they would time nothing."""
    current: list[torch.device] = []
    monkeypatch.setattr(torch.cuda, "set_device", current.append)
    monkeypatch.setitem(FUNCTIONS, "machine", lambda sizes, device: {"current": current[-1] == device})
    assert measure("machine", "cuda:1", dry=True) == {"current": True}


def test_a_stage_that_hangs_is_ended_and_the_next_one_is_measured(tmp_path: Path) -> None:
    results = tmp_path / "results.jsonl"
    deadlines = {"chunk": 0.05, "machine": 100.0}
    assert run(["chunk", "machine"], results, "cpu", 200, dry=True, deadlines=deadlines) == 1
    first, second = page.read(results)
    assert first["failed"] == "ended after 0 s, its deadline"
    assert second["found"]["product bf16 TFLOP/s"] > 0
    assert first["commit"] == second["commit"]


def test_no_stage_begins_when_the_time_is_over(tmp_path: Path) -> None:
    results = tmp_path / "results.jsonl"
    assert run(["machine", "graph"], results, "cpu", 0, dry=True) == 1
    assert [line["failed"] for line in page.read(results)] == ["passed over, as 0 s were over"] * 2


def test_the_check_needs_no_package_but_torch_numpy_and_safetensors() -> None:
    """A model of random weights is drawn where the other packages cannot be imported."""
    hidden = f"import sys; sys.modules.update(dict.fromkeys({HIDDEN!r}))"
    work = "from app.device_check.measuring import measure; print(measure('correctness', 'cpu', dry=True))"
    done = subprocess.run([sys.executable, "-c", f"{hidden}; {work}"], cwd=ROOT, capture_output=True, text=True)
    assert "'latents are finite': True" in done.stdout, done.stderr


LINE = {"stage": "chunk", "dry": False, "seconds": 31.2, "day": "2026-11-27", "commit": "abc1234"}


def test_the_page_has_the_newest_figures_with_device_versions_and_commit() -> None:
    machine = LINE | {
        "stage": "machine",
        "found": {"device": "NVIDIA H100", "versions": {"torch": "2.13.0", "av": None}},
    }
    older, newer = LINE | {"found": {"fps": 31.5}}, LINE | {"found": {"fps": 41.5, "ms": {"draw": 1.5, "decode": 2}}}
    text = page.as_page([machine, older, newer, LINE | {"stage": "graph", "failed": "out of | memory"}])
    assert "NVIDIA H100, torch 2.13.0; commits abc1234; 2026-11-27." in text
    assert "| fps | 41.5 |\n| ms | draw: 1.5, decode: 2 |" in text
    assert "31.5" not in text
    assert "Failed: out of | memory" in text
    assert "Not run on a GPU" not in text


def test_a_dry_run_is_no_result_of_a_gpu() -> None:
    assert page.as_page([LINE | {"dry": True, "found": {"fps": 3.0}}]) == page.as_page([])


def test_the_page_that_ships_says_that_nothing_was_run_on_a_gpu() -> None:
    assert (ROOT / "docs" / "gpu.md").read_text(encoding="utf-8") == page.as_page([])
