"""Test that every take is found: ended, running, or cut off in the middle of a line of its journal."""

from __future__ import annotations

from pathlib import Path

import pytest
from sessions import async_test, replayed, running, say, until

from streaming.take.archive import Archive
from streaming.take.take_file import load


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
