"""Delete uploaded files that a killed server has left behind: no take uses them, and their session is gone."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path

from models.checkpoints.synced_files import remove

FOLDER_SUFFIX = ".files"  # of the folder of a take's uploaded files


def delete_left_uploads(folder: Path, takes: Sequence[str]) -> None:
    """Delete the uploaded files of these takes in `folder` that none of their journals and take files names.

    The takes must be the newest: one that was branched from another, and may name its files, is newer than that one.
    Call it before any session. What cannot be deleted, or is named by a journal that cannot be read, is left.
    """
    uploads = {take: folder / f"{take}{FOLDER_SUFFIX}" for take in takes}
    uploads = {take: path for take, path in uploads.items() if path.is_dir() and not path.is_symlink()}
    with contextlib.suppress(OSError):
        # a person may have put in a file whose name is no text
        files = {os.fsencode(f"{path.name}/{file.name}"): file for path in uploads.values() for file in path.iterdir()}
        for path in (folder / f"{take}{suffix}" for take in takes if files for suffix in (".jsonl", ".yaml")):
            # names of uploads are written as they are: they have no character that JSON or YAML would change
            text = path.read_bytes() if path.exists() else b""
            files = {name: file for name, file in files.items() if name not in text}
        for file in files.values():
            remove(file)
        for path in uploads.values():
            with contextlib.suppress(OSError):  # it has files that are used
                path.rmdir()
