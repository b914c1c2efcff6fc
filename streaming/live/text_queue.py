"""Encode the texts of prompts before the chunks that need them are drawn."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from models.checkpoints.assemble import Model
from streaming.live.device import DeviceThread
from streaming.transport.events import EncodedEvent, Event

MOST = 128  # texts that may wait


class TextQueue:
    """Encode texts in order, one at a time: the device takes the chunks of other sessions between two of them."""

    def __init__(self, model: Model, device: DeviceThread, tell: Callable[[Event], None]) -> None:
        """Encode with `model` on the device; `tell` gets an event for every text that is encoded."""
        self._model, self._device, self._tell = model, device, tell
        self._texts: asyncio.Queue[tuple[str, int]] = asyncio.Queue(MOST)

    def require_room(self) -> None:
        """Raise ValueError if no further text may wait."""
        if self._texts.full():
            raise ValueError("too many texts wait to be encoded")

    def add(self, text: str, number: int) -> None:
        """Have the text of the command `number` encoded; ValueError if too many wait."""
        self.require_room()
        self._texts.put_nowait((text, number))

    async def run(self) -> None:
        """Encode until cancelled."""
        while True:
            text, number = await self._texts.get()
            await self._encode(text)
            read = self._model.read_prompt(text)
            self._tell(EncodedEvent(id=number, not_understood=read.unknown, notes=list(read.notes)))

    async def _encode(self, text: str) -> None:
        await self._device.run(lambda: self._model.generator.text(text))
