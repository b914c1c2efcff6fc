"""Encode the texts of prompts before the chunks that need them are drawn."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass

from models.checkpoints.assemble import Model
from models.errors import UserError
from streaming.live.device import DeviceThread
from streaming.transport.events import EncodedEvent, Event

log = logging.getLogger(__name__)

MOST = 128  # texts that may wait


class TextError(Exception):
    """Report a text that could not be encoded; the message is a line for a person."""

    def __init__(self, text: str, error: Exception) -> None:
        """Report what went wrong with this text; only errors that are for a person are told in their own words."""
        defect = f"its text encoder failed ({type(error).__name__})"
        why = str(error).splitlines()[0] if isinstance(error, UserError) else defect
        super().__init__(f"the prompt is not drawn: {why}")
        self.text = text


def encode(model: Model, text: str) -> None:
    """Have a model encode a text, and remember it; for the device thread. TextError if that fails, which is logged."""
    try:
        model.generator.text(text)
    except Exception as e:
        log.warning("a text of %d characters could not be encoded: %r", len(text), e)
        raise TextError(text, e) from e


@dataclass(frozen=True)
class _Waiting:
    text: str
    number: int
    failed: Callable[[TextError], None]


class TextQueue:
    """Encode texts in order, one at a time: the device takes the chunks of other sessions between two of them."""

    def __init__(self, model: Model, device: DeviceThread, tell: Callable[[Event], None]) -> None:
        """Encode with `model` on the device; `tell` gets an event for every text that is encoded."""
        self._model, self._device, self._tell = model, device, tell
        self._texts: asyncio.Queue[_Waiting] = asyncio.Queue(MOST)

    def require_room(self) -> None:
        """Raise ValueError if no further text may wait."""
        if self._texts.full():
            raise ValueError("too many texts wait to be encoded")

    def add(self, text: str, number: int, failed: Callable[[TextError], None]) -> None:
        """Have the text of the command `number` encoded; ValueError if too many wait.

        `failed` is called if it cannot be encoded.
        """
        self.require_room()
        self._texts.put_nowait(_Waiting(text, number, failed))

    async def run(self) -> None:
        """Encode until cancelled."""
        while True:
            waiting = await self._texts.get()
            try:
                await self._encode(waiting.text)
            except TextError as e:
                waiting.failed(e)
                continue
            read = self._model.read_prompt(waiting.text)
            self._tell(EncodedEvent(id=waiting.number, not_understood=read.unknown, notes=list(read.notes)))

    async def _encode(self, text: str) -> None:
        await self._device.run(lambda: encode(self._model, text))
