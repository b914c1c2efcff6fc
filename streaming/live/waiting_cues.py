"""Queue the cues that were accepted and wait for the next chunk, or for a later one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from models.cue import LoraScale, Recache
from models.time_grid import TimeGrid
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
    """Queue cues in the order in which they came. `first` is the first latent of the next chunk.

    No two of them come from commands of the same number, by which they are replaced and taken back.
    """

    def __init__(self) -> None:
        self._cues: list[WaitingCue] = []

    def __len__(self) -> int:
        """Return how many cues wait."""
        return len(self._cues)

    def add(self, cue: WaitingCue, old: WaitingCue | None = None) -> None:
        """Have a cue land, in the place of the `old` one if that is given.

        ValueError, without any effect, if too many would wait or one of a command with the same number does.
        """
        require_new(cue.number, self._cues)
        kept = [one for one in self._cues if one is not old]
        if old is None and len(kept) >= MOST:  # one for another are no more than before
            raise ValueError("too many cues wait to land")
        self._cues = [*kept, cue]

    def require_free(self, at: int, old: WaitingCue | None, grid: TimeGrid, first: int) -> None:
        """Raise ValueError if a prompt other than `old` waits for the chunk on which one for latent `at` lands."""
        border = grid.border(max(at, first))
        for cue in self.to_come():
            if cue is not old and grid.border(max(cue.at or 0, first)) == border:
                raise ValueError(
                    f"the prompt of command {cue.number} waits for the chunk at latent {border} already; "
                    "replace it, or ask for another latent"
                )

    def next(self, look_ahead: LookAhead, first: int) -> list[WaitingCue]:
        """Return the cues that land on the next chunk: all that are due, or with `lossless` no more than one prompt.

        They are in the order in which they came, so that the newest command wins; but of those that were asked for at
        a latent, as `lossless` lets several become due, the one for the earlier latent comes first.
        """
        due = [cue for cue in self._cues if (cue.at or 0) <= first]
        timed = (cue for cue in self.to_come() if (cue.at or 0) <= first)
        due = [cue if cue.at is None else next(timed) for cue in due]
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

    def of(self, number: int) -> WaitingCue:
        """Return the cue of the command `number`; ValueError if it does not wait."""
        for cue in self._cues:
            if cue.number == number:
                return cue
        raise ValueError(f"no cue of command {number} waits; it has landed or was taken back")

    def remove(self, number: int) -> None:
        """Remove the cue of the command `number`; ValueError if it does not wait."""
        removed = self.of(number)
        self._cues = [cue for cue in self._cues if cue is not removed]

    def refuse(self, number: int, text: str) -> bool:
        """Remove the prompt of the command `number` with this text, and return whether it waited."""
        kept = [cue for cue in self._cues if (cue.number, cue.line.prompt) != (number, text)]
        refused, self._cues = len(kept) < len(self._cues), kept
        return refused

    def take_hushes(self) -> list[CueLine]:
        """Remove the cues that silence an avatar, and return them."""
        hushes = [cue.line for cue in self._cues if cue.line.hush is not None]
        self._cues = [cue for cue in self._cues if cue.line.hush is None]
        return hushes


def require_new(number: int | None, cues: Iterable[WaitingCue]) -> None:
    """Raise ValueError if one of the cues came from a command with this number: events could not tell them apart."""
    if number is not None and any(cue.number == number for cue in cues):
        raise ValueError(f"a cue of command {number} waits already; give every command a number of its own")


def kept_of(waiting: Sequence[WaitingCue]) -> list[WaitingCue]:
    """Return those of the cues for one chunk that land, as they land; a newer one takes the place of the others.

    Of prompts, scenes, seeds and scales of a LoRA the newest is kept, and a prompt is a cut if any before it asks.
    """
    kept: list[WaitingCue] = []
    for cue in waiting:
        line = cue.line
        if line.prompt is not None:
            cut = line.cut or any(k.line.cut for k in kept)
            kept = [k for k in kept if k.line.prompt is None]
            kept.append(replace(cue, line=line.model_copy(update={"cut": cut})))
        else:
            kept = [k for k in kept if k.line.prompt is not None or not _gives_way(k.line, line)] + [cue]
    return kept


def _gives_way(old: CueLine, new: CueLine) -> bool:
    """Return whether a cue without a prompt has no effect if another one without a prompt lands after it."""
    if new.start is not None or new.recall is not None:  # the newest scene that was asked for
        return old.start is not None or old.recall is not None
    if new.seed is not None:
        return old.seed is not None
    return bool(new.lora and old.lora) and _names(old) <= _names(new)


def merged(waiting: Sequence[WaitingCue]) -> list[CueLine]:
    """Return what lands of the cues for one chunk."""
    return [cue.line for cue in kept_of(waiting)]


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
