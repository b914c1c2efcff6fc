"""Run one training stage within a lease of minutes.

`python -m models.pocket.training.gpu_plan --stage codec|transformer --seconds N --out FOLDER` ends by itself before N
seconds, saves weights every minute, and leaves few, small files. `--dry-run` does the same at a small fraction of the
work, on the CPU of any machine. Drawing processes are forked before anything touches CUDA.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from models.pocket.training.log import Log

ASSETS = Path(__file__).resolve().parents[3] / "assets"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stage", choices=("codec", "transformer"), required=True)
    parser.add_argument("--seconds", type=float, required=True, help="ends before this many")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--out", type=Path, required=True, help="folder of weights, log, sheet and metrics")
    parser.add_argument("--codec", type=Path, help="codec to grow from (pocket's in assets/), or to train behind")
    parser.add_argument("--workers", type=int, default=max(1, (os.cpu_count() or 2) - 1), help="drawing processes")
    parser.add_argument("--new", action="store_true", help="grow the codec from none")
    parser.add_argument("--decoder-only", action="store_true", help="keep the codec's encoder and latents to the bit")
    parser.add_argument("--transformer", type=Path, help="weights that the transformer's training goes on from")
    parser.add_argument("--no-adversary", action="store_true", help="finish the codec without a discriminator")
    parser.add_argument("--dry-run", action="store_true", help="a small fraction of the work, on the CPU")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    if args.stage == "transformer" and args.codec is None:
        parser.error("--stage transformer needs --codec FILE")
    if args.stage == "transformer" and (args.new or args.decoder_only or args.no_adversary):
        parser.error("--new, --decoder-only and --no-adversary belong to --stage codec")
    if args.stage == "codec" and args.transformer is not None:
        parser.error("--transformer belongs to --stage transformer")
    if args.new and args.decoder_only:
        parser.error("--decoder-only keeps an encoder, --new has none")
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # before torch starts its threads
    args.out.mkdir(parents=True, exist_ok=True)
    log = Log(args.out / "log.txt")
    if args.dry_run:
        args.device, args.workers = "cpu", 1
    if args.stage == "codec":
        if args.codec is None and not args.new:
            args.codec = ASSETS / "pocket" / "codec.safetensors"
        from models.pocket.training.codec_plan import DRY, Sizes, codec_stage

        codec_stage(
            args.seconds,
            args.device,
            args.out,
            DRY if args.dry_run else Sizes(args.workers),
            log,
            args.codec,
            args.seed,
            adversarial=not args.no_adversary,
            decoder_only=args.decoder_only,
        )
    else:
        transformer_stage(
            args.seconds, args.device, args.out, args.codec, args.workers, log, args.seed, args.transformer
        )


def transformer_stage(
    seconds: float,
    device_name: str,
    out: Path,
    codec_file: Path,
    workers: int,
    log: Log,
    seed: int,
    start: Path | None,
) -> None:
    """Train the transformer behind a codec: `gpu_stage.train_on_device` with a pool that draws pairs of clips."""
    from models.pocket import weights
    from models.pocket.training.clips import draw_pair
    from models.pocket.training.drawing_pool import DrawingPool

    with DrawingPool(draw_pair, workers, 4 * workers, seed) as pool:
        import torch

        from models.pocket.training.gpu_stage import train_on_device

        device = torch.device(device_name)
        codec = weights.load_codec(codec_file).to(device).eval()
        if device.type == "cuda":
            pool.pin()
        log(f"{workers} drawing processes, codec on {device}")
        train_on_device(codec, out, seconds - log.spent, device, pool, start=start)
        log("done")


if __name__ == "__main__":
    main()
