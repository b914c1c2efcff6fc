"""Import the studio's modules and build the services of a server, in this process or in a worker of a cluster."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from app.fitting import Fitting
from app.settings import Settings

if TYPE_CHECKING:
    from app.services import Seat, Services
    from streaming.speech.voices.text_voice import TextVoice


@dataclass(frozen=True)
class VoiceChoice:
    """Hold the options of the voice that reads texts, as `app.voice_choice.voice_of` takes them."""

    name: str = "espeak-ng"
    rate: int | None = None
    body: str | None = None
    token: str | None = None

    def made(self) -> TextVoice:
        """Return the voice; VoiceChoiceError if there is none."""
        from app.voice_choice import voice_of  # it imports PyAV, which mistakes in other options need not wait for

        return voice_of(self.name, self.rate, self.body, self.token)


@dataclass(frozen=True)
class StudioOptions:
    """Hold the options of `longtake serve` that every process with sessions needs."""

    settings: Settings
    data: Path
    device: str
    engine: str
    fitting: Fitting
    loras: tuple[str, ...]
    voice: VoiceChoice


def built_services(
    options: StudioOptions, say: Callable[[str], None], *, seat: Seat | None = None, alone: bool = True
) -> Services:
    """Return the services of a server with these options; `say` is called with the name of each part as it loads.

    `seat` and `alone` are those of `Services`.
    """
    say("PyTorch")
    import torch

    say("the server")
    from app.engine_choice import check, chosen_or_torch, require_installed, runs_in_torch
    from app.loaded_model import torch_device
    from app.model_library import ModelLibrary
    from app.services import Services
    from models.checkpoints.added import register
    from streaming.live.device import DeviceThread
    from streaming.speech.voices.hibari_voice import HibariVoice
    from streaming.take.take_loras import merged_loras, offered

    settings, engine = options.settings, options.engine
    register(settings.models)
    where = torch_device(options.device)
    # an engine that is missing is reported now, not by a server that is half up
    if engine != "auto" and not runs_in_torch(engine):
        from models.catalog import POCKET
        from models.checkpoints.assemble import ASSETS, load

        require_installed(engine)
        say(f"the engine {engine}")
        model = load(POCKET, ASSETS, where, torch.float32)
        if options.loras:
            model, _ = merged_loras(model, options.loras)  # an engine has them for good
        check(model, engine, settings.engines)
    library = ModelLibrary(
        settings.models,
        where,
        DeviceThread(),
        engine=engine,
        loras=offered(options.loras),
        fitting=options.fitting,
        on_engine=lambda read: chosen_or_torch(read, engine, settings.engines),
    )
    voice = options.voice.made()
    if isinstance(voice, HibariVoice):
        say("the voice hibari")
        voice.load()
    return Services.of(settings, library, options.data, voice, seat=seat, alone=alone)
