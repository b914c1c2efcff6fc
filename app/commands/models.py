"""List the catalog of models, show an entry, pull its files (`longtake models`)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.commands.outputs import require_folder
from models.checkpoints.folders import models_folder

if TYPE_CHECKING:
    from models.catalog import Entry
    from models.checkpoints.known_hashes import KnownHashes


def list_models() -> None:
    """List the models of the catalog, and whether their files are here."""
    from models.catalog import ENTRIES
    from models.checkpoints.assemble import folder_of
    from models.checkpoints.model_files import missing_files

    for entry in ENTRIES.values():
        here = "here" if not missing_files(entry, folder_of(entry, models_folder())) else "to pull"
        print(f"{entry.name:14} {here:8} {entry.title}")


def show_model(name: Annotated[str, typer.Argument(metavar="MODEL")]) -> None:
    """Show what the catalog says about a model."""
    from app.vocabulary import understands
    from models.catalog import find
    from models.checkpoints.assemble import folder_of
    from models.checkpoints.pins import PINS

    entry = find(name)
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
    for attribute, values in understands(entry).items():
        print(f"{attribute:9} {', '.join(' = '.join(ways) or '(nothing)' for ways in values)}")
    if entry.notes:
        print(f"note      {entry.notes}")


def pull_model(
    name: Annotated[str, typer.Argument(metavar="MODEL")],
    source: Annotated[Path | None, typer.Option("--from", help="copy from this folder instead of the hub")] = None,
    expect: Annotated[
        list[str] | None,
        typer.Option(metavar="sha256:HASH", help="of a file that Longtake does not pin; may be given again"),
    ] = None,
) -> None:
    """Fetch a model's files and check that they are whole and belong to it; an interrupted pull resumes.

    Files are of a pinned revision and have pinned hashes. Of files that are not pinned the hash at the first pull is
    kept beside the models, and another one is refused later unless --expect names it.
    """
    from models.catalog import find
    from models.checkpoints import download
    from models.checkpoints.assemble import folder_of
    from models.checkpoints.known_hashes import LOCK, KnownHashes, parsed_hash, unpinned

    entry = find(name)
    folder = folder_of(entry, models_folder())
    expected = [parsed_hash(text) for text in expect or ()]
    if all(not s.repo for s in entry.sources):
        print(f"{entry.name} ships with Longtake; there is nothing to pull")
        return
    if source is not None and not source.is_dir():
        raise download.PullError(f"{source}: no such folder")
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


def _copy(entry: Entry, folder: Path, source: Path, hashes: KnownHashes) -> None:
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn

    from models.checkpoints import download

    with Progress(DownloadColumn(), BarColumn(), TimeRemainingColumn()) as bar:
        task = bar.add_task("copy", total=None)
        download.from_folder(entry, folder, source, lambda n, total: bar.update(task, completed=n, total=total), hashes)
