"""Hold the LoRAs that one session alone uses: those uploaded for it, and those of the take that it continues.

Sessions share a model, which merges a LoRA by its name. A session's own LoRAs have names that no other session has, and
the model forgets them when the session ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from models.checkpoints.assemble import Model
from models.checkpoints.lora_file import UsableLora
from models.errors import UserError
from streaming.live.device import DeviceThread


class SessionLoras:
    """Hold the names of a session's own LoRAs. All methods belong to the event loop."""

    def __init__(self, model: Model, device: DeviceThread, names: Sequence[str] = ()) -> None:
        """Take over LoRAs that were added to the model for this session."""
        self._model, self._device, self._names = model, device, list(names)

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names of the session's own LoRAs."""
        return tuple(self._names)

    def digest(self, name: str) -> str | None:
        """Return what identifies the content of a LoRA, if it is one of the session's own."""
        loras = self._model.generator.loras
        return loras.digest(name) if loras is not None and name in self._names else None

    async def add(self, name: str, lora: UsableLora) -> None:
        """Let the session use a LoRA; LoraError if it cannot be merged into the model's weights."""
        loras = self._model.generator.loras
        assert loras is not None, "a file was read for a model that takes no LoRA"
        self._names.append(name)  # first: a request that is given up leaves the thread to add it all the same
        try:
            await asyncio.to_thread(loras.add, name, lora.digest, lora.changes)
        except UserError:
            self._names.remove(name)
            raise

    async def drop(self, name: str) -> None:
        """Have the model forget a LoRA, if it is one of the session's own."""
        if name in self._names:
            self._names.remove(name)
            await forget_loras(self._model, self._device, [name])

    async def close(self) -> None:
        """Have the model forget all of them."""
        names, self._names = self._names, []
        await forget_loras(self._model, self._device, names)


async def forget_loras(model: Model, device: DeviceThread, names: Sequence[str]) -> None:
    """Have a model forget LoRAs that were added to it, on the device thread, which writes its weights."""
    loras = model.generator.loras
    if loras is None or not names:
        return

    def forget() -> None:
        for name in names:
            if name in loras.names:  # not if the request that was to add it was given up
                loras.drop(name)

    await device.run(forget)
