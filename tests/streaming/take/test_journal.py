"""Test that a kill loses at most the line that was being written, and that journals of version 1 are read."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from conftest import tiny_model
from hypothesis import given, settings
from hypothesis import strategies as st
from sessions import replayed

from models.noise import Noise
from streaming.render_files import RenderError, RenderFiles
from streaming.render_job import Job
from streaming.render_report import Report
from streaming.render_resume import PastRender
from streaming.take import journal
from streaming.take.history import replay_journal
from streaming.take.journal import ChunkLine, EndLine, HeadLine, IntentLine, Journal, JournalLine, landed_cue
from streaming.take.take_file import CueLine, Take, TakeError, load, parse

OLD = Path(__file__).parent / "journals"
HEAD = HeadLine(type="take", version=2, id="0123456789ab", take=Take(model="tiny", cues=[CueLine(prompt="one é")]))


def chunk(first: int) -> ChunkLine:
    return ChunkLine(type="chunk", first=first, latents=3, hash=f"{first:016x}")


def test_lines_are_read_in_the_order_in_which_they_were_written(tmp_path: Path) -> None:
    lines: list[JournalLine] = [HEAD, landed_cue(CueLine(prompt="one é\n", landed=0)), chunk(0), EndLine(type="end")]
    log = Journal.replacing(tmp_path / "j.jsonl", lines[:1])
    for line in lines[1:]:
        log.write(line)
    log.close()
    assert journal.read(tmp_path / "j.jsonl") == lines
    assert journal.read(tmp_path / "none.jsonl") == []


def test_a_line_can_be_read_as_soon_as_it_is_written(tmp_path: Path) -> None:
    log = Journal.replacing(tmp_path / "j.jsonl", [HEAD])
    log.write(chunk(0))
    assert journal.read(tmp_path / "j.jsonl") == [HEAD, chunk(0)]
    log.close()


@settings(deadline=None)  # files are written, on a machine that may be busy
@given(chunks=st.integers(0, 6), torn=st.integers(1, 400))
def test_a_torn_journal_keeps_its_whole_lines(tmp_path_factory: object, chunks: int, torn: int) -> None:
    path = tmp_path_factory.mktemp("j") / "j.jsonl"  # type: ignore[attr-defined]
    lines: list[JournalLine] = [HEAD, *(chunk(3 * i) for i in range(chunks))]
    Journal.replacing(path, lines).close()
    whole = path.read_bytes()
    path.write_bytes(whole[: max(0, len(whole) - torn)])
    got = journal.read(path)
    assert got == lines[: len(got)]
    assert len(got) >= whole[: max(0, len(whole) - torn)].count(b"\n")


def test_what_follows_a_torn_or_foreign_line_is_not_trusted(tmp_path: Path) -> None:
    Journal.replacing(tmp_path / "j.jsonl", [HEAD, chunk(0)]).close()
    good = (tmp_path / "j.jsonl").read_text()
    for bad in ('{"type":"chunk","fir', "[4]", '{"type":"dance"}', HEAD.written()):
        (tmp_path / "j.jsonl").write_text(good + bad + "\n" + chunk(3).written() + "\n")
        assert journal.read(tmp_path / "j.jsonl") == [HEAD, chunk(0)]


def test_a_journal_of_an_unknown_version_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "j.jsonl").write_text(HEAD.written().replace('"version":2', '"version":3') + "\n")
    assert journal.read(tmp_path / "j.jsonl") == []


@given(st.binary(max_size=300))
def test_a_file_of_any_bytes_reads_as_an_empty_journal(tmp_path_factory: object, data: bytes) -> None:
    path = tmp_path_factory.mktemp("j") / "j.jsonl"  # type: ignore[attr-defined]
    path.write_bytes(data)
    assert journal.read(path) == []


def test_a_session_journal_of_version_1_gives_its_take() -> None:
    told = replay_journal(journal.read(OLD / "session_v1.jsonl"))
    assert told.ended
    assert (told.history.length, told.history.take.seed) == (15, 5)
    assert [(e.prompt, e.blend, e.seed, e.landed) for e in told.history.landed] == [
        ("one", 1, None, 0),
        ("two", 3, None, 6),
        (None, 1, 9, 6),
    ]
    # what its machine drew has other bits on another kind of processor: the same take is written anew and drawn here
    cues = [CueLine(prompt="one"), CueLine(at=6, prompt="two", blend=3), CueLine(at=6, seed=9)]
    same = Take.model_validate({"model": told.history.take.model, "seed": 5, "length": 15, "cues": cues})
    drawn = replayed(told.take())
    assert drawn == replayed(same.with_noise(Noise.TORCH))
    assert drawn != replayed(same.with_noise(Noise.PHILOX))
    assert list(drawn) == list(told.history.hashes)
    assert told.record["codec"] == "random"


def film(tmp_path: Path, **changes: object) -> Job:
    """Return the render that wrote the journal of version 1, with its files, or one whose take differs in `changes`."""
    cues = [
        CueLine(prompt="one"),
        CueLine(at=6, prompt="two", blend=3, cut=True),
        CueLine(at=9, seed=9),
        CueLine(at=12, set={"anchor": "fixed"}),
    ]
    take = Take.model_validate({"model": "tiny", "seed": 5, "length": 18, "cues": cues} | changes)
    job = Job(take, tiny_model(), tmp_path / "film.mp4")
    job.files.folder.mkdir(exist_ok=True)
    shutil.copy(OLD / "render_v1.jsonl", job.files.journal)
    other = Job(take.with_noise(Noise.TORCH), tiny_model(), tmp_path / "other.mp4")
    other.run(go_on=False)  # its film and checkpoint replace the original ones
    shutil.copy(RenderFiles(tmp_path / "other.mp4").checkpoint(15), job.files.checkpoint(15))
    shutil.copy(tmp_path / "other.mp4", job.files.partial)
    return job


def test_a_render_goes_on_from_a_checkpoint_of_version_1(tmp_path: Path) -> None:
    job = film(tmp_path)
    past = PastRender(job.files)
    assert len(past.chunks) == 6
    found = job.place(past, Report())
    assert found is not None
    assert (found.line.latent, found.line.offset, found.line.fragments, found.line.frames) == (15, 5556, 1, 57)
    assert found.snapshot.index == 15
    assert job.take.noise == "torch"  # as what is there, though new takes are drawn from another generator


def test_a_take_keeps_the_generator_of_its_noise_and_new_ones_name_theirs(tmp_path: Path) -> None:
    """A take with a record that names none was drawn by a release that had one alone."""
    cues = [CueLine(prompt="one")]
    new, old = Take(cues=cues), Take(cues=cues, record={"model": "pocket"})
    assert (new.drawn_from, old.drawn_from) == (Noise.PHILOX, Noise.TORCH)
    assert [parse(take.with_noise().dumped(), "t.yaml").noise for take in (new, old)] == ["philox", "torch"]
    with pytest.raises(TakeError, match="noise"):
        parse("noise: mine\ncues:\n  - prompt: one", "t.yaml")


def test_a_render_does_not_go_on_with_noise_of_another_generator_than_its_take_names(tmp_path: Path) -> None:
    job = film(tmp_path, noise="philox")
    with pytest.raises(RenderError, match="noise of another generator"):
        job.place(PastRender(job.files), Report())


@pytest.mark.parametrize("changes", [{"seed": 6}, {"cues": [CueLine(prompt="another")]}])
def test_a_render_of_another_take_does_not_use_a_checkpoint_of_version_1(
    tmp_path: Path, changes: dict[str, object]
) -> None:
    job = film(tmp_path, **changes)
    with pytest.raises(RenderError, match="nothing was touched; --restart begins anew"):
        job.place(PastRender(job.files), Report())


def test_live_and_rendered_takes_have_one_format(tmp_path: Path) -> None:
    job = Job(Take(model="tiny", seed=5, length=6, cues=[CueLine(prompt="one")]), tiny_model(), tmp_path / "film.mp4")
    job.run(go_on=False)
    job.end()
    head, intent, *lines = journal.read(job.files.journal)
    assert isinstance(head, HeadLine)
    assert head.version == 2
    assert intent == IntentLine(type="intent", own=6, length=6)
    assert load(job.files.take).noise == "philox"
    assert [line.type for line in lines] == ["cue", "chunk", "chunk", "end"]
    assert lines[0] == landed_cue(CueLine(prompt="one", landed=0))
