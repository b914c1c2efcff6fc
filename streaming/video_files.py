"""Name, prepare and delete the files of videos that clients ordered, which lie in a folder of their own."""

from __future__ import annotations

import contextlib
import re
import secrets
import shutil
from collections.abc import Collection
from pathlib import Path

from models.checkpoints.synced_files import copy_beginning, make_folder, remove, sync_file, write_whole
from streaming.render_files import RenderFiles
from streaming.take.take_file import Take

_NAME = re.compile(r"video_[0-9a-f]{32}")
_JOURNAL = "journal.jsonl"


class VideoFiles:
    """Know the files of the videos in one folder: of each a take, at most one picture, the film and its render."""

    def __init__(self, folder: Path) -> None:
        """Make the folder unless it is there; only the server's user may read it."""
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(PermissionError):  # it belongs to another user, who decides
            folder.chmod(0o700)

    def new_name(self) -> str:
        """Return a name that no video has, and that nobody can guess."""
        return f"video_{secrets.token_hex(16)}"

    def owns(self, name: str) -> bool:
        """Return whether this is the name of a video, rather than of a take."""
        return _NAME.fullmatch(name) is not None

    def picture(self, name: str) -> Path:
        """Return the path of the picture that a video begins with."""
        return self.folder / f"{name}.png"

    def keep_picture(self, name: str, data: bytes) -> None:
        """Write the picture of a video, synced; OSError if the disk does not take it."""
        write_whole(self.picture(name), data)

    def with_own_files(self, name: str, take: Take, folder: Path) -> Take:
        """Return a take whose one picture, if it has any, is a copy of that in `folder`; OSError."""
        names = sorted({file for cue in take.cues for file in cue.files()})
        for file in names:
            self.keep_picture(name, (folder / file).read_bytes())
        own = dict.fromkeys(names, self.picture(name).name)
        return take.model_copy(update={"cues": [cue.with_names(own) for cue in take.cues]})

    def prepare(self, name: str, take: str, source: Path | None) -> None:
        """Write the take file of a video, and copy the render of the film `source`, with which it begins, if it exists.

        The copied journal comes last, since a render believes it; without it the film is drawn from its start.
        """
        write_whole(self.folder / f"{name}.yaml", take.encode())
        files = RenderFiles(self.folder / f"{name}.mp4")
        if source is None or files.journal.exists() or not source.exists():
            return
        given = RenderFiles(source)
        make_folder(files.folder)
        try:
            copy_beginning(source, files.out, source.stat().st_size)
            for path in given.folder.iterdir():
                if path.is_file() and path.name not in (_JOURNAL, "lock"):
                    shutil.copyfile(path, files.folder / path.name)
                    sync_file(files.folder / path.name)
            copy_beginning(given.journal, files.journal, given.journal.stat().st_size)
        except FileNotFoundError:  # the source was deleted meanwhile
            files.discard()

    def delete(self, name: str) -> None:
        """Delete everything of a video."""
        RenderFiles(self.folder / f"{name}.mp4").discard()
        for path in (self.picture(name), self.folder / f"{name}.yaml"):
            remove(path)

    def delete_others(self, known: Collection[str]) -> None:
        """Delete the files of videos that are not known, which a kill left while they were ordered or deleted."""
        for path in self.folder.iterdir():
            name = path.name.partition(".")[0]
            if self.owns(name) and name not in known:
                with contextlib.suppress(OSError):  # the next start tries again
                    self.delete(name)
