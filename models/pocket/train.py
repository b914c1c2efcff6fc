"""`python -m models.pocket.train --minutes N [--stage codec|base|rollout|long]`: train pocket, or train it further.

Each stage starts from the weights in assets/pocket when they are there (codec and base from scratch otherwise) and
writes them back (float16 safetensors with their configuration and history) every few minutes and at the end.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

ASSETS = Path(__file__).resolve().parents[2] / "assets" / "pocket"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, required=True, help="time budget of this run")
    parser.add_argument("--stage", choices=["codec", "base", "rollout", "long"], default="base")
    parser.add_argument("--out", type=Path, default=ASSETS, help="folder of the weights")
    parser.add_argument("--from-scratch", action="store_true", help="ignore weights that are there")
    parser.add_argument("--clips", type=int, default=800, help="clips to draw and encode, once")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # before torch starts its threads
    args.out.mkdir(parents=True, exist_ok=True)
    codec_file, file = args.out / "codec.safetensors", args.out / "transformer.safetensors"
    if args.stage != "codec" and not codec_file.exists():
        parser.error(f"--stage {args.stage} needs a codec: {codec_file} is missing, run --stage codec first")
    if args.stage in ("rollout", "long") and (args.from_scratch or not file.exists()):
        parser.error(f"--stage {args.stage} needs a transformer: run --stage base first")

    import torch

    from models.checkpoints.assemble import load_tiny_codec
    from models.codecs.tiny import TinyCodec
    from models.pocket import scene, train_base, weights
    from models.text.words import WordText
    from models.transformer import CausalWanTransformer

    anew = args.from_scratch and args.stage == "codec"
    codec = None if anew or not codec_file.exists() else load_tiny_codec(codec_file)
    if args.stage == "codec":
        from models.pocket.train_codec import train_codec

        earlier = weights.history(codec_file) if codec else []

        def save_codec(trained: TinyCodec, facts: weights.Facts) -> None:
            weights.save_codec(trained, codec_file, [*earlier, {"stage": "codec", **facts}])

        train_codec(args.minutes, codec, save_codec)
        return
    assert codec is not None
    prepared = args.out / "clips.pt"  # encoding takes minutes, and a resumed run may use it again
    if prepared.exists():
        clips = torch.load(prepared, weights_only=False)
    else:
        clips = train_base.encode_clips(codec, args.clips, seed=args.seed)
        torch.save(clips, prepared)
    fresh = args.from_scratch or not file.exists()
    pair = weights.build_transformer(train_base.CONFIG, scene.vocabulary()) if fresh else weights.load_transformer(file)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    for module in pair:
        module.to(device)
    before = [] if fresh else weights.history(file)

    def save(transformer: CausalWanTransformer, text: WordText, facts: weights.Facts) -> None:
        weights.save_transformer(transformer, text, file, [*before, {"stage": args.stage, **facts}])

    if args.stage == "base":
        train_base.train_base(args.minutes, pair, save, clips, fresh=fresh, seed=args.seed)
    else:
        from models.pocket.train_rollout import train_rollout

        train_rollout(args.minutes, pair, codec, save, clips, long=args.stage == "long", seed=args.seed)


if __name__ == "__main__":
    main()
