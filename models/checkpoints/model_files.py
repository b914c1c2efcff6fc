"""Find the files of a model that its folder lacks."""

from __future__ import annotations

from pathlib import Path

from models.catalog import Entry
from models.checkpoints.checkpoint_error import CheckpointError
from models.checkpoints.model_parts import index_of

UNFINISHED = (".partial", ".incomplete", ".part", ".tmp", ".crdownload", ".aria2", ".lock")  # of downloads
PULLING = ".pull-unfinished"  # a mark in a model's folder while its files are fetched and not yet verified
_NEEDED = {  # pattern of the catalog → what its folder cannot be without, each by one of several names
    "vae/*": (("config.json",), ("*.safetensors",)),
    "text_encoder/*": (("config.json",), ("*.safetensors",)),
    "tokenizer/*": (("tokenizer.json", "spiece.model"),),
}


def missing_files(entry: Entry, folder: Path) -> list[str]:
    """Return the names or patterns of an entry's files that the folder lacks.

    Files that are still being fetched count as missing, and so do folders without their configuration or one of their
    parts. `PULLING` is included during a pull, and after one that was interrupted or whose files were refused.
    """
    lacks = [lack for source in entry.sources for pattern in source.files if (lack := _lacking(folder, pattern))]
    return lacks + ([PULLING] if (folder / PULLING).exists() else [])


def _lacking(folder: Path, pattern: str) -> str | None:
    # patterns are matched one by one, so that folders may be links, as they are in the hub's own cache
    if not any(finished(p) for p in folder.glob(pattern)):
        return pattern
    inside = pattern.removesuffix("*")
    for names in _NEEDED.get(pattern, ()):
        if not any(finished(p) for name in names for p in folder.glob(inside + name)):
            return inside + names[0]
    for index in folder.glob(inside + "*.safetensors.index.json") if pattern.endswith("/*") else ():
        try:
            parts = sorted(set(index_of(index)["weight_map"].values()))
        except CheckpointError:  # loading reports the error
            continue
        if lack := next((name for name in parts if not (index.parent / name).is_file()), None):
            return inside + lack
    return None


def finished(path: Path) -> bool:
    """Return whether a path is a file without the name of an unfinished download."""
    return path.is_file() and path.suffix not in UNFINISHED and not path.name.startswith(".")
