"""Load each model of a server once, and describe the models of the catalog."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Literal

import torch
from pydantic import BaseModel

from app.engine_choice import Readings, runs_in_torch
from app.fitting import Fitting
from app.loaded_model import precision_of, readings
from app.vocabulary import understands
from models import catalog
from models.checkpoints import assemble
from models.checkpoints.assemble import Model, folder_of
from models.checkpoints.footprint import disk_bytes, memory_bytes
from models.cue import LoraScale
from models.errors import UserError
from models.lora import rescaled
from streaming.live.device import DeviceThread
from streaming.measured_speeds import MeasuredSpeeds, Speed
from streaming.take.take_file import Take
from streaming.take.take_loras import OfferedLora, use_lora, with_held_loras, with_offered

log = logging.getLogger(__name__)


class Strengths(BaseModel):
    """Tell how far a model's picture can leave a source that it follows, each between 0 and 1."""

    low: float  # below it little changes
    high: float  # above it the source is ignored
    usual: float


class ModelFacts(BaseModel):
    """Describe a model of the catalog to a viewer who chooses one."""

    name: str
    title: str
    speaks: bool  # whether it is an avatar
    here: bool  # whether its files are on this machine
    loaded: bool
    size: str  # WIDTHxHEIGHT in pixels
    fps: int
    memory_mb: int
    disk_mb: int | None  # None while its files are not here
    measured: Speed | None  # speed measured on this machine
    understands: dict[str, list[str]]  # attribute → words; only models with a small vocabulary have any
    inputs: list[Literal["image", "film", "camera"]]  # that may come in beside text
    strength: Strengths | None  # of following a film or a camera; None for a model that follows none


class ModelLibrary:
    """Load models by name, each once, on the device thread."""

    def __init__(
        self,
        folder: Path,
        device: torch.device,
        thread: DeviceThread,
        *,
        engine: str = "auto",
        loras: Sequence[OfferedLora] = (),
        fitting: Fitting | None = None,
        on_engine: Callable[[Readings], Model] = lambda read: read.in_torch(),
        load: Callable[[catalog.Entry, Path, torch.device, torch.dtype], Model] | None = None,
    ) -> None:
        """Create an empty library.

        `folder` holds the pulled models; `engine` is the value of `--engine`, `on_engine` returns a model that runs on
        this engine, given how it is read; `fitting` says with which codec and within which memory, and `load` reads an
        entry's files instead. Models that `loras` fit may merge them.
        """
        self.folder, self.device, self.thread, self.engine = folder, device, thread, engine
        self.speeds = MeasuredSpeeds(folder)
        self.fitting = fitting or Fitting()
        self._on_engine, self._load = on_engine, load or self._fitted
        self._loaded: dict[str, Model] = {}
        self._loading = asyncio.Lock()
        self._given = tuple(loras)
        self._offered: dict[str, list[OfferedLora]] = {}  # model → LoRAs that fit it
        self._precision = precision_of(device, engine)

    async def load(self, name: str) -> Model:
        """Return a model by name; raise UnknownModelError if there is none, CheckpointError without its files."""
        async with self._loading:
            if name not in self._loaded:
                entry = catalog.find(name)
                folder = folder_of(entry, self.folder)
                loaded, fitting = await self.thread.run(lambda: self._built(entry, folder))
                self._offered[name], self._loaded[name] = fitting, loaded
        return self._loaded[name]

    def _fitted(self, entry: catalog.Entry, folder: Path, device: torch.device, precision: torch.dtype) -> Model:
        return self.fitting.load(entry, folder, device, precision, lambda line: log.warning("%s", line), assemble.load)

    def _built(self, entry: catalog.Entry, folder: Path) -> tuple[Model, list[OfferedLora]]:
        """Load a model and choose its engine, which has the LoRAs of the options for good; return those that it has."""
        read = readings(lambda precision: self._load(entry, folder, self.device, precision), self.device, self.engine)
        if runs_in_torch(self.engine) or not self._given:
            model = self._on_engine(read)
            return model, self._fitting(model)
        model = read.exact()
        fitting = self._fitting(model)
        scales = rescaled((), [LoraScale(lora.name, lora.scale) for lora in fitting])
        merged = with_held_loras(model, scales) if scales else model
        found = self._on_engine(Readings(lambda: merged, lambda: merged))
        return (found, [lora for lora in fitting if lora.scale]) if found.engine else (model, fitting)

    async def with_loras(self, take: Take) -> Take:
        """Return a take that may use the LoRAs that fit its model, and begins with their scales; errors as `load`."""
        if not self._given:
            return take
        await self.load(take.model)
        return with_offered(take, self._offered[take.model])

    def _fitting(self, model: Model) -> list[OfferedLora]:
        """Let a model merge the LoRAs that fit it, and log why it does not take the others."""
        fitting: list[OfferedLora] = []
        for lora in self._given:
            try:
                notes = use_lora(model, lora.name, lora.path)
            except UserError as e:
                log.warning("not offered for %s: %s", model.entry.name, e)
                continue
            for note in notes:
                log.warning("%s", note)
            fitting.append(lora)
        return fitting

    def facts(self) -> list[ModelFacts]:
        """Describe every model of the catalog."""
        return [self._facts(entry) for entry in catalog.ENTRIES.values()]

    def engine_of_render(self, name: str) -> str:
        """Return the `--engine` option of a background render: the engine that runs the model in this server.

        A model that was not loaded yet gets `auto`, since it may not have the engine that was asked for.
        """
        loaded = self._loaded.get(name)
        if loaded is None:
            return self.engine if runs_in_torch(self.engine) else "auto"
        pinned = runs_in_torch(self.engine) and self.engine != "torch"
        if loaded.engine or pinned:
            return self.engine
        if self.device.type != "cpu":
            return "torch"
        return "torch:bf16" if loaded.generator.dtype == torch.bfloat16 else "torch:fp32"

    def _facts(self, entry: catalog.Entry) -> ModelFacts:
        disk, scenes = disk_bytes(entry, self.folder), entry.driving_features is None
        return ModelFacts(
            name=entry.name,
            title=entry.title,
            speaks=not scenes,
            here=disk is not None,
            loaded=entry.name in self._loaded,
            size=f"{entry.size[0]}x{entry.size[1]}",
            fps=entry.fps,
            memory_mb=round(memory_bytes(entry, self._precision.itemsize) / 1e6),
            disk_mb=None if disk is None else round(disk / 1e6),
            measured=self.speeds.of(entry.name, self.device.type),
            understands={n: [w for ways in v for w in ways] for n, v in understands(entry).items()},
            inputs=["image", "film", "camera"] if scenes else [],
            strength=Strengths(**asdict(entry.rollout.strength)) if scenes else None,
        )
