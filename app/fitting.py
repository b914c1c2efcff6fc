"""Load a model with the codec and within the memory that options name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from app.memory_size import MemorySizeError
from models.errors import UserError

if TYPE_CHECKING:
    import torch

    from models.catalog import Entry
    from models.checkpoints.assemble import Model
    from models.checkpoints.memory_plan import MemoryPlan


class RoomError(UserError):
    """Report a model that does not fit into a card."""


@dataclass(frozen=True)
class Fitting:
    """Hold `--codec` and `--vram`: the codec that is asked for, and the bytes of the card; None: as they are."""

    codec: str | None = None
    room: float | None = None
    slowly: bool = False  # whether nobody waits for single frames, so that weights may wait in the host's memory
    among_others: bool = False  # whether other models are loaded too, those without such a codec with their own

    @property
    def options(self) -> list[str]:
        """Return the options of a command that fits a model in the same way."""
        codec = [] if self.codec is None else ["--codec", self.codec]
        return codec + ([] if self.room is None else ["--vram", f"{self.room / 1e9:.3f}GB"])

    def plan(self, entry: Entry, device: torch.device, dtype: torch.dtype) -> MemoryPlan:
        """Return the model as it is to be loaded on a device; RoomError if it does not fit, CodecError for its codec.

        Without `--vram` what is free on a card is the room; a CPU's memory is not looked at.
        """
        from models.checkpoints.memory_plan import planned

        if self.room is not None and device.type == "cpu":
            raise MemorySizeError("--vram is the memory of a card, and this runs on the CPU: leave it out")
        room = self.room
        if room is None and device.type == "cuda":
            room = _free(device)
        kept = self.codec is None or (self.among_others and entry.tae is None)
        chosen = entry if self.codec is None or kept else entry.with_codec(self.codec)
        plan = planned(chosen, float("inf") if room is None else room, dtype.itemsize, slowly=self.slowly)
        if not plan.fits and room is not None:
            done = "; ".join(plan.notes) or "no part of it can be made smaller"
            raise RoomError(
                f"{entry.name} needs {plan.total / 1e9:.1f} GB, and the card has {room / 1e9:.1f} GB"
                f"{' free' if self.room is None else ''}, even so: {done}"
            )
        return plan

    def load(
        self,
        entry: Entry,
        folder: Path,
        device: torch.device,
        dtype: torch.dtype,
        note: Callable[[str], None],
        load: Callable[..., Model],
    ) -> Model:
        """Build the model as it fits by `load`; `note` is called with what was changed for that.

        On a GPU attention is run from then on by the kernel that is fastest for this model there.
        """
        import torch

        from app.attention_choice import prefer_fastest

        plan = self.plan(entry, device, dtype)
        prefer_fastest(plan.entry, device, dtype)
        for line in plan.notes:
            note(f"{entry.name}: {line}")
        text_on = torch.device("cpu") if plan.text_on_cpu else device
        return load(plan.entry, folder, device, dtype, text_on, float8=plan.float8, offloaded=plan.offloaded)


def _free(device: torch.device) -> float:
    """Return the bytes of a card that neither another program nor a model of this process holds."""
    import torch

    free, _ = torch.cuda.mem_get_info(device)
    return float(free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device))
