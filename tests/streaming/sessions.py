"""Run sessions of a tiny random model for tests."""

from __future__ import annotations

import asyncio
import functools
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from conftest import TINY_CODEC, tiny_model, tiny_text

from models.checkpoints.assemble import Model
from models.codecs.tiny import TinyCodec
from models.generator import Generator
from models.text.prompt_reading import any_prompt
from streaming.live.device import DeviceThread
from streaming.live.pacing import LookAhead
from streaming.live.session import Session
from streaming.rollout import Rollout
from streaming.take.history import TakeHistory
from streaming.take.take_file import CueLine, Take
from streaming.transport.commands import parse
from streaming.transport.events import Event

TAKE = Take(model="tiny", seed=5, length=1, cues=[CueLine(prompt="one")])


@asynccontextmanager
async def running(
    folder: Path | None = None,
    look_ahead: LookAhead = LookAhead.SMOOTH,
    past: TakeHistory | None = None,
    *,
    model: Model | None = None,
    device: DeviceThread | None = None,
) -> AsyncIterator[tuple[Session, list[Any]]]:
    """Run a session of TAKE; yield it with the events that it has published, to which later ones are added."""
    device = device or DeviceThread()
    session = Session(model or tiny_model(), TAKE, device, folder=folder, look_ahead=look_ahead, past=past)
    events: list[Event] = []
    session.listen(events.append)
    session.start()
    try:
        yield session, events
    finally:
        await session.close()
        device.close()


def say(session: Session, number: int, **what: Any) -> None:
    """Have the session obey a command with this number and these fields."""
    session.obey(parse(json.dumps({"id": number, **what})))


async def until(condition: Callable[[], bool], seconds: float = 30) -> None:
    """Return when the condition holds; TimeoutError if it does not within so many seconds."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)


def async_test(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Run a test on an event loop of its own."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        asyncio.run(test(*args, **kwargs))  # type: ignore[arg-type]

    return run


def replayed(take: Take, model: Model | None = None) -> dict[int, str]:
    """Return first latent → hash of every chunk of an offline rollout."""
    model = model or tiny_model()
    rollout = Rollout(model, take)
    return {b.first: b.hash for b in rollout.until(take.chunks(model.entry.rollout.grid, model.entry.fps))}


def model_with_first_chunk(latents: int) -> Model:
    """Return a tiny model whose first chunk has another length than the others."""
    tiny = tiny_model()
    rollout = replace(tiny.entry.rollout, first_chunk=latents)
    generator = Generator(rollout, tiny.generator.transformer, tiny_text, TinyCodec(TINY_CODEC).eval())
    return Model(replace(tiny.entry, rollout=rollout), generator, "tiny", any_prompt)


def uploaded(session: Session, path: Path) -> str:
    """Upload a file for a session; return the name by which its commands name it."""
    assert session.files is not None
    arriving = session.files.begin()
    arriving.write(path.read_bytes())
    name = session.files.keep(arriving, session.files.checked(arriving, path.name)).name
    session.files.drop(arriving)
    return name
