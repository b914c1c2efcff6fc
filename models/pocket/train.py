"""`python -m models.pocket.train --minutes N [--stage codec|base]`: train pocket, or train it further.

Each stage starts from the weights in assets/pocket when they are there, from scratch otherwise, and writes them
back (float16 safetensors with their configuration and history) every few minutes and at the end.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

ASSETS = Path(__file__).resolve().parents[2] / "assets" / "pocket"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, required=True, help="time budget of this run")
    parser.add_argument("--stage", choices=["codec", "base"], default="base")
    parser.add_argument("--out", type=Path, default=ASSETS, help="folder of the weights")
    parser.add_argument("--from-scratch", action="store_true", help="ignore weights that are there")
    parser.add_argument("--clips", type=int, default=800, help="clips to draw and encode for --stage base")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # before torch starts its threads
    from models.checkpoints.assemble import load_tiny_codec
    from models.pocket import weights

    args.out.mkdir(parents=True, exist_ok=True)
    codec_file = args.out / "codec.safetensors"
    start = None if args.from_scratch or not codec_file.exists() else load_tiny_codec(codec_file)
    if args.stage == "codec":
        from models.pocket.train_codec import train_codec

        train_codec(args.minutes, start, lambda codec, facts: weights.save_codec(codec, codec_file, facts))
    else:
        import torch

        from models.pocket import scene, train_base

        if start is None:
            parser.error(f"--stage base needs a codec: {codec_file} is missing, run --stage codec first")
        file = args.out / "transformer.safetensors"
        prepared = args.out / "clips.pt"  # encoding takes minutes, and a resumed run may use it again
        if prepared.exists():
            clips = torch.load(prepared, weights_only=False)
        else:
            clips = train_base.encode_clips(start, args.clips, seed=args.seed)
            torch.save(clips, prepared)
        train_base.train_base(
            args.minutes,
            None if args.from_scratch or not file.exists() else weights.load_transformer(file),
            lambda: weights.build_transformer(train_base.CONFIG, scene.vocabulary()),
            lambda model, words, facts: weights.save_transformer(model, words, file, facts),
            clips,
            seed=args.seed,
        )


if __name__ == "__main__":
    main()
