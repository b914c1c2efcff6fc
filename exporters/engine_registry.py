"""List the engines, with what each needs, and build and start their artifacts."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import shlex
from collections.abc import Iterator
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Protocol, cast

import torch

import exporters.onnx.engine
import exporters.openvino.engine
import exporters.tensorrt.engine
from exporters.artifacts import ExportError, Key, Store
from exporters.asked_engine import PRECISIONS
from exporters.engine_modules import Runners, Say, Variant
from exporters.shapes import occurring
from models.checkpoints.assemble import Model
from models.codecs.tiny import TinyCodec

FORMAT = 1  # of the artifacts; a change of what is exported makes the old ones stale


class Engine(Protocol):
    """Describe a module of this package that builds and runs artifacts."""

    PACKAGES: tuple[str, ...]
    EXTRA: str  # of the longtake package, which installs what it needs
    DEVICE: str  # type of the device that it runs on

    def make(self, model: Model, precision: str, folder: Path, say: Say) -> None: ...
    def start(self, model: Model, precision: str, folder: Path) -> Runners: ...


ENGINES: dict[str, Engine] = {
    "onnx": cast(Engine, exporters.onnx.engine),
    "openvino": cast(Engine, exporters.openvino.engine),
    "tensorrt": cast(Engine, exporters.tensorrt.engine),
}


def missing(engine: str) -> list[str]:
    """Return the packages that the engine needs and that are not installed."""
    return [p for p in ENGINES[engine].PACKAGES if importlib.util.find_spec(p) is None]


def require(engine: str) -> None:
    """Raise ExportError that says what to install if a package is missing."""
    absent = missing(engine)
    if absent:
        index = " --extra-index-url https://pypi.nvidia.com" if "tensorrt" in absent else ""
        install = f"pip install -e '.[{ENGINES[engine].EXTRA}]'{index}"
        raise ExportError(f"engine {engine} needs {', '.join(absent)}, which is not installed: {install}")


def key_of(model: Model, variant: Variant) -> Key:
    """Return all that this artifact of the model depends on."""
    device, entry = model.generator.device, model.entry
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else torch.backends.cpu.get_cpu_capability()
    codec = model.generator.codec
    facts: dict[str, Any] = {
        "format": FORMAT,
        "model": entry.name,
        "weights": model.fingerprint,
        "codec": [_digest(codec), json.loads(json.dumps(asdict(codec.config)))]
        if isinstance(codec, TinyCodec)
        else None,
        "transformer": {k: list(v) if isinstance(v, tuple) else v for k, v in sorted(entry.transformer.items())},
        "shapes": [list(pair) for pair in occurring(model, entry.size)],
        "rollout": json.loads(json.dumps(asdict(entry.rollout))),  # what it was calibrated and compared on
        "engine": variant.engine,
        "precision": variant.precision,
        "device": f"{device.type} {name}",
        "versions": {p: _version(p) for p in ("torch", "diffusers", *ENGINES[variant.engine].PACKAGES)},
    }
    if fixed := model.generator.fixed.content:  # left out without any, so that artifacts of earlier releases keep names
        facts["loras"] = [list(lora) for lora in fixed]
    return Key(facts)


def build(model: Model, variant: Variant, store: Store, say: Say) -> Path:
    """Build the artifact, replacing an older one; ExportError in one line for a reason that a person can mend."""
    require(variant.engine)
    engine = ENGINES[variant.engine]
    if variant.precision not in PRECISIONS:
        raise ExportError(f"engine {variant.engine} knows {', '.join(PRECISIONS)}, not {variant.precision!r}")
    if model.generator.device.type != engine.DEVICE:
        here = model.generator.device.type
        raise ExportError(
            f"engine {variant.engine} is built on {engine.DEVICE}, and the model is on {here}: see --device"
        )
    key = key_of(model, variant)
    with store.building(key) as folder:
        engine.make(model, variant.precision, folder, say)
        for said in ("parity.json", "html"):  # of what was there before, and is now replaced
            store.beside(key, said).unlink(missing_ok=True)
        for choice in store.folder.glob("choice-*.json"):  # it may have been made without this one
            choice.unlink(missing_ok=True)
    return store.path(key)


def start(model: Model, variant: Variant, store: Store) -> Runners:
    """Open the artifact; ExportError that says how to build it if it is missing or cannot be trusted."""
    require(variant.engine)
    device = model.generator.device.type
    if device != ENGINES[variant.engine].DEVICE:
        raise ExportError(
            f"engine {variant.engine} runs on {ENGINES[variant.engine].DEVICE}, the model is on {device}: see --device"
        )
    fixed = model.generator.fixed
    make = f"longtake export {model.entry.name} --engine {variant.engine} --precision {variant.precision}"
    make += "".join(f" --lora {shlex.quote(f'{lora.name}:{lora.scale:g}')}" for lora in fixed.scales)
    merged = f" with {fixed} merged" if fixed.scales else ""
    try:
        folder = store.find(key_of(model, variant))
    except ExportError as e:
        raise ExportError(f"{e}; make it anew with: {make}") from e
    if folder is None:
        raise ExportError(f"no {variant} engine of {model.entry.name}{merged} is here; make it with: {make}")
    return ENGINES[variant.engine].start(model, variant.precision, folder)


def exported(model: Model, store: Store) -> Iterator[Variant]:
    """Yield the variants that have an artifact for this very model and whose packages are installed."""
    there = store.names()
    for name, engine in ENGINES.items() if there else ():
        if not missing(name) and model.generator.device.type == engine.DEVICE:
            for precision in PRECISIONS:
                variant = Variant(name, precision)
                if key_of(model, variant).name in there:
                    yield variant


def _version(package: str) -> str:
    try:
        return version("tensorrt-cu13" if package == "tensorrt" else package)
    except PackageNotFoundError:
        return "none"


def _digest(module: torch.nn.Module) -> str:
    digest = hashlib.blake2b(digest_size=8)
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
