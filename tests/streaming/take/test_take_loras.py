"""LoRAs in takes: written, landed, journaled, replayed and resumed, and kept apart between sessions."""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import tiny_avatar, tiny_model
from loras import lora_file, lora_tensors
from renders import KilledError, killed_at
from safetensors.torch import save
from sessions import async_test, replayed, say, until

from models.checkpoints.assemble import Model
from models.checkpoints.checkpoint_error import CheckpointError
from models.cue import LoraScale
from models.errors import UserError
from models.transformer import CausalWanTransformer
from streaming.live.device import DeviceThread
from streaming.live.session import Session
from streaming.live.waiting_cues import WaitingCue, merged
from streaming.render_files import RenderError
from streaming.render_job import Job
from streaming.rollout import record_of
from streaming.take.history import replay_journal
from streaming.take.journal import ChunkLine, examine
from streaming.take.take_file import CueLine, Take, TakeError, load, parse
from streaming.take.take_loras import OfferedLora, changed_loras, lora_record, offered, use_loras, with_offered
from streaming.transport.commands import ControlError, LoraCommand
from streaming.transport.commands import parse as command

TEXT = """length: 15
cues:
- prompt: one
  lora: a.safetensors:0.5
- at: 6
  lora: [a.safetensors, sub/b.safetensors:-0.25]
- at: 9
  lora: [a.safetensors:0]
  set: {on_lora: none}
"""


def model_and_files(folder: Path) -> Model:
    model = tiny_model()
    assert isinstance(model.generator.transformer, CausalWanTransformer)
    (folder / "sub").mkdir(exist_ok=True)
    for seed, name in enumerate(("a.safetensors", "sub/b.safetensors")):
        lora_file(folder / name, model.generator.transformer, seed)
    return model


def test_a_take_names_loras_with_their_scales_and_is_written_as_it_was_read() -> None:
    take = parse(TEXT, "t.yaml")
    assert take.cues[0].lora == ["a.safetensors:0.5"]
    assert parse(take.dumped(), "t.yaml") == take


@pytest.mark.parametrize(
    ("lora", "says"),
    [
        ("x:3", "x: the scale of a LoRA is between -2 and 2, not 3"),
        ("x:nan", "'nan' is no scale of a LoRA; write FILE:SCALE, as in x:0.8"),
        ("'x:'", "'' is no scale"),
        ("[x, 'x:1']", "x has two scales"),
        ("' :1'", "named by its file"),
        ('"a\\nb"', r"'a\\nb' names no LoRA"),
        ("{x: 1}", "needs a list, not a mapping"),
        ("[1]", "needs a text, not 1"),
        ("[]", "a cue needs a prompt"),
    ],
)
def test_a_wrong_scale_is_refused_with_its_line(lora: str, says: str) -> None:
    with pytest.raises(TakeError, match=rf"^t.yaml:\d: .*{says}"):
        parse(f"cues:\n- prompt: one\n- at: 3\n  lora: {lora}\n", "t.yaml")


def job(take: Take, model: Model, folder: Path) -> Job:
    use_loras(model, take, folder)
    return Job(take, model, folder / "a.mp4")


def hashes(folder: Path) -> dict[int, str]:
    lines = examine(folder / "a.render" / "journal.jsonl").lines
    return {line.first: line.hash for line in lines if isinstance(line, ChunkLine)}


def test_a_render_with_loras_goes_on_after_a_kill_and_refuses_other_files(tmp_path: Path) -> None:
    model, take = model_and_files(tmp_path), parse(TEXT.replace("15", "30"), "t.yaml")
    use_loras(model, take, tmp_path)
    expected = replayed(take, model)
    plain = replayed(take.model_copy(update={"cues": [CueLine(prompt="one")]}))
    assert all(plain[first] != digest for first, digest in expected.items())
    with pytest.raises(KilledError):
        job(take, model, tmp_path).run(go_on=False, progress=killed_at(7))
    fresh = tiny_model()
    resumed = job(take, fresh, tmp_path)
    assert resumed.run(go_on=True).differing == []
    assert hashes(tmp_path) == expected
    written = load(tmp_path / "a.take.yaml")
    assert written.record is not None
    assert {k for k in written.record if k.startswith("lora ")} == {"lora a.safetensors", "lora sub/b.safetensors"}

    lora_file(tmp_path / "a.safetensors", fresh.generator.transformer, 7)  # type: ignore[arg-type]
    with pytest.raises(RenderError, match=r"cannot go on, it was made with another file a\.safetensors; nothing was"):
        job(take, tiny_model(), tmp_path).run(go_on=True)
    (tmp_path / "a.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"a.safetensors: the LoRA cannot be read \(no such file\)"):
        job(take, tiny_model(), tmp_path)
    assert hashes(tmp_path) == expected


# -- live ---------------------------------------------------------------------------------------------------------


def session_with(model: Model, folder: Path, device: DeviceThread, *, scale: float = 0.5) -> Session:
    """Return a session that offers both LoRAs and begins with the first."""
    given = [OfferedLora("a", folder / "a.safetensors", scale), OfferedLora("b", folder / "sub/b.safetensors", 0)]
    take = with_offered(Take(model="tiny", seed=5, length=1, cues=[CueLine(prompt="one")]), given)
    for lora in given:
        used = take.model_copy(update={"cues": [CueLine(prompt="x", lora=[lora.name])]})
        use_loras(model, used, folder)
    session = Session(model, take, device, folder=folder)
    session.start()
    return session


@async_test
async def test_a_live_take_with_other_scales_and_a_rewind_replays_to_the_same_latents(tmp_path: Path) -> None:
    model, device = model_and_files(tmp_path), DeviceThread()
    session, other = session_with(model, tmp_path, device), session_with(model, tmp_path, device, scale=-1.5)
    assert session.hello(controls=True).loras == ["a", "b"]
    try:
        await until(lambda: min(session.index, other.index) >= 6)
        say(session, 1, type="lora", name="b", scale=1.25)
        say(other, 1, type="lora", name="a", scale=0)
        await until(lambda: min(session.index, other.index) >= 12 and len(session.history.landed) > 1)
        old = session.history.id
        say(session, 2, type="rewind", latent=session.history.landed[-1].landed)
        await until(lambda: session.history.id != old)
        say(session, 3, type="lora", name="a", scale=2)
        say(session, 4, type="set", name="on_lora", value="none")
        say(session, 5, type="lora", name="b", scale=0.3)
        await until(lambda: session.index >= 21)
        with pytest.raises(ControlError, match="no LoRA is called 'c'; there are a, b"):
            say(session, 6, type="lora", name="c", scale=1)
    finally:
        await session.close()
        await other.close()
        device.close()
    for ended in (session, other):
        take = ended.take()
        assert [cue for cue in take.cues if cue.lora]
        fresh = tiny_model()
        use_loras(fresh, take, Path("/nowhere"))  # the take says where its files lie
        assert replayed(take, fresh) == ended.history.hashes
        told = replay_journal(examine(tmp_path / f"{ended.history.id}.jsonl").lines)
        assert told.take() == load(tmp_path / f"{ended.history.id}.yaml") == take
    assert set(other.take().loras or {}) == {"a"}  # the other one was never used
    assert {k for k in other.take().record or {} if k.startswith("lora")} == {"lora a"}


@async_test
async def test_a_take_with_loras_is_continued_where_it_ended(tmp_path: Path) -> None:
    model, device = model_and_files(tmp_path), DeviceThread()
    first = session_with(model, tmp_path, device)
    await until(lambda: first.index >= 6)
    say(first, 1, type="lora", name="b", scale=1)
    await until(lambda: any(cue.lora == ["b:1"] for cue in first.history.landed))
    await first.close()
    past = replay_journal(examine(tmp_path / f"{first.history.id}.jsonl").lines).history
    again = Session(model, past.take, device, folder=tmp_path, past=past)
    events: list[Any] = []
    again.listen(events.append)
    again.start()
    try:
        await until(lambda: again.index >= past.length + 3)
        say(again, 2, type="lora", name="b", scale=-1)
        await until(lambda: again.index >= past.length + 9)
    finally:
        await again.close()
        device.close()
    assert not [e for e in events if e.type == "warning"]
    assert {k: again.history.hashes[k] for k in past.hashes} == past.hashes
    assert replayed(again.take(), model) == again.history.hashes


@pytest.mark.parametrize(
    ("given", "kept"), [("0.00002", "0.00002"), ("1", "1"), ("-.5", "-0.5"), ("0.12345678", "0.12345678")]
)
def test_a_scale_that_is_offered_reaches_a_take_as_it_was_given(given: str, kept: str) -> None:
    take = with_offered(parse(TEXT, "t.yaml"), [OfferedLora.parse(f"a.safetensors:{given}")])
    (line,) = take.cues[0].lora
    assert line == f"a.safetensors:{kept}"
    assert LoraScale.parse(line).scale == float(given)


def test_the_newest_scale_of_a_lora_lands() -> None:
    lines = [CueLine(lora=["a:1"]), CueLine(prompt="x"), CueLine(lora=["b:1"]), CueLine(lora=["a:0.5"])]
    assert merged([WaitingCue(line, None, 0) for line in lines]) == lines[1:]
    assert LoraCommand(id=1, type="lora", name="a", scale=1e-5).cue_line().lora == ["a:0"]
    with pytest.raises(ControlError, match=r"scale: Input should be less than or equal to 2"):
        command('{"id": 1, "type": "lora", "name": "a", "scale": 2.5}')


# -- files that are no LoRA of the model --------------------------------------------------------------------------


def test_a_model_that_takes_no_lora_says_so(tmp_path: Path) -> None:
    model, take = model_and_files(tmp_path), parse(TEXT, "t.yaml")
    by_engine = model.generator.run_by(model.generator.transformer)
    engine = Model(model.entry, by_engine, "x", model.read_prompt, {"engine": "onnx"})
    with pytest.raises(UserError, match="onnx has weights of its own, and takes no LoRA; use --engine torch"):
        use_loras(engine, take, tmp_path)
    with pytest.raises(UserError, match="is an avatar, which takes no LoRA"):
        use_loras(tiny_avatar(), take, tmp_path)
    (tmp_path / "sub" / "a.safetensors").write_bytes((tmp_path / "a.safetensors").read_bytes())
    with pytest.raises(UserError, match=r"two LoRAs are called a\.safetensors"):
        offered([str(tmp_path / "a.safetensors"), f"{tmp_path / 'sub' / 'a.safetensors'}:0.5"])
    use_loras(model, take, tmp_path)
    now = lora_record(model, ["a.safetensors"])
    assert changed_loras({"lora a.safetensors": "other", "torch": "1"}, now) == ["a.safetensors"]
    assert record_of(model, model.generator.device, ["a.safetensors"]).items() >= now.items()


def test_a_path_that_is_no_file_of_a_lora_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    with (tmp_path / "huge").open("wb") as file:
        file.truncate(1 << 40)
    whys = {
        "pipe": "is no ordinary file",
        "/dev/zero": "is no ordinary file",
        "none": "no such file",
        "x" * 900: "File name too long",
        "folder": "holds no .safetensors file",
        "huge": "1,099,511,627,776 bytes are too many for a LoRA of this model",
    }
    for name, why in whys.items():
        with pytest.raises(CheckpointError, match=why):
            use_loras(tiny_model(), parse(f"cues: [{{prompt: x, lora: {name}}}]", "t.yaml"), tmp_path)


def hostile(rng: random.Random, good: bytes, transformer: CausalWanTransformer) -> bytes:
    """Return a file that is damaged, cut, or full of wrong tensors."""
    kind = rng.randrange(6)
    data = bytearray(good)
    if kind == 0:
        return bytes(data[: rng.randrange(len(data))])
    if kind == 1:
        for _ in range(rng.randrange(1, 30)):
            data[rng.randrange(min(len(data), 4000))] = rng.randrange(256)
        return bytes(data)
    if kind == 2:
        return rng.randbytes(rng.randrange(300))
    tensors = lora_tensors(transformer)
    key = rng.choice(list(tensors))
    if kind == 3:  # half a pair, or a strange key
        tensors.pop(key)
        tensors |= rng.choice([{}, {"x" * rng.randrange(1, 400): torch.ones(1)}, {key + ".weight": torch.ones(2, 2)}])
    elif kind == 4:
        tensors[key] = torch.full_like(tensors[key], rng.choice([float("nan"), float("inf"), 1e30, 3e38]))
    else:
        tensors[key] = torch.zeros([rng.randrange(0, 70) for _ in range(rng.randrange(0, 4))])
    return save(tensors)


@pytest.mark.parametrize("seed", range(3))
def test_hostile_files_are_refused_in_one_line_and_leave_the_weights_alone(tmp_path: Path, seed: int) -> None:
    model, rng, file = model_and_files(tmp_path), random.Random(seed), tmp_path / "h.safetensors"
    transformer, take = model.generator.transformer, parse("cues: [{prompt: x, lora: h.safetensors}]", "t.yaml")
    assert isinstance(transformer, CausalWanTransformer)
    good, before = (tmp_path / "a.safetensors").read_bytes(), {n: p.clone() for n, p in transformer.named_parameters()}
    refused = 0
    for _ in range(100):
        file.write_bytes(hostile(rng, good, transformer))
        model = Model(model.entry, tiny_model().generator, "x", model.read_prompt)
        try:
            use_loras(model, take, tmp_path)
        except UserError as e:
            refused += 1
            assert len(str(e).splitlines()) == 1  # noqa: PT017
            assert len(str(e)) < 1200  # noqa: PT017
            assert model.generator.loras is not None and model.generator.loras.names == ()  # noqa: PT018
        else:  # such as a bit that made another sound number
            assert all(torch.isfinite(p).all() for p in transformer.parameters())
    assert refused > 60
    assert all(torch.equal(p, before[n]) for n, p in transformer.named_parameters())
