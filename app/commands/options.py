"""Define the options that several commands share, and bounds for every number on the command line.

Options check their values while the command line is parsed, before heavy imports.
"""

from __future__ import annotations

import math
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from app.commands.inputs import require_input
from app.device_name import require_device
from app.engine_choice import require_known
from app.fitting import Fitting
from app.log_output import LogLevel
from app.memory_size import parsed_memory
from models.cue import LoraScale

MOST_SEED = 2**63 - 1  # torch's generators take a signed 64-bit number
MOST_SECONDS = 24 * 3600  # of one speech: a day
MOST_LATENTS = 10_000_000  # of one take: a month at 16 frames a second
MOST_ROUNDS = 100_000  # chunks, prompts, streams: more than a measurement on one machine comes to


def _device(value: str) -> str:
    require_device(value)
    return value


def _engine(value: str) -> str:
    require_known(value)
    return value


def _engine_if_any(value: str | None) -> str | None:
    return None if value is None else _engine(value)


def _codec(value: str | None) -> str | None:
    if value not in (None, "wan", "tae"):
        raise typer.BadParameter(f"{value[:40]!r} is no codec; there are wan and tae")
    return value


def _vram(value: str | None) -> str | None:
    if value is not None:
        parsed_memory(value)
    return value


def fitting_of(codec: str | None, vram: str | None, *, slowly: bool = False) -> Fitting:
    """Return how a model is to be fitted, from the values of both options; `slowly`: for a film."""
    return Fitting(codec, None if vram is None else parsed_memory(vram), slowly)


def _loras(values: list[str] | None) -> list[str] | None:
    for text in values or ():
        try:
            require_input(Path(LoraScale.parse(text).name), folder=True)
        except ValueError as e:
            raise typer.BadParameter(str(e)) from None
    return values


def _finite(value: float) -> float:
    if not math.isfinite(value):  # the bounds let NaN pass, since it compares with nothing
        raise typer.BadParameter(f"{value} is not a number of seconds")
    return value


def _share(value: float | None) -> float | None:
    if value is not None and math.isnan(value):  # as above
        raise typer.BadParameter("nan is not a number from 0 to 1")
    return value


LogLevelOption = Annotated[LogLevel, typer.Option("--log-level", help="least severe log messages to show")]
DeviceOption = Annotated[
    str,
    typer.Option(
        "--device",
        callback=_device,
        help="auto, cpu, cuda or one such as cuda:1; no take was run on a GPU yet",
    ),
]
EngineOption = Annotated[
    str,
    typer.Option(
        "--engine",
        callback=_engine,
        help="auto, torch, onnx, openvino, tensorrt, or one with its precision: torch:fp32, torch:bf16, onnx:int8; "
        "torch:compiled compiles the blocks",
    ),
]
AgainstOption = Annotated[
    str | None,
    typer.Option("--against", metavar="ENGINE", callback=_engine_if_any, help="measure this engine too, in turns"),
]
CodecOption = Annotated[
    str | None,
    typer.Option("--codec", callback=_codec, help="wan or tae, the tiny codec that stands for Wan's"),
]
VramOption = Annotated[
    str | None,
    typer.Option("--vram", metavar="SIZE", callback=_vram, help="fit the model into this much of a card, as in 12GB"),
]
LoraOption = Annotated[
    list[str] | None,
    typer.Option("--lora", metavar="FILE[:SCALE]", callback=_loras, help="merge a LoRA, -2 to 2; may be repeated"),
]
SeedOption = Annotated[int, typer.Option("--seed", min=0, max=MOST_SEED, help="of the noise")]
ScaleOption = Annotated[int, typer.Option("--scale", min=1, max=8, help="enlarge the picture")]
PortOption = Annotated[int, typer.Option("--port", min=1, max=65535)]
StrengthOption = Annotated[
    float | None,
    typer.Option(
        "--strength",
        min=0.01,
        max=1,
        callback=_share,
        help="how far the picture may leave the source  [default: the model's]",
    ),
]


class StartBy(StrEnum):
    """Name how a take begins with a picture."""

    PIN = "pin"
    PREFIX = "prefix"


class FitChoice(StrEnum):
    """Name how pictures of another shape are fitted."""

    CROP = "crop"
    PAD = "pad"


FitOption = Annotated[FitChoice, typer.Option("--fit", help="crop pictures of another shape, or pad them with bars")]
SpeechSeconds = Annotated[
    float,
    typer.Option("--seconds", min=8, max=MOST_SECONDS, callback=_finite, help="length of each face's speech"),
]
