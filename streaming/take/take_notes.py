"""Find the parts of a take that its model cannot draw or will not show, before it is drawn."""

from __future__ import annotations

import itertools

from models.catalog import Entry
from models.generator import SizeError
from streaming.take.picture_cue import NOTHING
from streaming.take.position import latent_at
from streaming.take.take_file import Take, TakeError

MOST_TIMES = 64  # the pixels of a model's own size: beyond it tens of GB are needed before the first frame


def require_drawable(take: Take, entry: Entry) -> None:
    """Raise SizeError unless a take's size is whole patches, and at most MOST_TIMES the pixels of the model's own."""
    (width, height), (_, down, across) = take.width_height(entry.size), entry.transformer["patch_size"]
    if width % (entry.stride * across) or height % (entry.stride * down):
        least = f"{entry.stride * across}x{entry.stride * down}"
        raise SizeError(f"size {width}x{height} is not a multiple of {least}, which {entry.name} draws in")
    if width * height > MOST_TIMES * entry.size[0] * entry.size[1]:
        most = f"{entry.name} draws {entry.size[0]}x{entry.size[1]}, and at most {MOST_TIMES} times as many pixels"
        raise SizeError(f"size {width}x{height} is too large: {most}")


def notes_on(take: Take, entry: Entry) -> list[str]:
    """Return a note for each cue of a take without effect: after the end, or replaced on the same chunk.

    TakeError if the take has the sound or the portrait of an avatar and the model draws none, or the pictures of
    another model and it draws an avatar; SizeError if the model cannot draw its size.
    """
    require_drawable(take, entry)
    if entry.driving_features is None:
        for name, value in (
            ("sound", take.sound),
            ("reference", take.reference),
            ("speakers", take.speakers),
            ("background", take.background),
        ):
            if value is not None:
                what = value if isinstance(value, str) else "a dialogue"
                raise TakeError(f"{name}: {what} is for an avatar, and {entry.name} is none; leave it out")
    elif any(cue.shows for cue in take.cues):
        raise TakeError(
            f"start, source and recall are for models that draw scenes, and {entry.name} speaks; leave it out"
        )
    grid, fps = entry.rollout.grid, entry.fps
    end = grid.start(take.chunks(grid, fps))
    landing = take.landing(grid, fps)
    notes = [
        f"the cue at {cue.at} is left out: the take is {take.length} long and ends before latent {first}"
        for first, cue in landing
        if first >= end
    ]
    for first, cue in landing:
        if cue.recall is not None and latent_at(cue.recall, fps) >= first:
            raise TakeError(f"recall: at {cue.at} nothing has been drawn of {cue.recall} yet; name an earlier scene")
    follows = False
    for _, cue in landing:
        follows = cue.source != NOTHING if cue.source is not None else follows
        if not follows and (cue.strength is not None or cue.region is not None):
            raise TakeError(f"strength and region at {cue.at}: the take follows nothing then; name it with source")
    strengths = entry.rollout.strength
    notes += [
        f"strength {cue.strength:g} at {cue.at}: {entry.name} follows a source between {strengths.low:g}, where little"
        f" changes, and {strengths.high:g}, above which it is ignored"
        for _, cue in landing
        if cue.strength is not None and not strengths.low <= cue.strength <= strengths.high
    ]
    prompts = [(first, cue) for first, cue in landing if first < end and cue.prompt is not None]
    for (first, cue), (following, newer) in itertools.pairwise(prompts):
        if first == following:
            notes.append(
                f"the prompt at {cue.at} is not seen: the one at {newer.at} lands on the same chunk, at latent {first}"
            )
    return notes
