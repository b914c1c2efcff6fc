"""A line: the part of a take that has been lived through, which its journal and its file tell."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from streaming.rollout import Boundary
from streaming.take.journal import Journal
from streaming.take.take_file import CueLine, Take


def new_id() -> str:
    """Names a line: 12 hexadecimal digits."""
    return uuid.uuid4().hex[:12]


@dataclass
class TakeHistory:
    """Cues with what they landed on, and the hash of every chunk."""

    id: str
    take: Take  # as it began: model, seed, size and the first prompt
    parent: str | None = None
    landed: list[CueLine] = field(default_factory=list)  # every cue with the latent it landed on
    hashes: dict[int, str] = field(default_factory=dict)  # first latent of a chunk → hash of its latents
    length: int = 0  # latents

    def as_take(self, record: dict[str, Any]) -> Take:
        cues = [e.model_copy(update={"at": e.landed}) for e in self.landed]
        changes = {"parent": self.parent, "cues": cues, "length": max(self.length, 1), "record": record}
        return self.take.model_copy(update=changes)

    def shortened(self, at: int) -> list[CueLine]:
        """Give up what was drawn from latent `at` on, to draw it anew; the cues that had landed there."""
        gone = [e for e in self.landed if (e.landed or 0) >= at]
        self.landed = [e for e in self.landed if (e.landed or 0) < at]
        self.hashes = {first: h for first, h in self.hashes.items() if first < at}
        self.length = at
        return gone

    def branched(self, at: int) -> TakeHistory:
        """A new line that shares this one's past before latent `at`."""
        kept = [e for e in self.landed if (e.landed or 0) < at]
        hashes = {first: h for first, h in self.hashes.items() if first < at}
        return TakeHistory(new_id(), self.take, f"{self.id}@{at}", kept, hashes, at)


class TakeFiles:
    """Journal and take file of the line that a session is on, in a folder."""

    def __init__(self, folder: Path, record: dict[str, Any]) -> None:
        self._folder, self._record = folder, record
        self._journal: Journal | None = None

    def begin(self, line: TakeHistory) -> None:
        """Write this line's journal from now on; what it shares with its parent stands in it."""
        self.close()
        head: dict[str, Any] = {"type": "take", "id": line.id, "take": line.take.model_dump(exclude_defaults=True)}
        head |= {"parent": line.parent, "record": self._record}
        latents = line.length // max(1, len(line.hashes))  # chunks are of one length
        past = [cue_line(e) for e in line.landed]
        past += [chunk_line(first, latents, h) for first, h in line.hashes.items()]
        self._journal = Journal(self._folder / f"{line.id}.jsonl", keep=[head, *past])

    def chunk(self, drawn: Boundary, entries: list[CueLine]) -> None:
        """A chunk was drawn, with the cues that landed on it; both are on their way to the disk on return."""
        if self._journal is not None:
            chunk = chunk_line(drawn.first, drawn.latents, drawn.hash)
            if drawn.disagreement is not None:
                chunk["disagreement"] = round(drawn.disagreement, 4)
            for line in [*map(cue_line, entries), chunk]:
                self._journal.write(line)

    def redrawn(self, at: int) -> None:
        """What was drawn from latent `at` on is given up; it follows anew."""
        if self._journal is not None:
            self._journal.write({"type": "redrawn", "from": at})

    def end(self, line: TakeHistory) -> None:
        """It is lived through: the journal says so, and the line lies beside it as a take file."""
        if self._journal is not None:
            self._journal.write({"type": "end"})
        if line.length:
            text = line.as_take(self._record).dumped()
            (self._folder / f"{line.id}.yaml").write_text(text, encoding="utf-8")

    def beside(self, name: str) -> Path:
        """A file of that name beside the take."""
        return self._folder / name

    def recording(self, line: TakeHistory) -> Path:
        """A file beside the take for a new recording of it; they are numbered from 1."""
        number = 1
        while (path := self._folder / f"{line.id}-{number}.mp4").exists():
            number += 1
        return path

    def close(self) -> None:
        if self._journal is not None:
            self._journal.close()


@dataclass(frozen=True)
class JournalSummary:
    """What a journal tells."""

    history: TakeHistory
    record: dict[str, Any]
    ended: bool  # False: it is being lived through, or was cut off

    def take(self) -> Take:
        return self.history.as_take(self.record)


def replay_journal(lines: list[dict[str, Any]]) -> JournalSummary:
    """The line of a journal, up to its last whole chunk; ValueError if it is none, or holds no chunk."""
    if not lines or lines[0].get("type") != "take":
        raise ValueError("not the journal of a take")
    head = lines[0]
    cues: list[CueLine] = []
    chunks: list[dict[str, Any]] = []
    for x in lines:
        if x.get("type") == "cue":
            cues.append(CueLine.model_validate({k: v for k, v in x.items() if k != "type"}))
        elif x.get("type") == "redrawn":  # from here on otherwise than it was
            cues = [e for e in cues if (e.landed or 0) < int(x["from"])]
            chunks = [c for c in chunks if int(c["first"]) < int(x["from"])]
        elif x.get("type") == "chunk":
            chunks.append(x)
    if not chunks:
        raise ValueError("a journal without a chunk")
    hashes = {int(x["first"]): str(x["hash"]) for x in chunks}
    length = int(chunks[-1]["first"]) + int(chunks[-1]["latents"])
    landed = [e for e in cues if e.landed is not None and e.landed < length]
    line = TakeHistory(str(head["id"]), Take.model_validate(head["take"]), head.get("parent"), landed, hashes, length)
    return JournalSummary(line, head.get("record") or {}, lines[-1].get("type") == "end")


def cue_line(entry: CueLine) -> dict[str, Any]:
    return {"type": "cue", **entry.model_dump(exclude_defaults=True)}


def chunk_line(first: int, latents: int, digest: str) -> dict[str, Any]:
    return {"type": "chunk", "first": first, "latents": latents, "hash": digest}
