"""Say what is missing of a model's files in its folder."""

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
    """Return what the folder lacks of an entry's files, as names or patterns below it.

    A file that is still being fetched is not there; neither is a folder without its configuration or one of its parts.
    While a pull goes on, or after one that was cut off or whose files were refused, `PULLING` is among them.
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
        except CheckpointError:  # loading says what is wrong with it
            continue
        if lack := next((name for name in parts if not (index.parent / name).is_file()), None):
            return inside + lack
    return None


def finished(path: Path) -> bool:
    """Return whether a path is a file that is whole as far as its name tells."""
    return path.is_file() and path.suffix not in UNFINISHED and not path.name.startswith(".")
