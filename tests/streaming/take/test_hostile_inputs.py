"""Whatever is sent as a picture, a film, a mask or a LoRA ends in a use or in one line, and leaves nothing behind."""

from __future__ import annotations

import errno
import os
import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import tiny_model
from hostile_inputs import Case, cases

from models.checkpoints.assemble import Model
from models.errors import UserError
from models.transformer import CausalWanTransformer
from streaming.take.footage import TakeFootage
from streaming.take.take_file import CueLine, Take
from streaming.take.take_loras import use_loras
from streaming.take.uploaded_files import MOST_BYTES, UploadedFiles

SIZE = (64, 64)
SECONDS = 60  # for any one file, on a machine that does much else; alone none takes 4 s
MEGABYTES = 400  # by which all of them together may raise the memory's peak


@pytest.fixture(scope="module")
def model() -> Model:
    return tiny_model()


@pytest.fixture(scope="module")
def sent(model: Model, tmp_path_factory: pytest.TempPathFactory) -> list[Case]:
    transformer = model.generator.transformer
    assert isinstance(transformer, CausalWanTransformer)
    return cases(tmp_path_factory.mktemp("films"), transformer)


def one_line(error: UserError, case: Case, begins: tuple[str, ...] = ("",)) -> None:
    text = str(error)
    assert text.startswith(begins), (case.name, text)
    assert text.isprintable(), (case.name, text)
    assert 20 < len(text) < 1000, (case.name, text)
    assert "Traceback" not in text, (case.name, text)


def uploaded(case: Case, files: UploadedFiles) -> str | None:
    """Upload a case as its name; return the kind that it was taken as, or None if it was refused."""
    data, arriving, began = case.make(), files.begin(), time.monotonic()
    try:
        for at in range(0, len(data), 1 << 16):
            arriving.write(data[at : at + (1 << 16)])
        return files.checked(arriving, case.name).described.kind
    except UserError as e:
        one_line(e, case, begins=(case.name, "a picture or a film has at most"))
        return None
    finally:
        files.drop(arriving)
        assert time.monotonic() - began < SECONDS, case.name


def test_uploads_are_used_or_refused_in_one_line_and_leave_nothing_behind(
    sent: list[Case], model: Model, tmp_path: Path
) -> None:
    assert len(sent) >= 150
    assert len({case.name for case in sent}) == len(sent)
    files = UploadedFiles(tmp_path, "0" * 12, model, SIZE)
    for case in sent:
        if not case.heavy:
            assert (uploaded(case, files) is not None) is case.used, case.name
    assert list(tmp_path.rglob("*")) == []


def test_an_upload_is_kept_on_a_disk_that_has_no_permissions(
    sent: list[Case], model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def chmod(path: Path, mode: int) -> None:  # as exFAT, or a share of Windows, has it
        raise PermissionError(errno.EPERM, "Operation not permitted", str(path))

    files = UploadedFiles(tmp_path, "0" * 12, model, SIZE)
    arriving = files.begin()
    arriving.write(next(case for case in sent if case.name == "MP4 film of one picture").make())
    checked = files.checked(arriving, "a.mp4")
    monkeypatch.setattr(Path, "chmod", chmod)
    assert files.keep(arriving, checked).name == f"{'0' * 12}.files/a.mp4"
    assert [file.name for file in (tmp_path / f"{'0' * 12}.files").iterdir()] == ["a.mp4"]


def ways(case: Case) -> Iterator[tuple[str, CueLine]]:
    """Name the ways in which a take may name a file, with the cue that does."""
    yield "start", CueLine(prompt="x", start="f")
    yield "source", CueLine(prompt="x", source="f")
    yield "region", CueLine(prompt="x", source="film.mp4", region="f")
    yield "lora", CueLine(prompt="x", lora=["f"])


def test_a_take_that_names_them_is_read_or_refused_in_one_line(
    sent: list[Case], model: Model, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    film = next(case for case in sent if case.name == "MP4 film of one picture")
    (tmp_path / "film.mp4").write_bytes(film.make())
    for case in sent:
        if case.heavy:
            continue
        (tmp_path / "f").write_bytes(case.make())
        for way, cue in ways(case):
            take, footage = Take(cues=[cue]), TakeFootage(model.entry, SIZE, tmp_path)
            try:
                if way == "lora":
                    use_loras(model, take, tmp_path)
                    model.generator.loras.drop("f")  # type: ignore[union-attr]  # it has taken the file
                else:
                    footage.check(take)
                    if way == "source":
                        footage.frames("f", 0, 30)
            except UserError as e:
                one_line(e, case)
            finally:
                footage.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["f", "film.mp4"]


def test_names_of_what_is_no_file_are_refused_in_one_line(model: Model, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "to-zeros").symlink_to("/dev/zero")
    (tmp_path / "to-itself").symlink_to("to-itself")
    (tmp_path / "to-nothing").symlink_to("none.png")
    case = Case("name", lambda: b"")
    long = "\U0001d4d0" * 190  # characters, of four bytes each
    for name in ("folder", "pipe", "to-zeros", "to-itself", "to-nothing", "nothing", long):
        for cue in (CueLine(prompt="x", start=name), CueLine(prompt="x", source=name)):
            with pytest.raises(UserError) as refused:
                TakeFootage(model.entry, SIZE, tmp_path).check(Take(cues=[cue]))
            one_line(refused.value, case)
        with pytest.raises(UserError) as refused:
            use_loras(model, Take(cues=[CueLine(prompt="x", lora=[name])]), tmp_path)
        one_line(refused.value, case)


@pytest.mark.long
def test_files_that_unpack_to_much_cost_little_memory(sent: list[Case], model: Model, tmp_path: Path) -> None:
    files = UploadedFiles(tmp_path, "0" * 12, model, SIZE)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for case in sent:
        assert (uploaded(case, files) is not None) is case.used, case.name
    large = Case("zeros without end", lambda: bytes(MOST_BYTES + 1))
    assert uploaded(large, files) is None
    unit = 1 << (20 if sys.platform == "darwin" else 10)  # of the peak: bytes on macOS, kilobytes elsewhere
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / unit
    assert grown < MEGABYTES, f"{grown:.0f} MB"
    assert list(tmp_path.rglob("*")) == []
