"""Find out what earlier runs of a render left, whether it can go on, and what it was asked for."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from models.catalog import Entry
from models.cue import Cue
from models.time_grid import TimeGrid, frames_before
from streaming.media.live_recording import whole_bytes
from streaming.media.video_writer import digest_of
from streaming.render_files import RenderError, RenderFiles
from streaming.take import journal
from streaming.take.journal import CheckpointLine, ChunkLine, EndLine, HeadLine, IntentLine, LandedCue, RenderFacts
from streaming.take.legacy_cues import in_version_1
from streaming.take.take_file import CueLine, Take, latent_at
from streaming.take.take_loras import changed_loras

BEGIN_ANEW = "nothing was touched; --restart begins anew"
MUST_AGREE = {  # facts and parts of the record without which a film would not be of one piece
    "seed": "another seed",
    "size": "pictures of another size",
    "scale": "another --scale",
    "heard": "another sound",
    "portrait": "another portrait",
    "layout": "another --layout",
    "upscaler": "another --upscale",
    "noise": "noise of another generator",
    "part": "another part of the film",
    "background": "another background",
    "model": "another model",
    "weights": "other weights",
    "codec": "another codec",
}


class PastRender:
    """Hold what the journal of a render tells of the runs before: what was drawn, kept and asked for."""

    def __init__(self, files: RenderFiles) -> None:
        """Read the journal; nothing is touched."""
        self.files = files
        reading = journal.examine(files.journal)
        self.lines, self.damage = reading.lines, reading.damage
        self.head = next((line for line in self.lines if isinstance(line, HeadLine)), None)
        self.chunks = {line.first: line for line in self.lines if isinstance(line, ChunkLine)}
        self.checkpoints = [line for line in self.lines if isinstance(line, CheckpointLine)]
        self.intent = next((line for line in reversed(self.lines) if isinstance(line, IntentLine)), None)
        self._cues: dict[int | None, list[CueLine]] = {}
        for line in self.lines:
            if isinstance(line, LandedCue):
                self._cues.setdefault(line.landed, []).append(line.cue())

    @property
    def unfinished(self) -> bool:
        """Say whether the newest run was cut off. Earlier releases did not tell; a film without its parts was whole."""
        if not self.lines:
            return bool(self.damage)
        if self.intent is None and self.files.out.exists() and self.chunks:
            return self.files.partial.exists()
        return not isinstance(self.lines[-1], EndLine) or self.files.partial.exists()

    def length(self, grid: TimeGrid) -> int:
        """Return how many latents were drawn."""
        newest = max(self.chunks, default=None)
        return 0 if newest is None else newest + grid.length(newest)

    def cannot_go_on(self, now: RenderFacts, record: Mapping[str, str | int]) -> str:
        """Say in a few words why a render of these facts cannot go on with what is there; "" if nothing forbids it."""
        if self.head is None or (then := self.head.render) is None:
            return "its journal cannot be read" if self.damage or self.lines else ""
        if self.head.version == 1:  # the cues of its first chunk tell of the portrait
            now = now.model_copy(update={"portrait": None})
        was = {**then.model_dump(), **self.head.record}
        wanted = {**now.model_dump(), **record}
        words = [
            f"{said} ({was.get(name)}, now {wanted.get(name)})"
            for name, said in MUST_AGREE.items()
            if was.get(name) != wanted.get(name)
        ]
        words += [f"another file {name}" for name in changed_loras(self.head.record, record)]
        return f"it was made with {' and '.join(words)}" if words else ""

    def other_record(self, record: Mapping[str, str | int]) -> str:
        """Say what else differs from the record that the frames so far were made under; "" if nothing does."""
        then = self.head.record if self.head else {}
        differs = ", ".join(f"{k} {then.get(k)} → {v}" for k, v in record.items() if then.get(k) != v)
        return f"not the same record as before ({differs}); frames may differ slightly" if differs else ""

    def agrees(self, first: int, lines: Sequence[CueLine], cues: Sequence[Cue]) -> bool:
        """Return whether the same landed on the chunk at latent `first`: these lines of the take, or their `cues`."""
        if first not in self.chunks:
            return False
        old = self.chunks[first].landed
        if old is not None:  # of version 1
            return list(old) == [in_version_1(cue) for cue in cues]
        return _bare(self._cues.get(first, [])) == _bare(lines)

    def whole_fragments(self, film: Path) -> list[CheckpointLine]:
        """Return the checkpoints whose fragments, and all before, lie in `film` as they were written, in order."""
        whole: list[CheckpointLine] = []
        if not film.exists():
            return whole
        size, plays = film.stat().st_size, whole_bytes(film)
        with film.open("rb") as file:
            for line in self.checkpoints:
                begin = whole[-1].offset if whole else 0
                if line.offset > size or line.offset <= begin:
                    break
                file.seek(begin)
                if line.digest is None and line.offset > plays:
                    break
                if line.digest is not None and digest_of(file.read(line.offset - begin)) != line.digest:
                    break
                whole.append(line)
        return whole


@dataclass(frozen=True)
class Request:
    """Say what a render is to give: a take of the right length, where to begin anew, and that as a journal's line.

    `limit` is a latent from which on nothing of an earlier run is kept; None if all may be.
    """

    take: Take
    intent: IntentLine
    limit: int | None = None


def request_of(
    take: Take,
    entry: Entry,
    files: RenderFiles,
    *,
    more: int | None = None,
    start: int | None = None,
    anew: bool = False,
) -> Request:
    """Return what a command asks for, given what the journal tells that an unfinished one before it was asked for.

    `more` are latents by which the film becomes longer, `start` is the latent from which on it is rendered anew; with
    `anew` nothing of an earlier run counts. The same command after a kill means the same film, and so does one that
    only resumes. RenderError if another extension is unfinished, or the take's own length has changed meanwhile.
    """
    own, past = latent_at(take.length, entry.fps), PastRender(files)
    then = None if anew else past.intent
    if then is not None and then.own != own:
        if past.unfinished and (then.more is not None or then.start is not None):
            raise RenderError(
                f"{files.out}: what was asked for with --extend or --from is unfinished, and the take's own length has"
                f" changed from {then.own} to {own} latents since; change it back, or begin anew with --restart"
            )
        then = None
    length = then.length if then is not None else own
    under_way = then if past.unfinished else None
    if more is not None:
        if under_way is not None and under_way.more not in (None, more):
            raise RenderError(
                f"{files.out}: it is becoming {under_way.more} latents longer already; let that end with --resume,"
                " or begin anew with --restart"
            )
        if under_way is None or under_way.more is None:
            have = 0 if anew else past.length(entry.rollout.grid)
            length = max(have, length) + more
    elif under_way is not None:
        more = under_way.more
    limit = start
    if under_way is not None and start in (None, under_way.start):
        start, limit = under_way.start, None
    if length != own:
        take = take.model_copy(update={"length": length})
    intent = {"type": "intent", "own": own, "length": length, "more": more, "from": start}
    return Request(take, IntentLine.model_validate(intent), limit)


def refuse_to_throw_away(files: RenderFiles, entry: Entry) -> None:
    """Raise RenderError if a render was cut off, and something of it is kept that would have to be drawn again."""
    past = PastRender(files)
    if past.unfinished and past.checkpoints:
        done = frames_before(past.checkpoints[-1].latent) / entry.fps
        raise RenderError(
            f"{files.out}: an earlier render of it was cut off after {done:.1f} s; go on with --resume, or throw that"
            " away with --restart"
        )


def position(text: str, fps: int) -> int:
    """Return the latent that seconds such as 12s, or a number of latents, on the command line mean."""
    try:
        return latent_at(int(text) if re.fullmatch(r"\d{1,9}", text, re.ASCII) else text, fps)
    except ValueError as e:
        raise RenderError(str(e)) from None


def shared_latents(grid: TimeGrid, agrees: Callable[[int], bool], end: int, first: int = 0) -> int:
    """Return before which latent all chunks from `first` on agree, up to `end`."""
    shared = first
    while shared < end and agrees(shared):
        shared += grid.length(shared)
    return shared


def _bare(lines: Sequence[CueLine]) -> list[CueLine]:
    """Return what lines do, whatever position they were asked for, and whatever their files are called."""
    return [line.by_content().model_copy(update={"at": 0, "landed": None}) for line in lines]
