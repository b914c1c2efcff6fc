"""Run a session's rollout on the device thread."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from models.cue import Cue
from models.source import Following
from streaming.live.device import DeviceThread
from streaming.live.text_queue import encode
from streaming.rollout import Boundary, Chunk, Rollout
from streaming.take.take_file import CueLine


class DeviceRollout:
    """Wait for a rollout's work, which runs on the device thread; what needs no device is answered at once."""

    def __init__(self, device: DeviceThread, begin: Callable[[], Rollout]) -> None:
        """Run what `begin` returns, which is called again to go back to the start."""
        self._device, self._begin = device, begin
        self._rollout = begin()

    @property
    def oldest(self) -> int | None:
        """Return the earliest latent whose snapshot is kept; None before the first boundary."""
        return self._rollout.oldest()

    @property
    def following(self) -> Following | None:
        """Return the source that the take follows, with what its newest chunk was given; None if it follows none."""
        return self._rollout.following()

    @property
    def held_mb(self) -> float:
        """Return the megabytes of the snapshots that are kept."""
        return self._rollout.held_mb()

    def hold(self, latent: int) -> int:
        """Keep the last snapshot at or before `latent` and return its latent; ValueError if it is not kept any more."""
        return self._rollout.hold(latent)

    def forget(self) -> None:
        """Release the snapshots."""
        self._rollout.forget()

    def check(self, line: CueLine, before: Sequence[CueLine]) -> None:
        """Raise UserError if a cue could not land on the next chunk, after those `before` it."""
        self._rollout.check(line, before)

    async def step(self, cues: Sequence[Cue | CueLine], may_go_on: Callable[[], None] = lambda: None) -> Chunk:
        """Draw and decode the next chunk, on which `cues` land; what `may_go_on` raises between steps gives it up.

        TextError, before anything is drawn, if the text of a prompt among them cannot be encoded.
        """
        rollout = self._rollout

        def stepped() -> Chunk:
            for cue in cues:
                if isinstance(cue, CueLine) and cue.prompt is not None:
                    encode(rollout.model, cue.prompt)
            return rollout.step(cues, may_go_on)

        return await self._device.run(stepped)

    async def settle(self, coming: Sequence[Cue | CueLine] = ()) -> tuple[Boundary, float]:
        """Bring the newest chunk to its boundary; return that and the seconds that it took on the device.

        `coming` are the cues that wait: where they make the clean pass useless it is left out.
        """
        rollout = self._rollout

        def settled() -> tuple[Boundary, float]:
            began = time.perf_counter()
            return rollout.settle(coming), time.perf_counter() - began

        return await self._device.run(settled)

    async def go_back(self, at: int) -> None:
        """Go back to the boundary at latent `at`, or begin anew at 0."""
        rollout = self._rollout
        if at:
            await self._device.run(lambda: rollout.go_back(at))
        else:
            self._rollout = await self._device.run(self._begin)
