"""Keep the models that a person adds to the catalog: weights of a known family, rolled out like a model that is in it.

Each is a file of its own, `added/NAME.json`, below the folder of models.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from models.catalog import ENTRIES, Entry, find
from models.catalog_entry import Source, Weights
from models.checkpoints.checkpoint_error import CheckpointError
from models.checkpoints.wan_family import seems_to_be, sizes_of
from models.checkpoints.weight_files import as_diffusers, read

FOLDER = "added"
LIKE = {  # width, layers and channels in → the model of the catalog that weights of these sizes are rolled out like
    (1536, 30, 16): "longlive-1.3b",
    (5120, 40, 16): "krea-14b",
    (3072, 30, 48): "longlive2-5b",
}
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_IN_HUB = re.compile(r"([\w.-]{1,96}/[\w.-]{1,96}):([\w./+-]{1,200})", re.ASCII)


@dataclass(frozen=True)
class Added:
    """Describe a model that was added: `weights` is a path on this machine, or the path in the repository `repo`."""

    name: str
    like: str
    weights: str
    wrapper: str | None = None
    repo: str = ""


def add(weights: str, models: Path, *, name: str | None, like: str | None, wrapper: str | None) -> Entry:
    """Add a model of weights in a file or a diffusers folder, or `OWNER/NAME:FILE` of the hub; return its entry.

    Weights on this machine are looked into, and must be of a family that is known and fit the model that they are to
    be rolled out like; those of the hub are looked into when they are pulled. Raises CheckpointError.
    """
    path = Path(weights).absolute()
    hub = None if path.exists() else _IN_HUB.fullmatch(weights)
    if hub is None:
        like = _checked(path, like, wrapper)
    elif like is None:
        raise CheckpointError(f"{weights}: say which model it is rolled out like, as in --like longlive-1.3b")
    name = name or re.sub(r"[^a-z0-9._-]+", "-", Path(hub[2] if hub else path.name).stem.lower()).strip("-._")
    if not _NAME.fullmatch(name):
        raise CheckpointError(f"{name[:80]!r} is no name of a model: use small letters, digits and -._, up to 64")
    if name in ENTRIES:
        raise CheckpointError(f"a model is called {name} already; give the new one another --name")
    added = Added(name, find(like).name, hub[2] if hub else str(path), wrapper, hub[1] if hub else "")
    entry = _entry(added)
    file = models / FOLDER / f"{name}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(file.name + ".partial")
    partial.write_text(json.dumps(asdict(added), indent=1) + "\n", encoding="utf-8")
    os.replace(partial, file)
    return entry


def register(models: Path) -> None:
    """Put the models that were added into the catalog; CheckpointError for a file that describes none."""
    for file in sorted((models / FOLDER).glob("*.json")):
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
            added = Added(**content)
            entry = _entry(added)
        except (OSError, ValueError, TypeError, KeyError) as e:
            raise CheckpointError(f"{file}: describes no model ({e}); delete it, and add the model again") from None
        ENTRIES.setdefault(entry.name, entry)


def _checked(path: Path, like: str | None, wrapper: str | None) -> str:
    """Return the model that weights are rolled out like, after a look at their names and shapes."""
    tensors = as_diffusers(read(path, wrapper), path)
    what, sizes = seems_to_be(tensors), sizes_of(tensors)
    known = LIKE.get(sizes) if sizes is not None else None
    if known is None:
        families = ", ".join(LIKE.values())
        raise CheckpointError(f"{path}: seems to be {what or 'nothing known'}; what can be added is like {families}")
    own = find(like or known)
    t = own.transformer
    wanted = (t["num_attention_heads"] * t["attention_head_dim"], t["num_layers"], t["in_channels"])
    if wanted != sizes:
        raise CheckpointError(f"{path}: seems to be {what}, which cannot be rolled out like {own.name}")
    return own.name


def _entry(added: Added) -> Entry:
    like = find(added.like)
    shared = tuple(s for s in like.sources if any(f.startswith("text_encoder/") for f in s.files))
    own = (Source(added.repo, (added.weights,), "not known here: see its page", free=False),) if added.repo else ()
    return replace(
        like,
        name=added.name,
        title=f"{added.weights}, rolled out like {like.name}",
        sources=(*own, *shared),
        weights=Weights(added.weights, added.wrapper),
        folder="" if added.repo else like.folder or like.name,
        notes="added here",
        published="",
    )
