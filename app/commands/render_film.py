"""Render one film of `longtake render`, and say what is to be known of it."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from app.commands import CommandError
from app.commands.inputs import require_input

if TYPE_CHECKING:
    from models.checkpoints.assemble import Model
    from models.upscaler import Upscaler
    from streaming.film_parts import FilmPart
    from streaming.render_resume import Request
    from streaming.take.footage import TakeFootage


@dataclass(frozen=True)
class How:
    """Hold the options of a render that apply to each of its films."""

    resume: bool
    restart: bool
    extend: str | None
    start: str | None
    scale: int
    sheet: Path | None
    report: Path | None

    @property
    def goes_on(self) -> bool:
        """Return whether the render continues from the files of an earlier one."""
        return self.resume or self.extend is not None or self.start is not None


def require_upscaler(upscale: Path, scale: int) -> None:
    """Raise UserError, before anything is loaded, if an upscaler cannot be used with these options."""
    require_input(upscale)
    if scale != 1:
        raise CommandError("--upscale and --scale both enlarge the picture; say one of them")
    from models.checkpoints.upscaler_file import require_spandrel

    require_spandrel()


def upscaler_in(upscale: Path | None, device: str) -> Upscaler | None:
    """Return the upscaler in a file, on the device that `--device` names; UserError if it is none."""
    if upscale is None:
        return None
    from app.loaded_model import torch_device
    from models.checkpoints.upscaler_file import load_upscaler

    return load_upscaler(upscale, torch_device(device))


def render_film(
    loaded: Model,
    request: Request,
    folder: Path,
    footage: TakeFootage,
    out: Path,
    how: How,
    upscaler: Upscaler | None,
    part: FilmPart | None = None,
) -> None:
    """Render a take, whose own files lie in `folder`, or a part of it, to `out`, and print notes and a summary."""
    from app.progress_bar import shown
    from streaming.render_job import Job
    from streaming.render_report import contact_sheet, write_report

    script, sound = request.take, None
    if loaded.entry.driving_features is None:
        job = Job(
            script,
            loaded,
            out,
            scale=how.scale,
            intent=request.intent,
            limit=request.limit,
            footage=footage,
            upscaler=upscaler,
            part=part,
        )
    else:
        from streaming.speech.avatar_film import hushed, job_of_take
        from streaming.speech.film_sound import with_sound

        job, sound = job_of_take(
            loaded, script, folder, out, how.scale, intent=request.intent, limit=request.limit, upscaler=upscaler
        )
    changed = _changed_record(script.record or {}, job.record)
    with shown(job) as progress:
        result = job.run(go_on=how.goes_on, restart=how.restart, progress=progress)
    result.warnings += changed
    for note in result.notes():
        print(f"note: {note}", file=sys.stderr)
    if sound is not None:
        for note in with_sound(job.out, sound, out, hushed(script, loaded)):
            print(f"note: {note}", file=sys.stderr)
    if how.report:
        end = job.grid.start(job.chunks)
        landed = [(first, cue) for first, cue in script.landing(job.grid, job.fps) if first < end]
        write_report(result, job.record, landed, how.report)
    if how.sheet:
        contact_sheet(out, how.sheet)
    seconds, fps = result.film_frames / job.fps, result.as_json()["fps"]
    print(f"{out}: {seconds:.1f} s of video, {fps:.0f} fps, first frame after {result.first_frame_s} s")
    if sound is not None:
        job.files.discard()
    else:
        if part is None and (said := job.files.said()):
            print(f"note: {said}", file=sys.stderr)
        job.end()


def _changed_record(then: Mapping[str, str | int], now: Mapping[str, str | int]) -> list[str]:
    """Return a note on the entries of a record that differ, so that a replay may give other latents; else nothing.

    Entries that `then`, the record of an older take, lacks are not compared, and neither are LoRAs that are not used.
    """
    from streaming.take.take_loras import OF_RECORD

    used = {k: v for k, v in then.items() if k in now or not k.startswith(OF_RECORD)}
    differs = [f"{k} {v} → {now.get(k, 'none')}" for k, v in used.items() if now.get(k) != v]
    return [f"not the record that the take was made under ({', '.join(differs)}); frames may differ"] if differs else []
