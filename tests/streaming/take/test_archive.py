"""Test that every take is found: ended, running, or cut off in the middle of a line of its journal."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from sessions import async_test, replayed, running, say, until

from streaming.take.archive import Archive
from streaming.take.take_file import load
from streaming.take.take_shelf import delete_take


@async_test
async def test_a_take_is_listed_while_it_runs_and_after_it_has_ended(tmp_path: Path) -> None:
    archive = Archive(tmp_path)
    async with running(tmp_path) as (session, _):
        await until(lambda: session.index >= 6)
        say(session, 1, type="prompt", text="two")
        await until(lambda: len(session.history.landed) == 2)
        (told,) = archive.newest()
        assert not told.ended
        assert [e.prompt for e in told.history.landed] == ["one", "two"]
    (told,) = archive.newest()
    assert told.ended
    assert told.take() == load(archive.take_file(told.history.id)) == session.take()


@async_test
async def test_a_journal_torn_at_any_byte_replays_to_the_same_latents(tmp_path: Path) -> None:
    async with running(tmp_path) as (session, _):
        for number, text in enumerate(("two", "three", "four")):
            await until(lambda n=number: session.index >= 6 * (n + 1))
            say(session, number, type="prompt", text=text, blend=number + 1)
        await until(lambda: session.index >= 24)
        name = session.history.id
    file = tmp_path / f"{name}.jsonl"
    whole, hashes = file.read_bytes(), session.history.hashes
    all_hashes = replayed(session.take())
    assert all_hashes == hashes
    told_lengths = set()
    for kept in range(len(whole) - 20, 600, -97):
        file.write_bytes(whole[:kept])
        archive = Archive(tmp_path)
        try:
            told = archive.told(name)
        except KeyError:
            continue
        assert not told.ended
        assert told.history.hashes == {k: v for k, v in hashes.items() if k < told.history.length}
        assert all((e.landed or 0) < told.history.length for e in told.history.landed)
        told_lengths.add(told.history.length)
    assert len(told_lengths) >= 4
    archive.take_file(name).unlink()
    file.write_bytes(whole[: whole.rindex(b'{"type":"chunk"')])
    archive = Archive(tmp_path)
    archive.recover()
    again = replayed(load(archive.take_file(name)))
    assert again == {k: v for k, v in hashes.items() if k in again}
    assert len(again) == len(hashes) - 1


@pytest.mark.parametrize("name", ["0123456789ab", "../../etc/passwd", "", "0123456789AB", "x"])
def test_an_unknown_take_is_neither_found_nor_listed(tmp_path: Path, name: str) -> None:
    (tmp_path / "0123456789ab.jsonl").write_text('{"type": "take"}\n{"type": "chunk"}\nnonsense')
    with pytest.raises(KeyError):
        Archive(tmp_path).told(name)
    assert list(Archive(tmp_path).newest()) == []


def with_takes(folder: Path, *names: str) -> Archive:
    """Return the archive of a folder that gets takes of these ids, the one named last written to last."""
    text = (Path(__file__).parent / "journals" / "session_v1.jsonl").read_text()
    for number, name in enumerate(names):
        (folder / f"{name}.jsonl").write_text(text.replace("acfe0b6c516a", name))
        os.utime(folder / f"{name}.jsonl", (number, number))
    return Archive(folder)


def test_a_take_that_is_deleted_while_takes_are_listed_is_left_out(tmp_path: Path) -> None:
    archive = with_takes(tmp_path, "a" * 12, "b" * 12, "c" * 12)
    listed = archive.newest()
    delete_take(tmp_path, "b" * 12)
    assert [told.history.id for told in listed] == ["c" * 12, "a" * 12]
    with pytest.raises(KeyError):
        archive.told("b" * 12)


def test_a_journal_that_may_not_be_read_is_told_of_and_costs_no_other_take(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    archive, opened = with_takes(tmp_path, "a" * 12, "b" * 12), Path.read_bytes

    def read_bytes(path: Path) -> bytes:  # this process may have all rights
        if path.name == "b" * 12 + ".jsonl":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return opened(path)

    monkeypatch.setattr(Path, "read_bytes", read_bytes)
    archive.recover()
    assert [told.history.id for told in archive.newest()] == ["a" * 12]
    assert archive.take_file("a" * 12).exists()
    assert [record.message for record in caplog.records if "another user" in record.message] == [
        "bbbbbbbbbbbb.jsonl belongs to another user and cannot be read; the take is left out"
    ]


def test_files_whose_names_are_no_text_hinder_neither_a_start_nor_the_deletion_of_a_take(tmp_path: Path) -> None:
    archive = with_takes(tmp_path, "a" * 12)
    uploads = tmp_path / f"{'a' * 12}.files"
    uploads.mkdir()
    strange = os.fsdecode(b"caf\xe9.png")  # Latin-1, as from an old archive
    for path in (uploads / strange, tmp_path / f"{'a' * 12}-{strange}"):
        path.touch()
    archive.recover()
    delete_take(tmp_path, "a" * 12)
    assert list(tmp_path.iterdir()) == []


def test_uploads_that_a_kill_has_left_behind_are_deleted_at_the_next_start_unless_a_take_names_them(
    tmp_path: Path,
) -> None:
    first, branch, begun, elsewhere = "a" * 12, "b" * 12, "c" * 12, tmp_path / "elsewhere"
    folder = tmp_path / "takes"
    elsewhere.mkdir()
    for take in (first, begun):
        (folder / f"{take}.files").mkdir(parents=True)
    for name in ("used.png", "of-branch.png", "in-take-file.mp4", "left.png", "left.mp4"):
        (folder / f"{first}.files" / name).touch()
    (folder / f"{begun}.files" / "left.png").touch()
    (folder / f"{branch}.files").symlink_to(elsewhere)
    (elsewhere / "mine.png").touch()
    (folder / "mine.files").mkdir()
    (folder / "mine.files" / "mine.png").touch()
    (folder / f"{first}.jsonl").write_text(f'{{"start":"{first}.files/used.png"}}\n{{"torn')
    (folder / f"{branch}.jsonl").write_text(f'{{"source":"{first}.files/of-branch.png"}}\n')
    (folder / f"{first}.yaml").write_text(f"cues:\n- source: {first}.files/in-take-file.mp4\n")
    (folder / f"{begun}.jsonl").touch()  # of a session that was killed before its first chunk
    Archive(folder).recover()
    left = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file())
    assert [name for name in left if "files/" in name or "mine" in name] == [
        "elsewhere/mine.png",
        f"takes/{first}.files/in-take-file.mp4",
        f"takes/{first}.files/of-branch.png",
        f"takes/{first}.files/used.png",
        "takes/mine.files/mine.png",
    ]
    assert not (folder / f"{begun}.files").exists()
