"""Queue the cues that were accepted and wait for the next chunk, or for a later one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from models.cue import LoraScale, Recache
from streaming.live.pacing import LookAhead
from streaming.rollout import Chunk
from streaming.take.take_file import CueLine

MOST = 64  # cues that may wait


@dataclass(frozen=True)
class WaitingCue:
    """Hold a cue, the number of its command (None: the server asked for it) and the time in seconds when it came.

    `at` is a latent: the cue lands on the first chunk from there on (None: on the next one).
    """

    line: CueLine
    number: int | None
    since: float
    at: int | None = None


class WaitingCues:
    """Queue cues in the order in which they came. `first` is the first latent of the next chunk."""

    def __init__(self) -> None:
        self._cues: list[WaitingCue] = []

    def __len__(self) -> int:
        """Return how many cues wait."""
        return len(self._cues)

    def add(self, cue: WaitingCue) -> None:
        """Have a cue land; ValueError if too many wait."""
        if len(self._cues) >= MOST:
            raise ValueError("too many cues wait to land")
        self._cues.append(cue)

    def next(self, look_ahead: LookAhead, first: int) -> list[WaitingCue]:
        """Return the cues that land on the next chunk: all that are due, or with `lossless` no more than one prompt.

        Those that were asked for at a latent follow the others, in the order of their latents.
        """
        due = sorted((cue for cue in self._cues if (cue.at or 0) <= first), key=lambda cue: cue.at or 0)
        if look_ahead is not LookAhead.LOSSLESS:
            return due
        prompts = (i for i, cue in enumerate(due) if i and cue.line.prompt is not None)
        return due[: next(prompts, len(due))]

    def take(self, look_ahead: LookAhead, first: int) -> list[WaitingCue]:
        """Remove the cues that land on the next chunk, and return them."""
        landing = self.next(look_ahead, first)
        self._cues = [cue for cue in self._cues if not any(cue is one for one in landing)]
        return landing

    def to_come(self) -> list[WaitingCue]:
        """Return the cues that were asked for at a latent, in the order of their latents."""
        return sorted((cue for cue in self._cues if cue.at is not None), key=lambda cue: cue.at or 0)

    def put_back(self, cues: Sequence[WaitingCue]) -> None:
        """Queue cues before all others, because their chunk was given up or will be drawn anew."""
        self._cues = [*cues, *self._cues]

    def undo(self) -> int | None:
        """Remove the newest cue that came from a command, and return the command's number; None if there is none.

        A cue that was asked for at a latent is not touched.
        """
        newest = next((cue for cue in reversed(self._cues) if cue.number is not None and cue.at is None), None)
        if newest is None:
            return None
        self._cues = [cue for cue in self._cues if cue is not newest]
        return newest.number

    def require(self, number: int) -> None:
        """Raise ValueError unless the cue of the command `number` waits."""
        if not any(cue.number == number for cue in self._cues):
            raise ValueError(f"no cue of command {number} waits; it has landed or was taken back")

    def remove(self, number: int) -> bool:
        """Remove the cue that came from the command `number`; return whether it waited."""
        kept = [cue for cue in self._cues if cue.number != number]
        removed, self._cues = len(kept) < len(self._cues), kept
        return removed

    def take_hushes(self) -> list[CueLine]:
        """Remove the cues that silence an avatar, and return them."""
        hushes = [cue.line for cue in self._cues if cue.line.hush is not None]
        self._cues = [cue for cue in self._cues if cue.line.hush is None]
        return hushes


def merged(waiting: Sequence[WaitingCue]) -> list[CueLine]:
    """Return what lands of cues for one chunk: the newest prompt, seed and scale of a LoRA, with a cut if any asks."""
    kept: list[CueLine] = []
    for line in (cue.line for cue in waiting):
        if line.prompt is not None:
            cut = line.cut or any(k.cut for k in kept)
            kept = [k for k in kept if k.prompt is None]
            kept.append(line.model_copy(update={"cut": cut}))
        elif line.start is not None or line.recall is not None:  # the newest scene that was asked for
            kept = [k for k in kept if (k.start, k.recall) == (None, None) or k.prompt is not None] + [line]
        elif line.seed is not None:
            kept = [k for k in kept if k.seed is None or k.prompt is not None] + [line]
        elif line.lora:
            kept = [k for k in kept if k.prompt is not None or not k.lora or not _names(k) <= _names(line)] + [line]
        else:
            kept.append(line)
    return kept


def _names(line: CueLine) -> set[str]:
    return {LoraScale.parse(text).name for text in line.lora}


def with_recache(lines: list[CueLine], chunk: Chunk) -> list[CueLine]:
    """Return the cues that landed on a chunk, with the recache that the rollout added after a snapshot without keys.

    It belongs to the take: only with it a render gives the same latents.
    """
    added = Recache() in chunk.landed and not any(line.recache for line in lines)
    return [CueLine(recache=True), *lines] if added else lines


def is_recache(line: CueLine) -> bool:
    """Return whether a cue is a recache alone, which nobody asked for."""
    return line.recache and line == CueLine(recache=True, at=line.at, landed=line.landed)


def is_hold(line: CueLine) -> bool:
    """Return whether a cue holds the picture because drawing was too slow, which nobody asked for."""
    return line.hold is not None
