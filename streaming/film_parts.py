"""Draw the scenes of one film apart, and put them together so that the film is, byte for byte, the one drawn at once.

A cut drops all that came before it, and noise depends on seed, chunk and step alone. The film from a cut on is
therefore a function of the take, without any of the pictures before; anywhere else it is not. A film is written in
fragments of a few chunks, which are encoded by themselves. A part begins to draw at a cut and to write at the first
border of fragments behind it; the part before draws on, over the cut, up to that border.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from models.catalog import Entry
from models.checkpoints.synced_files import AppendedFile, make_folder, sync_folder
from models.cue import Cue, LoraScale, OnSwitch, Parameter, Prompt, Seed
from models.generator import Generator
from models.state import TakeState
from streaming.render_files import CHUNKS_PER_FRAGMENT, RenderError, RenderFiles
from streaming.render_resume import PastRender
from streaming.take.journal import CheckpointLine, ChunkLine, Journal, JournalLine, LandedCue
from streaming.take.take_file import CueLine, Take

BLOCK = 1 << 20  # bytes that are copied at once


@dataclass(frozen=True)
class FilmPart:
    """Say what a part draws and writes: it draws from `cut` on, a latent, and writes chunks `first` up to `end`."""

    cut: int
    first: int
    end: int

    @property
    def facts(self) -> tuple[int, int, int]:
        """Return the values in which two renders of a part must agree."""
        return self.cut, self.first, self.end


def parts_folder(film: Path) -> Path:
    """Return the folder in which the parts of a film lie until they are joined."""
    return film.with_name(f"{film.stem}.parts")


def parts_of(take: Take, entry: Entry) -> list[FilmPart]:
    """Return the parts of a take's film that can be drawn apart, in order; none unless there are two or more.

    The last one ends with the last whole fragment: the rest of the film is drawn after the parts are joined.
    """
    if not _splits(take, entry):
        return []
    grid = entry.rollout.grid
    whole = take.chunks(grid, entry.fps) // CHUNKS_PER_FRAGMENT * CHUNKS_PER_FRAGMENT
    begins = {0: 0}  # the chunk from which a part writes → the latent of its cut, the last one before
    for cut in _cuts(take, entry):
        first = -(-grid.number(cut) // CHUNKS_PER_FRAGMENT) * CHUNKS_PER_FRAGMENT
        if 0 < first < whole:
            begins[first] = cut
    if len(begins) < 2:
        return []
    ends = [*list(begins)[1:], whole]
    return [FilmPart(cut, first, end) for (first, cut), end in zip(begins.items(), ends, strict=True)]


def _splits(take: Take, entry: Entry) -> bool:
    """Return whether nothing but the script before a cut matters behind it: no picture, sound or scene that comes back.

    Models that go on over a cut (LongLive 2's shots), or draw several chunks in one batch, are not split.
    """
    config = entry.rollout
    settings = [value for line in take.cues for value in line.set.values()]
    simple = entry.driving_features is None and config.reference is None and config.shots is None
    recalls = config.on_switch is OnSwitch.RECALL or OnSwitch.RECALL.value in settings
    pictures = any(line.shows or line.hold or line.hush is not None for line in take.cues)
    return simple and not config.latents_ahead and not recalls and not pictures and not take.sounds


def _cuts(take: Take, entry: Entry) -> list[int]:
    """Return the latents of cuts at which the text is known: they bring a prompt, or no blend can be under way."""
    landing = take.landing(entry.rollout.grid, entry.fps)
    cuts: list[int] = []
    blends = False  # whether the prompt before was blended to
    for first in sorted({at for at, _ in landing}):
        prompts = [line for at, line in landing if at == first and line.prompt is not None]
        blends = prompts[-1].blend > 1 if prompts else blends
        if first and not blends and any(line.cut for at, line in landing if at == first):
            cuts.append(first)
    return cuts


def begin_at(generator: Generator, state: TakeState, lines: Sequence[CueLine], cut: int) -> None:
    """Have the state of a new take stand before the chunk at latent `cut`, where a cut is about to land.

    `lines` are the cues of the take before it. Of them only the newest prompt, seeds, settings and LoRAs matter.
    """
    cues: list[Cue] = [cue for line in lines for cue in line.cues() if isinstance(cue, Parameter | Seed | LoraScale)]
    prompt = next(line.prompt for line in reversed(lines) if line.prompt is not None)
    generator.apply_cues(state, [*cues, Prompt(prompt)])
    state.index = cut


def join(parts: Sequence[Path], film: Path) -> list[str]:
    """Put the parts, which are finished, together: the render of the film then goes on behind them. Return notes.

    A kill in between leaves parts that can be joined again. RenderError if they do not belong together, OSError if the
    disk does not take the film.
    """
    files, pasts = RenderFiles(film), [PastRender(RenderFiles(part)) for part in parts]
    head, intent = pasts[0].head, pasts[0].intent
    if head is None or head.render is None or intent is None:
        raise RenderError(f"{parts[0]}: its journal cannot be read; delete {parts[0].parent}")
    notes: list[str] = []
    lines: list[JournalLine] = [head.model_copy(update={"render": head.render.model_copy(update={"part": None})})]
    lines.append(intent)
    make_folder(files.folder)
    with files.locked(), AppendedFile(files.partial) as whole:
        for part, past in zip(parts, pasts, strict=True):
            own = past.head.render.part if past.head is not None and past.head.render is not None else None
            if reason := past.cannot_go_on(head.render.model_copy(update={"part": own}), head.record):
                raise RenderError(f"{part}: does not belong to {parts[0].name}, {reason}; delete {part.parent}")
            notes += [note] if (note := past.other_record(head.record)) else []
            for line in past.lines:
                if isinstance(line, CheckpointLine):
                    lines.append(line.model_copy(update={"offset": line.offset + whole.size}))
                elif isinstance(line, ChunkLine | LandedCue):
                    lines.append(line)
            with part.open("rb") as file:
                while block := file.read(BLOCK):
                    whole.append(block)
        whole.sync()
        for part in parts:
            for checkpoint in RenderFiles(part).checkpoints():
                os.replace(checkpoint, files.folder / checkpoint.name)
        sync_folder(files.folder)
        Journal.replacing(files.journal, lines).close()
    shutil.rmtree(parts[0].parent)
    return notes
