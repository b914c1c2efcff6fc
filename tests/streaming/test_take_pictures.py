"""Takes with pictures, films and recalled scenes: rendered again, resumed, and live, they give the same latents."""

from __future__ import annotations

from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import torch
from conftest import tiny_model
from films import film
from renders import MODEL, KilledError, killed_at
from safetensors.torch import load_file
from sessions import async_test, running, say, until, uploaded

from models.checkpoints.film_latents import FilmFacts, write_film_latents
from models.counted_noise import normal
from models.cue import CueError
from streaming.render_files import RenderError, end_latents
from streaming.render_job import Job
from streaming.rollout import Rollout
from streaming.speech.sound_file import SoundFile
from streaming.take.camera_record import CameraRecorder, RecordError
from streaming.take.footage import TakeFootage, file_hash
from streaming.take.journal import ChunkLine, examine
from streaming.take.take_file import CueLine, load, parse
from streaming.transport.commands import ControlError

SIZE = MODEL.entry.size
TEXT = """
length: 36
cues:
  - prompt: one
    start: a.png
  - at: 6
    prompt: two
    source: a.mp4
    strength: 0.6
    region: 0%,0%,50%,100%
  - at: 15
    source: none
    start: a.mp4
  - at: 27
    recall: 3
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with a picture and a film."""
    made = tmp_path / "take"
    made.mkdir()
    film(made / "a.mp4", frames=40, fps=16)
    cv2.imwrite(str(made / "a.png"), np.random.default_rng(0).integers(0, 256, (40, 48, 3), np.uint8))
    return made


def job(folder: Path, out: Path, text: str = TEXT) -> Job:
    return Job(parse(text, "t.yaml"), MODEL, out, footage=TakeFootage(MODEL.entry, SIZE, folder))


def hashes(path: Path) -> dict[int, str]:
    """Return the hash of every chunk of a take file that is rolled out anew."""
    take = load(path)
    rollout = Rollout(MODEL, take, footage=TakeFootage(MODEL.entry, SIZE, path.parent))
    return {b.first: b.hash for b in rollout.until(take.chunks(MODEL.entry.rollout.grid, MODEL.entry.fps))}


def test_a_killed_render_goes_on_to_the_same_film(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Checkpoints lie in the middle of what follows a source, of a prefix, and before a recall."""
    monkeypatch.setattr("streaming.render_job.CHUNKS_PER_FRAGMENT", 2)
    whole = job(folder, tmp_path / "whole.mp4")
    whole.run(go_on=False)
    for chunk in (4, 7, 9):
        with pytest.raises(KilledError):
            job(folder, tmp_path / "cut.mp4").run(go_on=True, progress=killed_at(chunk))
    report = job(folder, tmp_path / "cut.mp4").run(go_on=True)
    assert report.chunks < 6
    kept = [note for note in report.warnings if "the codec of tiny keeps it at" in note]
    assert [note.partition(":")[0] for note in kept] == ["a.png", "a.mp4"]
    assert "which is little: tiny can show its own world only" in kept[0]  # noise, and a codec of random weights
    assert (tmp_path / "cut.mp4").read_bytes() == (tmp_path / "whole.mp4").read_bytes()


def test_a_render_writes_a_take_that_gives_the_same_latents_from_copies_beside_its_film(
    folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out" / "b.mp4"
    out.parent.mkdir()
    made = job(folder, out)
    made.run(go_on=False)
    kept = load(out.with_name("b.take.yaml"))
    assert kept.cues[0].start == "b.files/a.png"
    assert set(kept.cues[0].hashes) == {"b.files/a.png"}
    (folder / "a.png").unlink()
    journal = (out.with_name("b.render") / "journal.jsonl").read_text()
    again = hashes(out.with_name("b.take.yaml"))
    assert len(again) == 12
    assert all(digest in journal for digest in again.values())


def test_a_file_that_has_changed_is_not_gone_on_with(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streaming.render_job.CHUNKS_PER_FRAGMENT", 2)
    with pytest.raises(KilledError):
        job(folder, tmp_path / "a.mp4").run(go_on=False, progress=killed_at(9))
    (folder / "b.mp4").write_bytes((folder / "a.mp4").read_bytes())
    renamed = job(folder, tmp_path / "a.mp4", TEXT.replace("a.mp4", "b.mp4"))
    assert renamed.run(go_on=True).chunks < 6  # by another name it is the same
    film(folder / "b.mp4", frames=30, fps=16)
    report = job(folder, tmp_path / "a.mp4", TEXT.replace("a.mp4", "b.mp4")).run(go_on=True)
    assert "the take differs from what was rendered from latent 6 on" in report.warnings
    cv2.imwrite(str(folder / "a.png"), np.zeros((40, 40, 3), np.uint8))
    with pytest.raises(RenderError, match="cannot go on, its take differs from latent 0 on"):
        job(folder, tmp_path / "a.mp4", TEXT.replace("a.mp4", "b.mp4")).run(go_on=True)
    kept = load(tmp_path / "a.take.yaml")
    footage = TakeFootage(MODEL.entry, SIZE, tmp_path)
    footage.hashed(kept.cues[0])
    assert footage.notes == ["take/a.png is not the file that the take was made with; frames differ"]


def loudness(path: Path, fps: int = 16) -> list[float]:
    """Return the root mean square of a film's sound in each second."""
    sound = np.concatenate([b.mean(0) for b in SoundFile(path).blocks(48_000)])
    return [float(np.sqrt(np.square(s).mean())) for s in np.split(sound, range(48_000, len(sound), 48_000))]


def test_the_sound_of_a_followed_film_is_carried_over_while_it_is_followed(folder: Path, tmp_path: Path) -> None:
    """The picture stays as it was rendered, so that the render can be made longer, and then has more sound."""
    film(folder / "b.mp4", frames=200, fps=16, sound=True)
    text = "length: {}\ncues:\n  - prompt: one\n  - at: 6\n    source: b.mp4\n  - at: 18\n    source: none\n"
    out = tmp_path / "o.mp4"
    plain = job(folder, tmp_path / "p.mp4", text.format(24).replace("b.mp4", "a.mp4"))
    notes = plain.run(go_on=False).warnings
    assert notes == ["a.mp4 ends after 2.4 s; its last picture is held from there on"]
    assert not (tmp_path / "p.render" / "silent.mp4").exists()
    for length, seconds in ((24, 5.8), (36, 8.8)):
        report = job(folder, out, text.format(length)).run(go_on=length > 24)
        assert report.warnings == []
        heard = loudness(out)
        assert abs(len(heard) - seconds) <= 1
        begin, end = 21 / 16, 69 / 16  # frames of latents 6 and 18
        quiet = [v for i, v in enumerate(heard[: int(seconds)]) if i + 1 <= begin - 0.1 or i >= end + 0.1]
        loud = [v for i, v in enumerate(heard) if begin <= i and i + 1 <= end]
        assert max(quiet) < 0.01
        assert min(loud) > 0.5
        with av.open(str(out)) as container:
            assert sum(1 for _ in container.decode(video=0)) == report.film_frames == 4 * length - 3
    assert report.chunks == 7  # from the newest checkpoint on


@async_test
async def test_a_live_take_with_a_start_a_source_a_recall_and_a_rewind_renders_to_the_same_latents(
    folder: Path,
) -> None:
    async with running(folder, model=tiny_model()) as (session, _):
        film_name, picture = (uploaded(session, folder / name) for name in ("a.mp4", "a.png"))
        await until(lambda: session.index >= 6)
        say(session, 1, type="source", source=film_name, strength=0.6, region="0%,0%,50%,100%")
        await until(lambda: session.index >= 15)
        say(session, 2, type="start", file=picture)
        await until(lambda: session.index >= 24)
        say(session, 3, type="recall", latent=3)
        await until(lambda: len(session.history.landed) == 4)
        await until(lambda: session.index >= 36)
        say(session, 4, type="rewind", latent=session.index - 6)
        await until(lambda: session.history.parent is not None)
        say(session, 5, type="source", source="none")
        await until(lambda: len(session.history.landed) == 5)
        at = session.index
        await until(lambda: session.index >= at + 6)
        history = session.history
    again = hashes(folder / f"{history.id}.yaml")
    assert again == history.hashes
    assert [cue.hashes for cue in history.landed if cue.start] == [{picture: history.landed[2].hashes[picture]}]


class Camera:
    """Give other pictures each time."""

    def __init__(self) -> None:
        self._random = np.random.default_rng(0)

    def frames(self, source: str, first: int, count: int) -> torch.Tensor:
        return torch.from_numpy(self._random.integers(0, 256, (count, 32, 32, 3), np.uint8))


def test_a_recorded_camera_gives_the_latents_of_the_take_that_followed_it(tmp_path: Path) -> None:
    text = "length: 18\ncues:\n  - prompt: one\n  - at: 6\n    source: {}\n    strength: 0.7\n"
    recorder = CameraRecorder(tmp_path / "a.camera")
    footage = TakeFootage(MODEL.entry, SIZE, camera=Camera())
    live = Rollout(MODEL, parse(text.format("camera"), "t.yaml"), footage=footage)
    made = {}
    for boundary in live.until(6):
        made[boundary.first] = boundary.hash
        following = live.state.source
        for read in following.read if following is not None else ():
            recorder.add(read.frame, read.given)
    recorder.close()
    (tmp_path / "t.yaml").write_text(text.format("a.camera"))
    assert hashes(tmp_path / "t.yaml") == made
    whole = (tmp_path / "a.camera").read_bytes()
    (tmp_path / "a.camera").write_bytes(whole[:-100])
    with pytest.raises(CueError, match=r"a\.camera: the record of the camera ends before its frame 36"):
        hashes(tmp_path / "t.yaml")
    (tmp_path / "a.camera").write_bytes(b"camera")
    with pytest.raises(RecordError, match=r"a\.camera: not a record of a camera"):
        hashes(tmp_path / "t.yaml")


@async_test
async def test_a_session_refuses_what_it_cannot_follow_and_goes_on(folder: Path) -> None:
    async with running(folder) as (session, _):
        await until(lambda: session.index >= 3)
        for command, why in (
            ({"type": "start", "file": "a.png"}, "no such file of this session"),
            ({"type": "source", "source": "none.mp4"}, "no such file"),
            ({"type": "source", "source": "camera"}, "no camera is connected"),
            ({"type": "source", "strength": 0.5}, "follows nothing"),
            ({"type": "recall", "latent": 3000}, "cannot be recalled"),
        ):
            with pytest.raises(ControlError, match=why):
                say(session, 1, **command)
        at = session.index
        await until(lambda: session.index > at + 3)


def kept_of(film: Path) -> torch.Tensor:
    """Return the latents of the end of a film that lie beside it."""
    latents = load_file(end_latents(film))["latents"]
    assert latents.shape[2] == 9  # all that the next chunk sees
    return latents


def test_a_take_that_starts_from_an_own_film_goes_on_as_that_film_is_extended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Noise depends on the chunk's number alone, which here counts on, so that an extended film is equal to the bit."""
    own = "length: {}\nseed: 5\ncues:\n  - prompt: one\n"
    job(tmp_path, tmp_path / "a.mp4", own.format(9)).run(go_on=False)
    longer = Rollout(MODEL, parse(own.format(18), "t.yaml"))
    extended = [longer.model.generator.draw(longer.state, longer.cues_at(longer.state.index)) for _ in range(6)]
    assert torch.equal(kept_of(tmp_path / "a.mp4"), torch.cat(extended[:3], 2))

    monkeypatch.setattr(
        "models.noise.normal", lambda key, counter, *rest: normal(key, (counter[0] + 3, *counter[1:]), *rest)
    )
    text = "length: 18\nseed: 5\ncues:\n  - prompt: one\n    start: a.mp4\n"
    made = job(tmp_path, tmp_path / "b.mp4", text)
    report = made.run(go_on=False)
    assert report.warnings == ["a.mp4: gone on from its own latents, which lie beside it"]
    assert torch.equal(kept_of(tmp_path / "b.mp4"), torch.cat(extended[3:], 2))


def test_a_film_that_is_not_its_own_any_more_is_read_as_pictures(tmp_path: Path) -> None:
    job(tmp_path, tmp_path / "a.mp4", "length: 9\ncues: [{prompt: one}]").run(go_on=False)
    text = "length: 12\ncues: [{prompt: one, start: a.mp4}]"
    out = tmp_path / "out" / "b.mp4"
    out.parent.mkdir()
    job(tmp_path, out, text).run(go_on=False)
    kept = load(out.with_name("b.take.yaml"))
    assert kept.cues[0].start == "b.files/a.mp4"
    lines = examine(out.with_name("b.render") / "journal.jsonl").lines
    made = {line.first: line.hash for line in lines if isinstance(line, ChunkLine)}
    assert hashes(out.with_name("b.take.yaml")) == made  # from the copies beside it

    footage = TakeFootage(MODEL.entry, SIZE, out.parent)
    footage.codec = MODEL.codec
    assert footage.start("b.files/a.mp4", "crop", None).kept == 9
    footage.hashed(kept.cues[0])
    assert footage.notes == []
    for change in ("codec", "film"):
        if change == "codec":
            footage.codec = "another"
        else:
            film(out.parent / "b.files" / "a.mp4", frames=40, fps=16)
            footage.codec = MODEL.codec
        assert footage.start("b.files/a.mp4", "crop", None).kept == 0
    footage.hashed(kept.cues[0])
    assert footage.notes == ["b.files/a.mp4 is not the file that the take was made with; frames differ"]


@pytest.mark.parametrize(
    "shape",
    [None, (1, 4, 9, 4), (1, 3, 9, 4, 4), (1, 4, 9, 4, 3), (1, 4, 9, 2, 4), (2, 4, 9, 4, 4), (1, 4, 0, 4, 4)],
)
def test_latents_beside_a_film_that_are_not_of_its_size_are_left_alone(
    shape: tuple[int, ...] | None, tmp_path: Path
) -> None:
    """Expect a film whose latents, by a damaged or foreign file that names it, are no latents of it, as any other."""
    job(tmp_path, tmp_path / "a.mp4", "length: 9\ncues: [{prompt: one}]").run(go_on=False)
    footage = TakeFootage(MODEL.entry, SIZE, tmp_path)
    footage.codec = MODEL.codec
    right = tuple(kept_of(tmp_path / "a.mp4").shape)
    facts = FilmFacts(file_hash(tmp_path / "a.mp4"), str(MODEL.codec), SIZE)
    write_film_latents(end_latents(tmp_path / "a.mp4"), torch.ones(shape or right), facts)
    assert right == (1, 4, 9, 4, 4)
    assert footage.start("a.mp4", "crop", None).kept == (0 if shape else 9)
    plain = file_hash(tmp_path / "a.mp4")
    assert (footage.hashed(CueLine(prompt="one", start="a.mp4")).hashes["a.mp4"] == plain) is bool(shape)
