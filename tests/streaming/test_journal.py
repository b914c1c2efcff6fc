"""A kill loses at most the line that was being written."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from streaming.take import journal
from streaming.take.journal import Journal


def test_lines_come_back_in_order(tmp_path: Path) -> None:
    log = Journal(tmp_path / "j.jsonl", keep=[{"a": 1}])
    log.write({"b": "é\n"})
    log.close()
    assert journal.read(tmp_path / "j.jsonl") == [{"a": 1}, {"b": "é\n"}]
    assert journal.read(tmp_path / "none.jsonl") == []


def test_a_line_is_on_its_way_to_the_disk_when_write_returns(tmp_path: Path) -> None:
    log = Journal(tmp_path / "j.jsonl")
    log.write({"a": 1})
    assert journal.read(tmp_path / "j.jsonl") == [{"a": 1}]
    log.close()


@given(lines=st.lists(st.dictionaries(st.text(), st.integers()), max_size=6), torn=st.integers(1, 200))
def test_whatever_is_torn_off_the_whole_lines_before_remain(
    tmp_path_factory: object, lines: list[dict[str, int]], torn: int
) -> None:
    path = tmp_path_factory.mktemp("j") / "j.jsonl"  # type: ignore[attr-defined]
    Journal(path, keep=lines).close()
    whole = path.read_bytes()
    path.write_bytes(whole[: max(0, len(whole) - torn)])
    got = journal.read(path)
    assert got == lines[: len(got)]
    assert len(got) >= whole[: max(0, len(whole) - torn)].count(b"\n")


def test_what_follows_a_torn_line_is_not_trusted(tmp_path: Path) -> None:
    (tmp_path / "j.jsonl").write_text('{"a": 1}\n{"b": \n{"c": 3}\n[4]\n')
    assert journal.read(tmp_path / "j.jsonl") == [{"a": 1}]


@given(st.binary(max_size=300))
def test_anything_may_lie_in_the_file(tmp_path_factory: object, data: bytes) -> None:
    path = tmp_path_factory.mktemp("j") / "j.jsonl"  # type: ignore[attr-defined]
    path.write_bytes(data)
    assert all(isinstance(line, dict) for line in journal.read(path))
