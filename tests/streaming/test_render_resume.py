"""Test that the intact part of an interrupted render is used again, and never discarded without a request."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from renders import CHUNKS, TAKE, KilledError, contents, killed_at, render

from streaming.render_files import RenderError, RenderFiles
from streaming.render_resume import position

FRAMES = 4 * 21 - 3  # in the whole film


@pytest.fixture(autouse=True)
def short_fragments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streaming.render_job.CHUNKS_PER_FRAGMENT", CHUNKS)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., bytes]:
    """Return a function that gives the film of an uninterrupted render."""
    films: dict[str, bytes] = {}

    def film(**what: Any) -> bytes:
        if (key := str(what)) not in films:
            folder = tmp_path_factory.mktemp("whole")
            render(folder, **what)
            films[key] = (folder / "a.mp4").read_bytes()
        return films[key]

    return film


def cut_off(folder: Path, after: int = 4, **what: Any) -> RenderFiles:
    """Kill a render after its chunk number `after`."""
    with pytest.raises(KilledError):
        render(folder, progress=killed_at(after), **what)
    return RenderFiles(folder / "a.mp4")


def flipped(data: bytes) -> bytes:
    return data[:-100] + bytes([data[-100] ^ 1]) + data[-99:]


@pytest.mark.parametrize(
    "damage",
    [lambda d: b"", lambda d: d[: len(d) // 2], lambda d: bytes(len(d)), lambda d: d[:-512] + bytes(512), flipped],
    ids=["empty", "half", "zeros", "zeros at the end", "a bit"],
)
def test_the_newest_undamaged_checkpoint_is_used(
    damage: Callable[[bytes], bytes], tmp_path: Path, whole: Callable[..., bytes]
) -> None:
    files = cut_off(tmp_path)
    newest = files.checkpoints()[-1]
    newest.write_bytes(damage(newest.read_bytes()))
    report = render(tmp_path, resume=True)
    assert report.warnings == [f"{newest.name} is damaged; an older checkpoint is used"]
    assert report.chunks == 7 - CHUNKS  # the ones after the older checkpoint
    assert report.film_frames == FRAMES
    assert files.out.read_bytes() == whole()


@pytest.mark.parametrize("kept", [0, 3000, -200])
def test_a_film_that_ends_in_zeros_goes_on_from_its_last_whole_fragment(
    kept: int, tmp_path: Path, whole: Callable[..., bytes]
) -> None:
    files = cut_off(tmp_path)
    film = files.partial.read_bytes()
    files.partial.write_bytes(film[:kept] + bytes(len(film) - len(film[:kept])))
    report = render(tmp_path, resume=True)
    assert report.warnings[0].startswith("a.partial.mp4 is damaged after")
    assert files.out.read_bytes() == whole()


@pytest.mark.parametrize("place", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("junk", [bytes(64), b"\xff{}\n" * 8], ids=["zeros", "garbage"])
def test_a_damaged_journal_is_used_up_to_the_damage(
    junk: bytes, place: float, tmp_path: Path, whole: Callable[..., bytes]
) -> None:
    files = cut_off(tmp_path)
    lines = files.journal.read_bytes()
    at = int(place * len(lines))
    files.journal.write_bytes(lines[:at] + junk + lines[at + len(junk) :])
    if place == 0:  # not even the take of the render is known
        before = contents(tmp_path)
        with pytest.raises(RenderError, match="its journal cannot be read; nothing was touched; --restart begins anew"):
            render(tmp_path, resume=True)
        assert contents(tmp_path) == before
        return
    report = render(tmp_path, resume=True)
    assert "of the journal" in report.warnings[0]
    assert files.out.read_bytes() == whole()


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"text": "seed: 6\n" + TAKE}, r"another seed \(0, now 6\)"),
        ({"text": "size: 64x32\n" + TAKE}, "pictures of another size"),
        ({"text": TAKE.replace("one", "another")}, "its take differs from latent 0 on"),
        ({"length": 3}, "the take has become shorter"),
    ],
)
def test_a_render_that_cannot_go_on_touches_nothing_and_says_why(
    changes: dict[str, Any], why: str, tmp_path: Path
) -> None:
    files = cut_off(tmp_path)
    before = contents(tmp_path)
    with pytest.raises(RenderError, match=f"cannot go on, .*{why}.*nothing was touched; --restart begins anew"):
        render(tmp_path, resume=True, **changes)
    assert contents(tmp_path) == before
    report = render(tmp_path, resume=True, restart=True, **changes)
    assert "begun anew" in report.warnings[0]
    assert files.out.exists()


def test_a_cut_off_render_is_begun_anew_only_on_request(tmp_path: Path, whole: Callable[..., bytes]) -> None:
    files = cut_off(tmp_path)
    before = contents(tmp_path)
    with pytest.raises(RenderError, match=r"cut off after .* s; go on with --resume, or throw .* --restart"):
        render(tmp_path)
    assert contents(tmp_path) == before
    assert render(tmp_path, restart=True).chunks == 7
    assert files.out.read_bytes() == whole()
    render(tmp_path)  # a finished film is rendered again without questions


@pytest.mark.parametrize("killed", [(7,), (8, 9), (7, 9, 10)])
@pytest.mark.parametrize("resumes", [False, True])
def test_an_extension_that_is_killed_gets_the_length_that_was_asked_for(
    killed: tuple[int, ...], resumes: bool, tmp_path: Path, whole: Callable[..., bytes]
) -> None:
    render(tmp_path)
    for chunk in killed:
        cut_off(tmp_path, chunk, more=12)
    with pytest.raises(RenderError, match="it is becoming 12 latents longer already"):
        render(tmp_path, more=9)
    report = render(tmp_path, resume=True) if resumes else render(tmp_path, more=12)
    assert (tmp_path / "a.mp4").read_bytes() == whole(length=33)
    assert report.film_frames == 4 * 33 - 3
    assert render(tmp_path, resume=True).film_frames == 4 * 33 - 3  # nor does it become shorter later
    render(tmp_path, more=3)
    assert (tmp_path / "a.mp4").read_bytes() == whole(length=36)


def test_a_render_from_a_position_goes_on_after_a_kill(tmp_path: Path, whole: Callable[..., bytes]) -> None:
    render(tmp_path)
    cut_off(tmp_path, 5, start=9)
    report = render(tmp_path, start=9)
    assert report.chunks == 1  # from the checkpoint at latent 18, not from that at 6
    assert (tmp_path / "a.mp4").read_bytes() == whole()
    assert render(tmp_path, start=9).chunks == 5  # once it is done, the same command renders anew from there


def test_an_unfinished_extension_of_a_take_with_a_changed_length_is_refused(tmp_path: Path) -> None:
    render(tmp_path)
    cut_off(tmp_path, 8, more=12)
    before = contents(tmp_path)
    with pytest.raises(RenderError, match="unfinished, and the take's own length has changed from 21 to 24 latents"):
        render(tmp_path, length=24, resume=True)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("text", ["", "s", "1e3s", "nan", "१२s", "99999999999999999999s"])
def test_a_position_is_a_time_or_a_number_of_latents(text: str) -> None:
    with pytest.raises(RenderError, match="neither a whole number of latents nor a time such as 12s"):
        position(text, 16)
    assert [position(t, 16) for t in ("12s", "12 s", "0:12", "30")] == [48, 48, 48, 30]


def test_a_position_is_not_negative() -> None:
    with pytest.raises(RenderError, match="'-5s' must not be negative"):
        position("-5s", 16)


def test_leftover_files_are_deleted_and_checkpoints_are_limited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streaming.render_files.MOST_CHECKPOINTS", 3)
    monkeypatch.setattr("streaming.render_files.MOST_OF_FINISHED", 2)
    files = cut_off(tmp_path, 11, length=36)
    assert len(files.checkpoints()) == 3
    for name in (".tmpAbC12", "checkpoint-0000006.safetensors.partial", "checkpoint-0000099.safetensors"):
        (files.folder / name).write_bytes(b"left by a kill")
    render(tmp_path, length=36, resume=True)
    assert [p.name for p in sorted(files.folder.iterdir())] == [
        *(p.name for p in files.checkpoints()),
        "end.safetensors",
        "journal.jsonl",
        "lock",
    ]
    assert len(files.checkpoints()) == 2
    assert files.said().startswith("2 checkpoints, 0 MB, are kept for --extend and --from in ")
    assert [p.name for p in sorted(tmp_path.iterdir())] == ["a.mp4", "a.render", "a.take.yaml"]


def test_of_large_checkpoints_two_are_kept_of_a_running_render_and_one_of_a_finished_film(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streaming.render_files.MOST_BYTES", 1)
    monkeypatch.setattr("streaming.render_files.BYTES_OF_FINISHED", 1)
    files = cut_off(tmp_path, 9, length=36)
    assert [p.stem for p in files.checkpoints()] == ["checkpoint-0000024", "checkpoint-0000030"]
    render(tmp_path, length=36, resume=True)
    assert [p.stem for p in files.checkpoints()] == ["checkpoint-0000036"]


def test_a_discarded_render_leaves_no_file(tmp_path: Path) -> None:
    render(tmp_path)
    RenderFiles(tmp_path / "a.mp4").discard()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("call", ["write", "fsync", "replace"])
def test_a_render_that_a_full_disk_stopped_can_be_resumed(
    call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: Callable[..., bytes]
) -> None:
    real = vars(os)[call]
    calls, room = 0, 10**6

    def counted(*given: Any, **more: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls > room:
            raise OSError(28, "No space left on device")
        return real(*given, **more)

    monkeypatch.setattr(os, call, counted)
    (tmp_path / "all").mkdir()
    render(tmp_path / "all")
    for happens in range(0, calls, 5):
        folder = tmp_path / str(happens)
        folder.mkdir()
        calls, room = 0, happens
        with pytest.raises(RenderError, match=r"^[^\n]*No space left on device[^\n]*$"):
            render(folder)
        room = 10**6
        assert render(folder, resume=True).differing == []
        assert (folder / "a.mp4").read_bytes() == whole()
