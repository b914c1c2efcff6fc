"""Build an engine, run it beside torch, compare, and write the report: python -m exporters.verify --engine onnx"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # spinning threads starve everything else on shared cores

import torch

from exporters.artifacts import ExportError, Store, no_room, read_json, size_of, write_json
from exporters.engine_modules import NOTES, Say, Variant, with_engine
from exporters.engine_registry import ENGINES, build, exported, key_of, require, start
from exporters.parity import Adherence, adherence, compared, drift, resident, rollout, timing
from exporters.report import page
from exporters.rollouts import roll, script
from models.catalog import POCKET, UnknownModelError, find
from models.checkpoints.assemble import ASSETS, Model, folder_of, load, random_model
from models.checkpoints.folders import engines_folder, models_folder
from models.checkpoints.weight_files import CheckpointError
from models.judge import classifier

LATENTS = 300
PROMPTS = 60  # enough for 2,000 judgments
EQUAL = 1e-4  # largest latent error at which an engine is torch's equal, so that no judge is needed


def verify(model: Model, variant: Variant, store: Store, say: Say, *, latents: int = LATENTS) -> dict[str, Any]:
    """Compare an artifact with torch; write the report beside it and return it."""
    key, before = key_of(model, variant), resident()
    runners = start(model, variant, store)
    for drawn, chunk in roll(with_engine(model, runners), script(1, 2, ())):  # its buffers are there after a run
        drawn.codec.decode(chunk)
    memory = {"torch, with the model": round(before), "added by the engine": round(resident() - before)}
    say("comparing single steps")
    other, report = compared(model, runners)
    report["memory_mb"] = memory
    known = model.entry.name == POCKET.name  # the judge knows pocket's world alone
    judge = classifier.load(ASSETS / "judge" / "judge.safetensors") if known else None
    long = rollout(model, other, latents, say, judge)
    judged, equal = None, is_equal(long)
    if judge is not None and not equal:
        judged = adherence(model, other, judge, PROMPTS, say)
    good = equal or (judged is not None and judged.good)
    say("timing")
    with _beside(model, variant, store, say) as yardstick:
        times = timing({"torch": model, str(variant): other, **yardstick})
    assert runners.artifact is not None
    weights = sum(p.numel() * p.element_size() for p in model.generator.transformer.parameters())  # type: ignore[attr-defined]
    report |= {
        "key": key.name,
        "model": model.entry.name,
        **asdict(variant),
        "good": good,
        "verdict": verdict(long, judged, equal=equal),
        "record": {
            "runtime": runners.runtime,
            "torch": torch.__version__,
            "device": key.facts["device"],
            "threads": torch.get_num_threads(),
            "weights": model.fingerprint,
            "load average when timed": round(os.getloadavg()[0], 2),
        },
        "timing": {name: asdict(t) for name, t in times.items()},
        "bytes": {
            "the transformer in torch": weights,
            **{p.name: p.stat().st_size for p in sorted(runners.artifact.iterdir())},
            "the artifact": size_of(runners.artifact),
        },
        "rollout": long,
        "drift": drift(long),
        "adherence": asdict(judged) if judged else None,
        "int8": read_json(runners.artifact / NOTES),
    }
    write_json(store.beside(key, "parity.json"), report)
    try:
        store.beside(key, "html").write_text(page(report), encoding="utf-8")
    except OSError as e:
        raise no_room(store.folder, e) from e
    return report


def is_equal(long: dict[str, list[float]]) -> bool:
    """Return whether no latent of a long take differs from torch's by more than EQUAL; NaN differs."""
    return all(error <= EQUAL for error in long["largest"])


@contextlib.contextmanager
def _beside(model: Model, variant: Variant, store: Store, say: Say) -> Iterator[dict[str, Model]]:
    """Give ONNX in float32 as a yardstick where the CPU runs the model; build it for the moment if it is missing."""
    onnx = Variant("onnx", "fp32")
    if variant == onnx or model.generator.device.type != ENGINES[onnx.engine].DEVICE:
        yield {}
    elif onnx in exported(model, store):
        yield {str(onnx): with_engine(model, start(model, onnx, store))}
    else:
        with tempfile.TemporaryDirectory(dir=store.folder) as folder:
            build(model, onnx, Store(Path(folder)), say)
            yield {str(onnx): with_engine(model, start(model, onnx, Store(Path(folder))))}


def verdict(long: dict[str, list[float]], judged: Adherence | None, *, equal: bool) -> str:
    """Return one sentence on whether the engine may be a default, and why."""
    chunks = len(long["psnr"])
    if equal:
        return f"good: latents within {max(long['largest']):.1e} of torch over {chunks} chunks"
    said = f"frames at {sum(long['psnr']) / chunks:.1f} dB of torch's over {chunks} chunks"
    if judged is None:
        return f"not a default: {said}, and no judge reads this model"
    low, high = judged.loss_bounds
    bounds = f"{100 * low:+.2f} to {100 * high:+.2f}"
    loss = f"adherence {100 * judged.loss:+.2f} points lost ({bounds}) in {judged.judgments} judgments"
    return f"{'good' if judged.good else 'not a default'}: {said}; {loss}"


def main() -> None:
    """Build an engine if needed, compare it and report; an error that a person can mend is one line."""
    parser = argparse.ArgumentParser(prog="python -m exporters.verify", description=__doc__)
    parser.add_argument("model", nargs="?", default="pocket")
    parser.add_argument("--engine", choices=sorted(ENGINES), required=True)
    parser.add_argument("--precision", default="int8")
    parser.add_argument("--store", type=Path, default=engines_folder(), help="folder of artifacts and reports")
    parser.add_argument("--models", type=Path, default=models_folder(), help="folder of pulled models")
    parser.add_argument("--random-weights", action="store_true", help="true size, no files needed")
    a = parser.parse_args()

    def say(text: str) -> None:
        print(text, file=sys.stderr)

    try:
        require(a.engine)
        device = torch.device(ENGINES[a.engine].DEVICE)
        entry = find(a.model)
        if device.type == "cuda" and not torch.cuda.is_available():
            raise ExportError(f"engine {a.engine} needs an NVIDIA GPU, and torch sees none here")
        dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
        built = random_model(entry, device, dtype) if a.random_weights else None
        model = built or load(entry, folder_of(entry, a.models), device, dtype)
        variant, store = Variant(a.engine, a.precision), Store(a.store)
        try:
            here = store.find(key_of(model, variant)) is not None
        except ExportError as e:
            say(f"{e}; it is made anew")
            here = False
        if not here:
            build(model, variant, store, say)
        report = verify(model, variant, store, say)
        print(f"{report['verdict']}\n{store.beside(key_of(model, variant), 'html')}")
    except (ExportError, CheckpointError, UnknownModelError) as e:
        raise SystemExit(f"error: {e.args[0]}") from None


if __name__ == "__main__":
    main()
