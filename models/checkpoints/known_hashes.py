"""Compare files with known hashes: pinned in the code, expected by a person, or seen at an earlier pull."""

from __future__ import annotations

import fnmatch
import hashlib
import json
import os
import re
from collections.abc import Collection
from pathlib import Path

from models.catalog import Entry
from models.checkpoints.checkpoint_error import CheckpointError
from models.checkpoints.pins import PINS

LOCK = "pulled.json"  # in the folder of models: repository → path → SHA-256 at the first pull
_BLOCK = 8 << 20


class KnownHashes:
    """Hold what is known of the files of a model, and learn the hashes of files that nothing is known of.

    A file that is pinned must have the pinned hash. Another one must have one of the `expected` hashes if there are
    any; otherwise it is trusted at its first pull, and must be the same at every later one.
    """

    def __init__(self, entry: Entry, lock: Path, expected: Collection[str] = ()) -> None:
        """Read the hashes of earlier pulls from the file `lock`; CheckpointError if it holds something else."""
        self._entry, self._lock, self._expected = entry, lock, frozenset(expected)
        self._seen = _read(lock)
        self.learnt: dict[str, str] = {}  # path → SHA-256 of files that were trusted or expected

    def revision(self, repo: str) -> str | None:
        """Return the revision of a repository that is pulled; None: its newest one, which is not pinned."""
        return PINS[repo].revision if repo in PINS else None

    def require(self, name: str, file: Path) -> None:
        """Read a file, which the model's folder holds or is to hold as `name`; CheckpointError for another hash."""
        repo = next((s.repo for s in self._entry.sources if any(fnmatch.fnmatch(name, f) for f in s.files)), "")
        found = sha256_of(file)
        pinned = PINS[repo].files.get(name) if repo in PINS else None
        if pinned is not None:
            if found != pinned:
                raise CheckpointError(f"{name}: has the SHA-256 {found} instead of {pinned}: not the file of {repo}")
            return
        seen = self._seen.get(repo, {}).get(name)
        if self._expected and found not in self._expected:
            raise CheckpointError(f"{name}: has the SHA-256 {found}, which --expect does not name")
        if not self._expected and seen not in (None, found):
            raise CheckpointError(
                f"{name}: has the SHA-256 {found}, and at its first pull it had {seen}; "
                f"if the change is meant, say --expect sha256:{found}"
            )
        if seen != found:
            self.learnt[name] = found
            self._seen.setdefault(repo, {})[name] = found

    def keep(self) -> None:
        """Write what was learnt, for later pulls; raises OSError."""
        if not self.learnt:
            return
        partial = self._lock.with_name(self._lock.name + ".partial")
        partial.write_text(json.dumps(self._seen, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        os.replace(partial, self._lock)


def sha256_of(file: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal digits."""
    digest = hashlib.sha256()
    with file.open("rb") as f:
        while block := f.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def parsed_hash(text: str) -> str:
    """Return the hexadecimal digits of a hash such as `sha256:9f86…`; CheckpointError for other text."""
    found = re.fullmatch(r"sha256:([0-9a-f]{64})", text.strip().lower())
    if found is None:
        raise CheckpointError(f"--expect: {text[:80]!r} is no hash such as sha256: and 64 hexadecimal digits")
    return found[1]


def unpinned(entry: Entry) -> list[str]:
    """Return the names and patterns of an entry's files of which no hash is pinned."""
    return [
        pattern
        for source in entry.sources
        for pattern in source.files
        if source.repo and (source.repo not in PINS or not fnmatch.filter(PINS[source.repo].files, pattern))
    ]


def _read(lock: Path) -> dict[str, dict[str, str]]:
    try:
        seen = json.loads(lock.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as e:
        raise CheckpointError(f"{lock}: cannot be read ({e}); it holds the hashes of pulled files") from None
    right = isinstance(seen, dict) and all(
        isinstance(files, dict) and all(isinstance(h, str) for h in files.values()) for files in seen.values()
    )
    if not right:
        raise CheckpointError(f"{lock}: does not hold hashes of pulled files; delete it to trust the next pull")
    return seen
