"""A render is the same however often it is interrupted."""

from __future__ import annotations

import shutil
from pathlib import Path

import av
import numpy as np
import pytest
from conftest import tiny_model

from streaming.render_job import Job, RenderError
from streaming.take import journal
from streaming.take.take_file import parse

TAKE = (
    "length: {length}\ncues:\n  - prompt: one\n"
    "  - at: 30\n    prompt: two\n  - at: 48\n    cut: true\n    prompt: three\n"
)


def job(out: Path, length: int = 84, text: str = TAKE, knot: int = 0) -> Job:
    return Job(parse(text.format(length=length), "t.yaml"), tiny_model(knot=knot), out)


def hashes(out: Path) -> list[str]:
    """Return the hash of the latents of every chunk, from the journal."""
    return [x.hash for x in journal.read(out.with_suffix(".render") / "journal.jsonl") if x.type == "chunk"]


def pictures_of(film: Path) -> np.ndarray:
    """Decode a film: [n, H, W, 3] int."""
    with av.open(str(film)) as container:
        return np.stack([f.to_ndarray(format="rgb24") for f in container.decode(video=0)]).astype(int)


class Killed(BaseException):
    pass


def killed_at(chunk: int):  # type: ignore[no-untyped-def]
    def progress(boundary, report):  # type: ignore[no-untyped-def]
        if boundary.first == 3 * chunk:
            raise Killed

    return progress


def test_twice_gives_the_same_file(tmp_path: Path) -> None:
    first, second = tmp_path / "a.mp4", tmp_path / "b.mp4"
    job(first).run(go_on=False)
    job(second).run(go_on=False)
    assert hashes(first) == hashes(second)
    assert first.read_bytes() == second.read_bytes()
    assert not first.with_name("a.partial.mp4").exists()


def test_interrupted_and_resumed_gives_the_same_file_and_journal(tmp_path: Path) -> None:
    whole, out = tmp_path / "whole.mp4", tmp_path / "out.mp4"
    job(whole).run(go_on=False)
    for number, chunk in enumerate((2, 8, 6, 15, 26)):
        with pytest.raises(Killed):
            job(out).run(go_on=number > 0, progress=killed_at(chunk))
        assert not out.exists()
    report = job(out).run(go_on=True)
    assert report.regenerated > 0
    assert report.differing == []
    assert out.read_bytes() == whole.read_bytes()
    lines = [
        [line.model_dump(exclude={"seconds"}) for line in journal.read(p.with_suffix(".render") / "journal.jsonl")]
        for p in (whole, out)
    ]
    assert lines[0] == lines[1]


def test_a_render_is_not_resumed_with_another_codec(tmp_path: Path) -> None:
    out = tmp_path / "out.mp4"
    with pytest.raises(Killed):
        job(out).run(go_on=False, progress=killed_at(15))
    other = job(out)
    other.record["codec"] = "another"
    before = contents(tmp_path)
    with pytest.raises(RenderError, match=r"another codec.*nothing was touched; --restart begins anew"):
        other.run(go_on=True)
    assert contents(tmp_path) == before
    assert other.run(go_on=True, restart=True).chunks == 28  # drawn from the start


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_extended_equals_rendered_at_once(tmp_path: Path) -> None:
    whole, out = tmp_path / "whole.mp4", tmp_path / "out.mp4"
    job(whole).run(go_on=False)
    job(out, length=66).run(go_on=False)
    report = job(out).run(go_on=True)
    assert report.chunks < 28
    assert out.read_bytes() == whole.read_bytes()


def test_a_changed_script_is_rendered_anew_from_before_the_change(tmp_path: Path) -> None:
    whole, out = tmp_path / "whole.mp4", tmp_path / "out.mp4"
    changed = TAKE.replace("three", "four")
    job(whole, text=changed).run(go_on=False)
    job(out).run(go_on=False)
    report = job(out, text=changed).run(go_on=True)
    assert report.chunks == 28 - 15  # the checkpoint at latent 45 is the newest that both share
    assert out.read_bytes() == whole.read_bytes()


def test_every_frame_is_there_once_and_in_time(tmp_path: Path) -> None:
    out = tmp_path / "a.mp4"
    job(out).run(go_on=False)
    with av.open(str(out)) as container:
        times = [frame.time for frame in container.decode(video=0)]
    assert len(times) == 84 * 4 - 3
    assert times == pytest.approx([i / 16 for i in range(len(times))], abs=1e-4)


def test_a_full_disk_is_one_line_and_leaves_no_finished_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("streaming.media.video_writer.VideoWriter.end_fragment", full)
    with pytest.raises(RenderError, match=r"No space left on device.*--resume"):
        job(tmp_path / "a.mp4").run(go_on=False)
    assert not (tmp_path / "a.mp4").exists()


def frames_of(out: Path) -> int:
    with av.open(str(out)) as container:
        return sum(1 for _ in container.decode(video=0))


def test_the_last_knot_is_shown_and_a_longer_take_replaces_it(tmp_path: Path) -> None:
    """Knot Forcing's films have a latent more than their chunks; going on gives the film that was never ended."""
    ended, whole = tmp_path / "ended.mp4", tmp_path / "whole.mp4"
    job(ended, length=45, knot=1).run(go_on=False)
    assert frames_of(ended) == 4 * 45 - 3 + 4
    job(whole, length=84, knot=1).run(go_on=False)
    report = job(ended, length=84, knot=1).run(go_on=True)
    assert report.differing == []
    assert frames_of(ended) == 4 * 84 - 3 + 4
    assert ended.read_bytes() == whole.read_bytes()


EARLIER = Path(__file__).parent / "earlier_render"
SWITCHES = (
    "length: 48\nseed: 3\ncues:\n  - prompt: one\n"
    "  - at: 12\n    set: {{sink_on_switch: reanchor, anchor: fixed}}\n    prompt: two\n"
    "  - at: 24\n    blend: 3\n    prompt: three\n"
)


def test_a_render_begun_by_an_earlier_release_goes_on(tmp_path: Path) -> None:
    """Its checkpoint and its journal have formats of their own (tests/app/earlier_render)."""
    out, whole = tmp_path / "old.mp4", tmp_path / "whole.mp4"
    shutil.copyfile(EARLIER / "film_so_far", tmp_path / "old.partial.mp4")
    (tmp_path / "old.render").mkdir()
    for name in ("journal.jsonl", "checkpoint-0000030.safetensors"):
        shutil.copyfile(EARLIER / name, tmp_path / "old.render" / name)
    report = job(out, text=SWITCHES).run(go_on=True)
    assert report.chunks == 6  # of 16
    assert report.regenerated == 2
    assert report.differing == [30, 33]  # that release rounded at other places, which is told
    job(whole, text=f"noise: torch\n{SWITCHES}").run(go_on=False)  # what goes on keeps the noise that it began with
    # its first frames were drawn on another processor; with another noise the films differ by 0.5 in the mean
    assert np.abs(pictures_of(out) - pictures_of(whole)).mean() < 0.1
