"""List published causal models on Wan's architecture, with what their authors state and their code does.

Repositories and file names are as their authors name them; files without a pinned hash were not seen by us.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from models.cache_shape import AnchorPolicy, ShotRule, StepKeys
from models.catalog_entry import Entry, Source, Weights
from models.cue import OnSwitch, StartBy
from models.rollout_config import RolloutConfig, StrengthRange
from models.sampler import Schedule

WAN_1_3B: dict[str, Any] = {
    "patch_size": (1, 2, 2),
    "num_attention_heads": 12,
    "attention_head_dim": 128,
    "in_channels": 16,
    "out_channels": 16,
    "text_dim": 4096,
    "freq_dim": 256,
    "ffn_dim": 8960,
    "num_layers": 30,
    "cross_attn_norm": True,
}
WAN_14B = WAN_1_3B | {"num_attention_heads": 40, "ffn_dim": 13824, "num_layers": 40}
WAN_2_2_5B = WAN_1_3B | {"num_attention_heads": 24, "in_channels": 48, "out_channels": 48, "ffn_dim": 14336}
WAN_TEXT_AND_CODEC = Source(
    "Wan-AI/Wan2.1-T2V-1.3B-Diffusers", ("vae/*", "text_encoder/*", "tokenizer/*"), licence="Apache-2.0"
)
WAN_2_2_TEXT_AND_CODEC = replace(WAN_TEXT_AND_CODEC, repo="Wan-AI/Wan2.2-TI2V-5B-Diffusers")
TAE_2_1 = Source("lightx2v/Autoencoders", ("taew2_1.pth",), licence="Apache-2.0")
TAE_2_2 = Source("lightx2v/Autoencoders", ("taew2_2.pth",), licence="Apache-2.0")
FOUR_STEPS = Schedule.warped((1000, 750, 500, 250), shift=5.0)
UNSTATED = "not stated for the weights when last seen"

LONGLIVE = Entry(
    name="longlive-1.3b",
    title="LongLive 1.0 on Wan 2.1 1.3B: minutes of interactive video, prompt switches by KV recache (2509.22622)",
    sources=(
        Source(
            "Efficient-Large-Model/LongLive-1.3B",
            ("models/longlive_base.pt", "models/lora.pt"),
            licence="CC-BY-NC-SA-4.0 on the model card when last seen (the code is Apache-2.0): check before use",
            free=False,
        ),
        WAN_TEXT_AND_CODEC,
    ),
    weights=Weights("models/longlive_base.pt", wrapper="generator", lora="models/lora.pt"),
    transformer=WAN_1_3B,
    text="umt5",
    codec="wan",
    rollout=RolloutConfig(
        chunk=3,
        window=12,
        sink=3,
        schedule=FOUR_STEPS,
        prediction="velocity",
        anchor=AnchorPolicy.FIXED,
        start_by=StartBy.PREFIX,  # its weights have seen no latent held in place
    ),
    fps=16,
    size=(832, 480),
    notes="trained to 60 s; `anchor: trailing` keeps distances bounded in longer takes",
    tae=TAE_2_1,
    published="20.7 fps on an H100",
)


def _on_wan_1_3b(name: str, title: str, source: Source, weights: Weights, rollout: RolloutConfig, **more: Any) -> Entry:
    """Return an entry whose text encoder, codec and sizes are those of Wan 2.1 1.3B."""
    like = replace(LONGLIVE, name=name, title=title, weights=weights, rollout=rollout, notes="", published="")
    return replace(like, sources=(source, WAN_TEXT_AND_CODEC), **more)


SELF_FORCING = _on_wan_1_3b(
    "self-forcing",
    "Self-Forcing (DMD) on Wan 2.1 1.3B: the 5-second ancestor (2506.08009)",
    Source("gdhe17/Self-Forcing", ("checkpoints/self_forcing_dmd.pt",), licence="Apache-2.0 (repository)"),
    Weights("checkpoints/self_forcing_dmd.pt", wrapper="generator_ema"),
    replace(LONGLIVE.rollout, window=21, sink=0),
    notes="trained on 21 latents; longer takes drift, prefer LongLive for them",
    published="17 fps on an H100",
)
SF_WAN = _on_wan_1_3b(
    "sfwan2.1",
    "SFWan 2.1 1.3B: Self-Forcing as FastVideo trained it, in the layout of diffusers",
    Source("wlsaidhi/SFWan2.1-T2V-1.3B-Diffusers", ("transformer/*",), UNSTATED, free=False),
    Weights("transformer"),
    SELF_FORCING.rollout,
    notes=SELF_FORCING.notes,
)


def _causal_forcing(file: str) -> Source:
    return Source("zhuhz22/Causal-Forcing", (file,), licence="Apache-2.0")


CAUSAL_FORCING = _on_wan_1_3b(
    "causal-forcing",
    "Causal-Forcing on Wan 2.1 1.3B, chunk by chunk: more motion than Self-Forcing (2602.02214)",
    _causal_forcing("chunkwise/causal_forcing.pt"),
    Weights("chunkwise/causal_forcing.pt", wrapper="generator"),
    SELF_FORCING.rollout,
    notes="trained on 81 frames; longer takes drift",
    published="21 to 23 fps on an H200",
)
CAUSAL_FORCING_FRAMEWISE = _on_wan_1_3b(
    "causal-forcing-framewise",
    "Causal-Forcing, latent by latent: begins with an image as its first latent (2602.02214)",
    _causal_forcing("framewise/causal_forcing.pt"),
    Weights("framewise/causal_forcing.pt", wrapper="generator_ema"),
    replace(SELF_FORCING.rollout, chunk=1),
    notes=CAUSAL_FORCING.notes,
)
CAUSAL_FORCING_2_STEPS = _on_wan_1_3b(
    "causal-forcing-2step",
    "Causal-Forcing++ in 2 steps, latent by latent (2605.15141)",
    _causal_forcing("causal-forcing++/framewise-2step.pt"),
    Weights("causal-forcing++/framewise-2step.pt", wrapper="generator_ema"),
    replace(
        CAUSAL_FORCING_FRAMEWISE.rollout,
        schedule=Schedule.warped((1000, 500), shift=5.0),
        first_schedule=FOUR_STEPS,
    ),
    notes=CAUSAL_FORCING.notes,
)
CAUSAL_FORCING_1_STEP = _on_wan_1_3b(
    "causal-forcing-1step",
    "Causal-Forcing++ in 1 step, latent by latent (2605.15141)",
    _causal_forcing("causal-forcing++/framewise-1step.pt"),
    Weights("causal-forcing++/framewise-1step.pt", wrapper="generator_ema"),
    replace(CAUSAL_FORCING_2_STEPS.rollout, schedule=Schedule.warped((1000,), shift=5.0)),
    notes=CAUSAL_FORCING.notes,
)
ONE_FORCING = _on_wan_1_3b(
    "one-forcing",
    "One-Forcing on Wan 2.1 1.3B: 1 step, latent by latent",
    Source("JiaqiFeng/OneForcing", ("checkpoints/one_forcing.pt",), f"{UNSTATED} (the code is Apache-2.0)", free=False),
    Weights("checkpoints/one_forcing.pt"),
    CAUSAL_FORCING_1_STEP.rollout,
    notes="its first chunk takes four steps, as Causal-Forcing++'s does; that is not verified for it",
)
REWARD_FORCING = _on_wan_1_3b(
    "reward-forcing",
    "Reward-Forcing on Wan 2.1 1.3B: a sink that is averaged with what leaves the window",
    Source("JaydenLu666/Reward-Forcing-T2V-1.3B", ("rewardforcing.pt",), UNSTATED, free=False),
    Weights("rewardforcing.pt", wrapper="generator_ema"),
    replace(LONGLIVE.rollout, window=9, anchor=AnchorPolicy.TRAILING, sink_average=0.999),
    notes="the sink keeps 0.999 of itself a chunk, as its code has it",
    published="23.1 fps on an H100",
)
MEMFLOW = _on_wan_1_3b(
    "memflow",
    "MemFlow on Wan 2.1 1.3B: LongLive's window with its own LoRA (2512.14699)",
    Source("KlingTeam/MemFlow", ("base.pt", "lora.pt"), f"{UNSTATED} (the code is Apache-2.0)", free=False),
    Weights("base.pt", wrapper="generator", lora="lora.pt"),
    LONGLIVE.rollout,
    notes="without its memory bank of earlier latents, which is not built here",
    published="18.7 fps on an H100, with its bank",
)
INFINITY_ROPE = replace(
    LONGLIVE,
    name="longlive-infinity",
    title="LongLive 1.0 rolled out as Infinity-RoPE does: distances bounded, a flush at a new prompt (2511.20649)",
    rollout=replace(LONGLIVE.rollout, anchor=AnchorPolicy.TRAILING, on_switch=OnSwitch.FLUSH),
    folder=LONGLIVE.name,
    notes="the files are those of longlive-1.3b",
    published="",
)
STREAM_DIFFUSION = _on_wan_1_3b(
    "streamdiffusion-v2",
    "StreamDiffusionV2 on Wan 2.1 1.3B: follows a film or a camera, latent by latent (2511.07399)",
    Source("jerryfeng/StreamDiffusionV2", ("wan_causal_dmd_v2v/model.pt",), licence="Apache-2.0 (model card)"),
    Weights("wan_causal_dmd_v2v/model.pt", wrapper="generator"),
    RolloutConfig(
        chunk=1,
        window=6,
        sink=3,
        schedule=Schedule.looked_up((700, 500), 8.0),
        prediction="velocity",
        anchor=AnchorPolicy.FIXED,
        on_switch=OnSwitch.NONE,
        first_chunk=2,
        strength=StrengthRange(0.5, 0.95, 0.8),
        step_keys=StepKeys(restart=50, renew_sink_below=0.2),
        source_shift=8.0,
    ),
    notes="made to follow a source: without one it draws from noise alone, which it was not trained for",
    published="58 to 65 fps on four H100",
)
STREAM_BATCH = replace(
    STREAM_DIFFUSION,
    name="streamdiffusion-v2-batch",
    title="StreamDiffusionV2 as a stream batch: one pass runs all steps, each of another chunk (2511.07399)",
    rollout=replace(STREAM_DIFFUSION.rollout, step_keys=StepKeys(restart=50, renew_sink_below=0.2, batch=True)),
    folder=STREAM_DIFFUSION.name,
    notes="more frames a second where a pass leaves the card idle; a source is read one chunk ahead of what is drawn",
    published="",
)
KREA = replace(
    LONGLIVE,
    name="krea-14b",
    title="Krea Realtime on Wan 2.1 14B, with a plain window of 6 latents",
    sources=(
        Source(
            "krea/krea-realtime-video",
            ("krea-realtime-video-14b.safetensors",),
            licence="CC-BY-NC-SA-4.0",
            free=False,
        ),
        WAN_TEXT_AND_CODEC,
    ),
    weights=Weights("krea-realtime-video-14b.safetensors"),
    transformer=WAN_14B,
    rollout=replace(LONGLIVE.rollout, window=6, sink=0),
    notes="its authors compute the window's keys anew for every chunk; with a plain window it drifts sooner",
    published="11 fps on a B200, 3.6 to 4.3 on an H100",
)
LONGLIVE_2 = Entry(
    name="longlive2-5b",
    title="LongLive 2.0 on Wan 2.2 5B: films of several shots, 24 frames a second",
    sources=(
        Source("Efficient-Large-Model/LongLive-2.0-5B", ("model_bf16.pt",), licence="Apache-2.0"),
        WAN_2_2_TEXT_AND_CODEC,
    ),
    weights=Weights("model_bf16.pt", wrapper="generator"),
    transformer=WAN_2_2_5B,
    text="umt5",
    codec="wan",
    rollout=RolloutConfig(
        chunk=8,
        window=32,
        sink=8,
        schedule=Schedule.even(4, shift=5.0),
        prediction="velocity",
        anchor=AnchorPolicy.FIXED,
        on_switch=OnSwitch.NONE,
        solver="unipc",
        clean_pins=True,
        shots=ShotRule(offset=8.0, prefix="The scene transitions. "),
    ),
    fps=24,
    size=(1280, 704),
    stride=16,
    notes="a cut goes on from the shot before; a new prompt without a cut changes the text alone",
    tae=TAE_2_2,
    published="18.6 fps of denoising, 14.1 with decoding, on an H100",
)

ENTRIES = (
    LONGLIVE,
    SELF_FORCING,
    SF_WAN,
    CAUSAL_FORCING,
    CAUSAL_FORCING_FRAMEWISE,
    CAUSAL_FORCING_2_STEPS,
    CAUSAL_FORCING_1_STEP,
    ONE_FORCING,
    REWARD_FORCING,
    MEMFLOW,
    INFINITY_ROPE,
    STREAM_DIFFUSION,
    STREAM_BATCH,
    KREA,
    LONGLIVE_2,
)
