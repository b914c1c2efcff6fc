"""A live take with all that a person can bring in, and rewinds, renders to the same latents from what it kept."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from conftest import tiny_model, with_rollout
from loras import lora_file
from sessions import async_test, say, until, uploaded

from models.cache_shape import StepKeys
from models.checkpoints.assemble import Model
from models.cue import OnSwitch
from models.transformer import CausalWanTransformer
from streaming.live.device import DeviceThread
from streaming.live.session import Session
from streaming.rollout import Rollout
from streaming.take.footage import TakeFootage
from streaming.take.history import TakeHistory, replay_journal
from streaming.take.journal import read
from streaming.take.take_file import CueLine, Take, load
from streaming.take.take_loras import OfferedLora, use_lora, use_loras, with_offered


def session_on(model: Model, folder: Path, device: DeviceThread) -> Session:
    """Return a running session that offers a LoRA at scale 0."""
    assert isinstance(model.generator.transformer, CausalWanTransformer)
    lora = OfferedLora("style", lora_file(folder / "style.safetensors", model.generator.transformer), 0)
    use_lora(model, lora.name, lora.path)
    take = with_offered(Take(model="tiny", seed=5, length=1, cues=[CueLine(prompt="one")]), [lora])
    session = Session(model, take, device, folder=folder)
    session.start()
    return session


def picture_of(session: Session, folder: Path) -> str:
    """Upload a picture of noise; return the name by which commands name it."""
    path = folder / "a.png"
    cv2.imwrite(str(path), np.random.default_rng(0).integers(0, 256, (40, 48, 3), np.uint8))
    return uploaded(session, path)


async def landed(session: Session, cues: int, latents: int = 3) -> None:
    """Return once so many cues have landed and the take has gone on for a while."""
    await until(lambda: len(session.history.landed) >= cues)
    at = session.index
    await until(lambda: session.index >= at + latents)


async def went_back(session: Session, number: int, latents: int) -> None:
    """Rewind by so many latents or less; return once the take has branched."""
    before = session.history.id
    say(session, number, type="rewind", latent=session.index - latents)
    await until(lambda: session.history.id != before)


def rendered(folder: Path, history: TakeHistory, fresh: Model) -> dict[int, str]:
    """Return first latent → hash of every chunk of the take file, rolled out without session and camera.

    The journal of the take must tell the same take and the same hashes.
    """
    take = load(folder / f"{history.id}.yaml")
    told = replay_journal(read(folder / f"{history.id}.jsonl"))
    assert told.take().dumped() == take.dumped()
    assert told.history.hashes == history.hashes
    use_loras(fresh, take, folder)
    footage = TakeFootage(fresh.entry, fresh.entry.size, folder)
    rollout = Rollout(fresh, take, footage=footage)
    return {b.first: b.hash for b in rollout.until(take.chunks(fresh.entry.rollout.grid, fresh.entry.fps))}


def put(session: Session, *values: int) -> None:
    """Connect a camera that sends these greys."""
    feed = session.camera.connect()
    for value in values:
        feed.put(av.VideoFrame.from_ndarray(np.full((48, 64, 3), value, np.uint8), format="rgb24"))


def clean() -> Model:
    """Return a model that commits chunks by a clean pass."""
    return tiny_model()


def batched() -> Model:
    """Return a model that draws as a stream batch, which can recall nothing."""
    return with_rollout(
        tiny_model(), chunk=1, first_chunk=2, window=6, sink=3, on_switch=OnSwitch.NONE, step_keys=StepKeys(batch=True)
    )


@pytest.mark.parametrize(("make", "recalls"), [(clean, True), (batched, False)])
def test_a_start_a_camera_a_recall_loras_and_rewinds_render_to_the_same_latents(
    make: Callable[[], Model], recalls: bool, tmp_path: Path
) -> None:
    @async_test
    async def run() -> None:
        device = DeviceThread()
        session = session_on(make(), tmp_path, device)
        try:
            await landed(session, 1)
            say(session, 1, type="start", file=picture_of(session, tmp_path))
            await landed(session, 2)
            put(session, 20, 90, 160)
            say(session, 2, type="source", source="camera", strength=0.6, region="0%,0%,50%,100%")
            await landed(session, 3, 6)
            say(session, 3, type="lora", name="style", scale=0.7)
            await landed(session, 4)
            first = session.history
            await went_back(session, 4, 6)
            put(session, 250, 0)
            say(session, 5, type="lora", name="style", scale=1.3)
            await landed(session, 4)
            cues = len(session.history.landed)
            say(session, 6, type="source", source="none")
            await landed(session, cues + 1)
            if recalls:
                say(session, 7, type="recall", latent=1)
                await landed(session, cues + 2)
            second = session.history
            await went_back(session, 8, 2)
            say(session, 9, type="lora", name="style", scale=-0.5)
            await until(lambda: any(cue.lora == ["style:-0.5"] for cue in session.history.landed))
            await landed(session, 1, 6)
            last = session.history
        finally:
            await session.close()
            device.close()
        assert last.parent is not None
        assert any(cue.start for cue in last.landed)
        assert any((cue.source or "").endswith(".camera") for cue in last.landed)
        assert any(cue.recall is not None for cue in last.landed) is recalls
        assert sum(bool(cue.lora) for cue in last.landed) >= 2
        for history in (first, second, last):
            assert rendered(tmp_path, history, make()) == history.hashes

    run()
