"""Train pocket models.

`python -m models.pocket.training --minutes N [--model pocket|pocket-avatar] [--stage codec|base|rollout|long|decoder]`:
`codec` learns to encode and decode, `base` to draw chunks behind true ones, `rollout` and `long` behind own ones, and
`decoder` to decode better what a transformer already knows how to draw. Each stage starts from the model's weights in
assets/ if they exist (codec and base from scratch otherwise) and writes them back (float16 safetensors with their
configuration and history) every few minutes and at the end.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from models.codecs.tiny import TinyCodec
    from models.pocket import weights
    from models.pocket.training.stage import Pair, Save
    from models.text.word_encoder import WordText
    from models.transformer import CausalWanTransformer

ASSETS = Path(__file__).resolve().parents[3] / "assets"
STAGES = {
    "pocket": ("codec", "base", "rollout", "long", "decoder"),
    "pocket-avatar": ("codec", "base", "rollout", "decoder"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, required=True, help="time budget of this run")
    parser.add_argument("--model", choices=list(STAGES), default="pocket")
    parser.add_argument("--stage", choices=STAGES["pocket"], default="base")
    parser.add_argument("--out", type=Path, help="folder of the weights; default: the model's in assets/")
    parser.add_argument("--from-scratch", action="store_true", help="ignore weights that are there")
    parser.add_argument("--clips", type=int, help="clips to draw and encode, once (800)")
    parser.add_argument("--device", choices=("cpu", "cuda"), help="default: CUDA where there is one")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # before torch starts its threads
    out: Path = args.out or ASSETS / args.model
    out.mkdir(parents=True, exist_ok=True)
    codec_file, file = out / "codec.safetensors", out / "transformer.safetensors"
    if args.stage not in STAGES[args.model]:
        parser.error(f"{args.model} has the stages {', '.join(STAGES[args.model])}")
    if args.clips is not None and args.clips < 1:
        parser.error("--clips is 1 or more")
    if args.stage != "codec" and not codec_file.exists():
        parser.error(f"--stage {args.stage} needs a codec: {codec_file} is missing, run --stage codec first")
    there = file.exists() or file.with_name(file.name + ".index.json").exists()  # weights in one file, or in shards
    if args.stage in ("rollout", "long") and not there:
        parser.error(f"--stage {args.stage} needs a transformer: run --stage base first")
    if args.stage in ("rollout", "long", "decoder") and args.from_scratch:
        parser.error(f"--stage {args.stage} goes on from weights; only codec and base begin from scratch")

    import torch

    from models.checkpoints.assemble import load_tiny_codec
    from models.codecs.tiny_configs import POCKET
    from models.pocket import weights
    from models.pocket.training import avatar as train_avatar
    from models.pocket.training import avatar_clips, clips, footage, network
    from models.pocket.training import codec as train_codec
    from models.pocket.training import teacher_forcing as train_base
    from models.pocket.world import scene

    avatar, scratch = args.model == "pocket-avatar", bool(args.from_scratch)
    if args.stage in ("codec", "decoder"):
        # faces are learned sooner from a codec that knows how to draw
        first = codec_file if codec_file.exists() or not avatar else ASSETS / "pocket" / "codec.safetensors"
        start = None if scratch or not first.exists() else first
        earlier = weights.history(start) if start else []
        first_codec = weights.load_codec(start) if start else None
        train_codec.train_codec(
            args.minutes,
            first_codec,
            lambda codec, facts: weights.save_codec(codec, codec_file, [*earlier, {"stage": args.stage, **facts}]),
            avatar_clips.PORTRAITS if avatar else footage.SCENES,
            # faces are still drawn at half the size, by a codec of today's layout
            config=first_codec.config if avatar and first_codec else POCKET,
            decoder_only=args.stage == "decoder",
        )
        return
    codec = load_tiny_codec(codec_file)
    device = torch.device(args.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    fresh = scratch or not there
    if not fresh:
        pair = weights.load_transformer(file)
    elif avatar:
        pair = train_avatar.build(ASSETS / "pocket" / "transformer.safetensors")
    else:
        pair = weights.build_transformer(network.CONFIG, scene.vocabulary())
    for module in pair:
        module.to(device)
    before = [] if fresh else weights.history(file)

    def save(transformer: CausalWanTransformer, text: WordText, facts: weights.Facts) -> None:
        weights.save_transformer(transformer, text, file, [*before, {"stage": args.stage, **facts}])

    prepared = out / "clips.pt"  # encoding takes minutes, and a resumed run may use it again
    if avatar:
        avatar_stage(args, pair, codec, save, prepared, fresh=fresh)
        return
    store = clips.prepared(codec.to(device).eval(), args.clips, args.seed, device, prepared)
    if args.stage == "base":
        for line in gate(codec):
            print(line, flush=True)
        train_base.train_base(args.minutes, pair, save, store, fresh=fresh, seed=args.seed)
    else:
        from models.pocket.training.rollout import train_rollout

        train_rollout(args.minutes, pair, codec, save, store, long=args.stage == "long", seed=args.seed)


def avatar_stage(
    args: argparse.Namespace, pair: Pair, codec: TinyCodec, save: Save, prepared: Path, *, fresh: bool
) -> None:
    """Train the avatar's transformer; its clips are kept in `prepared`."""
    import torch

    from models.pocket import weights
    from models.pocket.training.avatar import train_avatar
    from models.pocket.training.avatar_clips import encode_clips

    kept = torch.load(prepared, weights_only=False) if prepared.exists() else {}
    encoder = weights.encoder_digest(codec)
    if kept.get("encoder") == encoder and args.clips in (None, len(kept["clips"])):
        clips = kept["clips"]
    else:
        clips = list(encode_clips(codec, args.clips or 800, args.seed))
        torch.save({"encoder": encoder, "clips": clips}, prepared)
    if args.stage == "rollout":
        from models.pocket.training.avatar_rollout import train_avatar_rollout

        train_avatar_rollout(args.minutes, pair, codec, save, clips, seed=args.seed)
    else:
        train_avatar(args.minutes, pair, save, clips, fresh=fresh, seed=args.seed)


def gate(codec: TinyCodec) -> list[str]:
    """Return what the codec loses, and no transformer can draw then, a line each."""
    from models.judge import classifier
    from models.pocket.training.codec_gate import drawn_windows, measure

    judge = classifier.load(ASSETS / "judge" / "judge.safetensors")
    return [f"codec: {line}" for line in measure(codec, drawn_windows(200, workers=2), judge).failures()]


if __name__ == "__main__":
    main()
