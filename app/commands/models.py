"""List the catalog of models, show an entry, pull its files (`longtake models`)."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.commands import CommandError
from app.commands.options import CodecOption, VramOption, fitting_of
from app.commands.outputs import require_folder
from models.checkpoints.folders import models_folder

if TYPE_CHECKING:
    from models.catalog import Entry
    from models.checkpoints.known_hashes import KnownHashes
    from models.checkpoints.memory_plan import MemoryPlan

SUSTAINED = {"an H100": 410e12, "an RTX 4090": 100e12}  # operations a second in bfloat16, attention included


def list_models() -> None:
    """List the models of the catalog, and whether their files are here."""
    from models.catalog import ENTRIES
    from models.checkpoints.added import register
    from models.checkpoints.assemble import folder_of
    from models.checkpoints.model_files import missing_files

    register(models_folder())
    for entry in ENTRIES.values():
        here = "here" if not missing_files(entry, folder_of(entry, models_folder())) else "to pull"
        print(f"{entry.name:24} {here:8} {entry.title}")


def show_model(
    name: Annotated[str, typer.Argument(metavar="MODEL")],
    codec: CodecOption = None,
    vram: VramOption = None,
) -> None:
    """Show what the catalog says about a model, and what memory it takes by part."""
    from app.known_models import find
    from app.vocabulary import understands
    from models.checkpoints.assemble import folder_of
    from models.checkpoints.pins import PINS

    fitting, entry = fitting_of(codec, vram), find(name)
    entry = entry if codec is None else entry.with_codec(codec)
    r = entry.rollout
    print(f"{entry.name}: {entry.title}\n")
    for source in entry.sources:
        print(f"from      {source.repo or 'assets/ (ships with Longtake)'}: {', '.join(source.files)}")
        print(f"licence   {source.licence}")
        if source.repo:
            pin = PINS.get(source.repo)
            known = "no revision or hash is pinned" if pin is None else f"{pin.revision}, {len(pin.files)} files"
            print(f"pinned    {known}")
    sigmas = ", ".join(f"{s:.3g}" for s in r.schedule.sigmas)
    print(f"folder    {folder_of(entry, models_folder())}")
    print(f"picture   {entry.size[0]}x{entry.size[1]} at {entry.fps} fps")
    print(f"rollout   chunk {r.chunk}, window {r.window}, sink {r.sink}, steps at sigma {sigmas}")
    print(f"defaults  anchor {r.anchor}, on_switch {r.on_switch}, sink_on_switch {r.sink_on_switch}")
    print(f"can       {', '.join(_abilities(entry))}")
    _print_memory(entry, fitting.room)
    if entry.published:
        print(f"published {entry.published}")
    if entry.text == "umt5":
        print(f"expected  {_expected_speed(entry)} (arithmetic, not measured)")
    for attribute, values in understands(entry).items():
        print(f"{attribute:9} {', '.join(' = '.join(ways) or '(nothing)' for ways in values)}")
    if entry.notes:
        print(f"note      {entry.notes}")


def _abilities(entry: Entry) -> list[str]:
    """Return what a model can be given."""
    from models.cue import StartBy

    r = entry.rollout
    if r.reference is not None:
        return ["a portrait that it stays true to", "speech"]
    made_for = r.source_shift is not None
    image = "an image" if r.step_keys is not None or r.start_by is StartBy.PIN else "an image as a still chunk"
    return [
        image,
        *([] if r.step_keys is not None else ["a film to go on from", "a recall"]),
        "a film or a camera to follow" + (", which it is made for" if made_for else ""),
        "LoRAs",
        *(["cuts that go on from the shot before"] if r.shots is not None else []),
    ]


def _print_memory(entry: Entry, room: float | None) -> None:
    """Print what a model takes by part in bfloat16 on a card, and how it would fit into `room` bytes of one."""
    import torch

    from models.checkpoints.memory_plan import planned

    card = torch.cuda.get_device_properties(0).total_memory if torch.cuda.is_available() else None
    value = 4 if card is None and room is None else 2
    whole = planned(entry, float("inf"), value)
    print(f"memory    {whole.total / 1e9:.1f} GB in {'float32' if value == 4 else 'bfloat16'}")
    _print_parts(whole)
    if (there := room or card) is None:
        return
    plan = planned(entry, there, value)
    how = "all of it fits" if not plan.notes else f"{plan.total / 1e9:.1f} GB by these changes"
    print(f"fits      {'yes' if plan.fits else 'no'}, into {there / 1e9:.1f} GB: {how}")
    for line in plan.notes:
        print(f"          {line}")
    if plan.notes:
        _print_parts(plan)
    render = planned(entry, there, value, slowly=True)
    if render.offloaded:
        print(f"          a render, {render.total / 1e9:.1f} GB by these changes instead:")
        for line in render.notes:
            print(f"          {line}")


def _print_parts(plan: MemoryPlan) -> None:
    parts = {
        "transformer": plan.parts.transformer,
        "keys and values": plan.parts.cache,
        "text encoder": plan.parts.text_encoder,
        f"codec ({plan.entry.codec})": plan.parts.codec,
        "working memory (an estimate)": plan.working,
    }
    for part, size in parts.items():
        print(f"          {size / 1e9:6.2f} GB  {part}")


def _expected_speed(entry: Entry) -> str:
    """Return the frames a second that a card's sustained arithmetic allows, of denoising alone."""
    from streaming.chunk_cost import flops_a_chunk, text_length

    chunk = flops_a_chunk(entry, *entry.size, text_length(entry)) / entry.rollout.grid.frames
    return ", ".join(f"{rate / chunk:.0f} fps on {card}" for card, rate in SUSTAINED.items())


def add_model(
    weights: Annotated[str, typer.Argument(metavar="FILE|FOLDER|REPO", help="or OWNER/NAME:FILE of the hub")],
    name: Annotated[str | None, typer.Option(help="of the new model  [default: the file's]")] = None,
    like: Annotated[
        str | None, typer.Option(metavar="MODEL", help="roll it out like this one  [default: by its sizes]")
    ] = None,
    wrapper: Annotated[
        str | None, typer.Option(metavar="ENTRY", help="of a .pt file that holds several, such as generator_ema")
    ] = None,
) -> None:
    """Add a model of weights of a known family; text encoder and codec are those of the model that it is like."""
    from app.known_models import find
    from models.checkpoints.added import add, register

    register(models_folder())
    entry = add(weights, models_folder(), name=name, like=like, wrapper=wrapper)
    find(entry.name)
    print(f"{entry.name}: {entry.title}; see it with: longtake models show {entry.name}")


def pull_model(
    name: Annotated[str, typer.Argument(metavar="MODEL")],
    source: Annotated[Path | None, typer.Option("--from", help="copy from this folder instead of the hub")] = None,
    expect: Annotated[
        list[str] | None,
        typer.Option(metavar="sha256:HASH", help="of a file that Longtake does not pin; may be given again"),
    ] = None,
    codec: CodecOption = None,
    accept: Annotated[
        bool, typer.Option("--accept-licence", help="confirm licences that are not free, once for each model")
    ] = False,
) -> None:
    """Fetch a model's files and check that they are whole and belong to it; an interrupted pull resumes.

    Files are of a pinned revision and have pinned hashes. Of files that are not pinned the hash at the first pull is
    kept beside the models, and another one is refused later unless --expect names it.
    """
    from app.known_models import find
    from models.checkpoints import download
    from models.checkpoints.assemble import folder_of
    from models.checkpoints.known_hashes import LOCK, KnownHashes, parsed_hash, unpinned

    entry = find(name) if codec is None else find(name).with_codec(codec)
    folder = folder_of(entry, models_folder())
    expected = [parsed_hash(text) for text in expect or ()]
    if all(not s.repo for s in entry.sources):
        print(f"{entry.name} ships with Longtake; there is nothing to pull")
        return
    if source is not None and not source.is_dir():
        raise download.PullError(f"{source}: no such folder")
    _require_licences(entry, accept=accept)
    require_folder(folder)
    for origin in entry.sources:
        print(f"{origin.repo}: {', '.join(origin.files)}\nlicence: {origin.licence}")
    for pattern in unpinned(entry):
        print(f"not pinned: {pattern}: no hash of it is known here")
    hashes = KnownHashes(entry, models_folder() / LOCK, expected)
    if source is None:
        download.from_hub(entry, folder, hashes)
    else:
        _copy(entry, folder, source, hashes)
    download.accept(entry, folder, lambda part: print(f"checking {part}", flush=True))
    hashes.keep()
    for file, digest in hashes.learnt.items():
        print(f"{file}: sha256:{digest} is kept in {models_folder() / LOCK} and compared at later pulls")
    print(f"{entry.name} is here: {folder}")


def _require_licences(entry: Entry, *, accept: bool) -> None:
    """Have licences that are not known to be free confirmed, which is asked for once; CommandError if they are not."""
    from models.checkpoints.licences import confirm, unconfirmed

    wanted = unconfirmed(entry, models_folder())
    if not wanted:
        return
    listed = "; ".join(f"{s.repo}: {s.licence}" for s in wanted)
    if not accept and not (sys.stdin.isatty() and typer.confirm(f"{listed}. Do you accept that?")):
        raise CommandError(f"{listed}: if that allows what you do, say --accept-licence")
    confirm(wanted, models_folder())


def _copy(entry: Entry, folder: Path, source: Path, hashes: KnownHashes) -> None:
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn

    from models.checkpoints import download

    with Progress(DownloadColumn(), BarColumn(), TimeRemainingColumn()) as bar:
        task = bar.add_task("copy", total=None)
        download.from_folder(entry, folder, source, lambda n, total: bar.update(task, completed=n, total=total), hashes)
