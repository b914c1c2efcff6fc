"""Rollouts equal the public reference implementations: 1e-4 in float32 or the port is wrong.

The vectors (tests/golden) were computed by LongLive 1 and 2, Causal-Forcing, Self-Forcing and StreamDiffusionV2 with
random weights.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from models import sampler
from models.cache_shape import AnchorPolicy, ShotRule, StepKeys
from models.checkpoints.weight_files import as_diffusers
from models.codecs.tiny import TinyCodec, TinyCodecConfig
from models.cue import Cue, Cut, Follow, OnSwitch, Prompt
from models.generator import Generator
from models.rollout_config import RolloutConfig
from models.sampler import Schedule
from models.source import Encoded, share_of_motion
from models.transformer import CausalWanTransformer

GOLDEN = Path(__file__).parents[1] / "golden"
TOLERANCE = 1e-4
SEQUENCE = 21  # latents that a rollout without a window may see


def metadata(name: str) -> dict[str, Any]:
    with safe_open(GOLDEN / f"{name}.safetensors", "pt") as f:
        texts = f.metadata()
    return {key: json.loads(texts[key]) for key in ("config", "rollouts") if key in texts}


def generator_of(golden: dict[str, Tensor], c: dict[str, Any], rollout: RolloutConfig, prompts: str) -> Generator:
    """Return a generator with the file's weights, which encodes prompt p as the file's tensor `prompts` + p."""
    transformer = CausalWanTransformer(
        patch_size=(1, 2, 2),
        num_attention_heads=c["heads"],
        attention_head_dim=c["dim"] // c["heads"],
        in_channels=c.get("channels", 16),
        out_channels=c.get("channels", 16),
        text_dim=c["text_dim"],
        freq_dim=c["freq_dim"],
        ffn_dim=c["ffn"],
        num_layers=c["layers"],
        cross_attn_norm=True,
    ).eval()
    weights = {k.removeprefix("weights."): v for k, v in golden.items() if k.startswith("weights.")}
    transformer.load_state_dict(as_diffusers({k.removeprefix("model."): v for k, v in weights.items()}))
    codec = TinyCodec(TinyCodecConfig(c.get("channels", 16), encoder_width=8, decoder_widths=(8, 8, 8, 8)))
    return Generator(rollout, transformer, lambda p: golden[prompts + p[0]], codec)


@pytest.mark.parametrize("name", ["longlive_plain", "longlive_switch"])
@pytest.mark.parametrize("commit_at_once", [True, False])
def test_a_rollout_equals_longlive(name: str, commit_at_once: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    golden, c = load_file(GOLDEN / f"{name}.safetensors"), metadata(name)["config"]
    schedule = Schedule.warped(c["steps"], c["shift"])
    torch.testing.assert_close(torch.tensor(schedule.sigmas), golden["ref.sigmas"], atol=1e-6, rtol=0)

    def recorded(seed: int, chunk: int, step: int, shape: object, device: object) -> Tensor:
        initial = golden["in.noise"][:, 3 * chunk : 3 * chunk + 3]
        return (golden["in.renoise"][chunk, step - 1][None] if step else initial).transpose(1, 2)

    monkeypatch.setattr(sampler, "noise", recorded)
    rollout = RolloutConfig(c["chunk"], c["window"], c["sink"], schedule, "velocity", AnchorPolicy.FIXED)
    generator = generator_of(golden, c, rollout, "in.context")
    state = generator.new_take(0, 8 * c["latent_w"], 8 * c["latent_h"])
    latents = []
    for chunk in range(c["num_chunks"]):
        latents.append(generator.draw(state, [Prompt("1" if 0 <= c["switch_at"] <= chunk else "0")]))
        if commit_at_once:
            generator.commit(state)
    made = torch.cat(latents, 2).transpose(1, 2)
    torch.testing.assert_close(made, golden["out.latents"], atol=TOLERANCE, rtol=0)


FILES = ("causal_forcing_framewise", "self_forcing_i2v_chunk")
ROLLOUTS = [(file, name) for file in FILES for name in metadata(file)["rollouts"]]


@pytest.mark.parametrize(("file", "name"), ROLLOUTS, ids=[name for _, name in ROLLOUTS])
def test_a_rollout_behind_a_prefix_or_a_first_chunk_equals_the_reference(
    file: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    golden, facts = load_file(GOLDEN / f"{file}.safetensors"), metadata(file)
    c, r = facts["config"], facts["rollouts"][name]
    warped = [Schedule.warped(r[key], c["shift"]) if key in r else None for key in ("steps", "first_steps")]
    drawn = r["chunks"]

    def recorded(seed: int, chunk: int, step: int, shape: object, device: object) -> Tensor:
        first = drawn[chunk]["first_latent"] - r.get("prefix", 0)
        initial = golden[f"{name}.in.noise"][:, first : first + drawn[chunk]["latents"]]
        return (golden[f"{name}.renoise.{chunk}.{step}"] if step else initial).transpose(1, 2)

    monkeypatch.setattr(sampler, "noise", recorded)
    assert warped[0] is not None
    rollout = RolloutConfig(
        r["chunk"],
        r.get("window", SEQUENCE),
        r.get("sink", 0),
        warped[0],
        "velocity",
        AnchorPolicy.FIXED,
        first_chunk=1 if r.get("independent_first") else None,
        first_schedule=warped[1],
    )
    generator = generator_of(golden, c, rollout, f"{name}.in.")
    state = generator.new_take(0, 8 * c["latent_w"], 8 * c["latent_h"])
    generator.apply_cues(state, [Prompt("context")])
    latents = []
    if "prefix" in r:
        latents.append(golden[f"{name}.in.prefix"].transpose(1, 2))
        generator.prefill(state, latents[0])
    for chunk in drawn:
        assert state.index == chunk["first_latent"]
        latents.append(generator.draw(state))
        assert latents[-1].shape[2] == chunk["latents"]
    made = torch.cat(latents, 2).transpose(1, 2)
    torch.testing.assert_close(made, golden[f"{name}.out.latents"], atol=TOLERANCE, rtol=0)


FOLLOWING = "v2v_streamdiffusionv2"


class EncodedFilm:
    """Give the source of a golden rollout as it was encoded, with the motion of its frames; the last one is held."""

    def __init__(self, latents: Tensor, changes: Tensor) -> None:
        self._latents, self._changes = latents, changes  # [1, C, n, h, w]; root mean square per frame but the first

    def frames(self, source: str, first: int, count: int) -> Encoded:
        begin = min((first + 3) // 4, self._latents.shape[2] - 1)
        changes = self._changes[min(max(0, first - 1), len(self._changes) - 1) : first + count - 1]
        part = slice(begin, max(begin + 1, (first + count + 3) // 4))
        return Encoded(self._latents[:, :, part], share_of_motion(changes))


def test_the_table_of_sigmas_equals_streamdiffusionv2() -> None:
    golden = load_file(GOLDEN / f"{FOLLOWING}.safetensors")
    found = [sampler.nearest_sigma(float(t), 8.0) for t in golden["ref.sigma_of.timestep"]]
    assert torch.equal(torch.tensor(found), golden["ref.sigma_of.sigma"])


@pytest.mark.parametrize("name", metadata(FOLLOWING)["rollouts"])
def test_a_rollout_over_a_source_without_a_clean_pass_equals_streamdiffusionv2(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    golden, facts = load_file(GOLDEN / f"{FOLLOWING}.safetensors"), metadata(FOLLOWING)
    c, r = facts["config"], facts["rollouts"][name]
    steps = len(r["steps"])

    def recorded(seed: int, chunk: int, step: int, shape: tuple[int, ...], device: object) -> Tensor:
        if step and shape[2] == 1:
            call = chunk - 1 + (step - 1 if r["batch"] else 0)  # in a stream batch the pass in which a chunk has it
            noise = golden[f"{name}.in.renoise.rest"][call * (steps - 1) + step - 1][None]
        elif step:
            noise = golden[f"{name}.in.renoise.first"][step - 1][None]
        else:
            first = min(chunk + 1, golden[f"{name}.in.noise"].shape[1] - 1) if chunk > 0 else 0
            noise = golden[f"{name}.in.noise"][:, first : first + shape[2]]
        return noise.transpose(1, 2)

    monkeypatch.setattr(sampler, "noise", recorded)
    rollout = RolloutConfig(
        chunk=1,
        window=r["kv"],
        sink=r["sink"],
        schedule=Schedule.looked_up(r["steps"], c["shift"]),
        prediction="velocity",
        anchor=AnchorPolicy.FIXED,
        on_switch=OnSwitch.NONE,
        first_chunk=2,
        step_keys=StepKeys(r.get("restart"), None if r["adapt"] == -1 else r["adapt"], r["batch"]),
        source_shift=c["shift"],
    )
    generator = generator_of(golden, c, rollout, f"{name}.in.")
    state = generator.new_take(0, 8 * c["latent_w"], 8 * c["latent_h"])
    film = EncodedFilm(golden[f"{name}.in.encoded"].transpose(1, 2), golden["controller.rms_per_frame"])
    latents = []
    for chunk in range(1 + r["chunks"]):
        cues = [Prompt("context"), Follow("film", r["noise_scale"])] if not chunk else []
        latents.append(generator.draw(state, cues, footage=film))
        generator.commit(state)
        assert state.source is not None
        read = chunk + (steps - 1 if r["batch"] and chunk else 0)
        assert state.source.strength == [r["noise_scale"], *r["noise_scale_per_chunk"], state.source.strength][read]
        if chunk == r["chunks"] // 2:  # a snapshot has all that goes on
            state = generator.restore(generator.snapshot(state, keys=False))
    made = torch.cat(latents, 2).transpose(1, 2)
    torch.testing.assert_close(made, golden[f"{name}.out.latents"], atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("name", metadata("longlive2")["rollouts"])
@pytest.mark.parametrize("commit_at_once", [True, False])
def test_a_rollout_equals_longlive_2(name: str, commit_at_once: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    golden, facts = load_file(GOLDEN / "longlive2.safetensors"), metadata("longlive2")
    c, r = facts["config"], facts["rollouts"][name]
    chunk, cells = c["chunk"], (c["latent_w"], c["latent_h"])
    schedule = Schedule.even(r.get("steps", 4), c["shift"])

    def recorded(seed: int, number: int, step: int, shape: object, device: object) -> Tensor:
        assert step == 0, "nothing is noised again"
        return golden[f"{name}.in.noise"][:, number * chunk : (number + 1) * chunk].transpose(1, 2)

    monkeypatch.setattr(sampler, "noise", recorded)
    shots = ShotRule(r.get("rope_offset", 0), r.get("multi_shot_sink", False), r.get("shot_clean_recache", False))
    rollout = RolloutConfig(
        chunk,
        c["window"],
        c["sink"],
        schedule,
        "velocity",
        AnchorPolicy.FIXED,
        OnSwitch.NONE,
        solver="unipc",
        clean_pins=True,
        shots=shots,
        guidance=r.get("guidance", 1.0),
        negative_prompt="N",
    )
    generator = generator_of(golden, c, rollout, f"{name}.in.context.")
    state = generator.new_take(0, 8 * cells[0], 8 * cells[1])
    if r.get("i2v"):
        state.pinned = golden[f"{name}.in.image_latent"].transpose(1, 2)
    latents = []
    for number in range(r["chunks"]):
        cut: list[Cue] = [Cut()] if number in r.get("cuts", ()) else []
        latents.append(generator.draw(state, [*cut, Prompt(r["prompts"][number])]))
        if commit_at_once:
            generator.commit(state)
    made = torch.cat(latents, 2).transpose(1, 2)
    torch.testing.assert_close(made, golden[f"{name}.out.latents"], atol=TOLERANCE, rtol=0)


def test_a_take_of_longlive_2_goes_on_from_a_snapshot_between_its_shots() -> None:
    golden, facts = load_file(GOLDEN / "longlive2.safetensors"), metadata("longlive2")
    c = facts["config"]
    rollout = RolloutConfig(
        c["chunk"], c["window"], c["sink"], Schedule.even(2, 5.0), "velocity", AnchorPolicy.FIXED, OnSwitch.NONE,
        solver="unipc", shots=ShotRule(8),
    )  # fmt: skip
    generator = generator_of(golden, c, rollout, "cut.in.context.")
    cues: dict[int, list[Cue]] = {0: [Prompt("A")], 2: [Cut(), Prompt("B")], 3: [Cut()], 7: [Cut(), Prompt("C")]}
    state = generator.new_take(1, 8 * c["latent_w"], 8 * c["latent_h"])
    whole = [generator.draw(state, cues.get(i, [])) for i in range(11)]
    for border in (2, 3, 4, 6, 8):
        state = generator.new_take(1, 8 * c["latent_w"], 8 * c["latent_h"])
        for i in range(border):
            generator.draw(state, cues.get(i, []))
        generator.commit(state)
        state = generator.restore(generator.snapshot(state))
        for i in range(border, 11):
            assert torch.equal(generator.draw(state, cues.get(i, [])), whole[i]), f"chunk {i} after {border}"
