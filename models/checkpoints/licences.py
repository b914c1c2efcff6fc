"""Remember which licences of weights a person has confirmed, so that each is asked for once."""

from __future__ import annotations

import json
import os
from pathlib import Path

from models.catalog import Entry, Source
from models.checkpoints.checkpoint_error import CheckpointError

CONFIRMED = "licences.json"  # in the folder of models: repository → the text that was confirmed


def unconfirmed(entry: Entry, models: Path) -> list[Source]:
    """Return the sources whose licence is not known to be free and was not confirmed as it stands now."""
    known = _read(models / CONFIRMED)
    return [s for s in entry.sources if s.repo and not s.free and known.get(s.repo) != s.licence]


def confirm(sources: list[Source], models: Path) -> None:
    """Write that the licences of these sources were confirmed; raises OSError."""
    known = _read(models / CONFIRMED) | {s.repo: s.licence for s in sources}
    partial = models / (CONFIRMED + ".partial")
    partial.parent.mkdir(parents=True, exist_ok=True)
    partial.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    os.replace(partial, models / CONFIRMED)


def _read(file: Path) -> dict[str, str]:
    try:
        known = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as e:
        raise CheckpointError(f"{file}: cannot be read ({e}); it holds the licences that were confirmed") from None
    if not isinstance(known, dict) or not all(isinstance(v, str) for v in known.values()):
        raise CheckpointError(f"{file}: does not hold confirmed licences; delete it to be asked again")
    return known
