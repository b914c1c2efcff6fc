"""Train the transformer within a lease of minutes: clips are drawn, encoded and learned from at the same time."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import torch

from models import catalog
from models.cache_shape import AnchorPolicy
from models.codecs.tiny import TinyCodec
from models.cue import Prompt
from models.generator import Generator
from models.pocket import weights
from models.pocket.training.attention import Sight, Tokens, Way, attend
from models.pocket.training.clips import KNOT, ClipStore
from models.pocket.training.drawing_pool import DrawingPool
from models.pocket.training.feeder import fed
from models.pocket.training.layout import PAST, SLOTS, draw_layout
from models.pocket.training.network import CONFIG
from models.pocket.training.stage import Pair, Save
from models.pocket.training.teacher_forcing import CUDA_SIZE, Forcing, Run, Size
from models.pocket.world.scene import vocabulary
from models.text.word_encoder import WordText
from models.transformer import CausalWanTransformer

SHARD = 15 << 20  # bytes of a weight file at most
SHEET_PROMPTS = (  # the last three are colour and subject pairs that no training sees
    "a large yellow star bounces in the middle over the sea at sunset",
    "a large blue cube sways on the left in the city at night in the rain",
    "a small white rocket flies left over the meadow by day in the snow",
    "a large red fish circles on the right in the forest by day",
    "a small purple ball bounces in the desert at sunset in fog",
    "a large green cube drifts right over green hills at night",
)


@dataclass(frozen=True)
class Plan:
    """Hold the sizes of a run on the device."""

    size: Size = CUDA_SIZE
    capacity: int = 12_000  # clips
    first: int = 600  # of them before the first step
    save_every: float = 80.0  # seconds
    say_every: float = 10.0
    closing: float = 15.0  # seconds kept for validation, saving and the sheet
    sheet_chunks: int = 8
    config: dict[str, object] | None = None
    compiled: bool = True


DRY = Plan(
    size=Size(2, one_shape=True),
    capacity=6,
    first=4,
    save_every=20.0,
    say_every=5.0,
    closing=25.0,
    sheet_chunks=2,
    config=CONFIG | {"num_layers": 2, "num_attention_heads": 2, "ffn_dim": 256},
    compiled=False,
)


def train_on_device(
    codec: TinyCodec,
    out: Path,
    seconds: float,
    device: torch.device,
    pool: DrawingPool,
    plan: Plan | None = None,
    start: Path | None = None,
) -> None:
    """Train pocket's transformer behind `codec` and return before `seconds` are over.

    Without a `plan` a CPU does a dry run. A run goes on from weights that lie in `out`, else from the file `start`,
    else from random ones; averaged weights, in shards, and a sheet of pictures appear in `out`.
    """
    plan = plan or (Plan() if device.type == "cuda" else DRY)
    began = time.monotonic()

    def say(line: str) -> None:
        line = f"base [{time.monotonic() - began:6.1f} s] {line}"
        print(line, flush=True)
        with (out / "base.log").open("a") as log:
            log.write(line + "\n")

    stop = began + seconds - plan.closing
    torch.manual_seed(0)
    if device.type == "cuda":
        torch.set_float32_matmul_precision("high")
    codec = codec.eval().requires_grad_(False)  # noqa: FBT003
    file = out / "transformer.safetensors"
    source = file if weights.exists(file) else start
    earlier = weights.history(source) if source else []
    pair = (
        weights.load_transformer(source)
        if source
        else weights.build_transformer(dict(plan.config or CONFIG), vocabulary())
    )
    for module in pair:
        module.to(device)
    parameters = sum(p.numel() for module in pair for p in module.parameters())
    store = ClipStore(codec, plan.capacity, device)

    def save(transformer: CausalWanTransformer, text: WordText, facts: weights.Facts) -> None:
        facts = {"stage": "base", "device": torch.cuda.get_device_name() if device.type == "cuda" else "cpu", **facts}
        weights.save_transformer(transformer, text, file, [*earlier, facts], SHARD)
        say(f"saved after {facts['steps']} steps")

    with fed(store, pool) as feeder:
        way = fastest_way(device, plan.size.rows, say) if device.type == "cuda" else "written"
        feeder.wait_for(plan.first)
        say(f"{parameters / 1e6:.2f} M parameters, {store.ready} clips, attention {way}")
        peak = 0.7 if source else 1.0
        if plan.compiled:
            with feeder.paused():
                run = compiled_run(pair, store, way, plan.size, save, say, peak)
        else:
            run = Run(Forcing(pair, store, way, plan.size, seed=0), pair, save, peak, say)
        run.until(stop, plan.save_every, plan.say_every)
    tokens = plan.size.rows * (3 * PAST + (3 + KNOT) * SLOTS) * 64
    say(f"{tokens * run.steps / (time.monotonic() - began):.0f} tokens a second over all, compiling included")
    if time.monotonic() < began + seconds - 4:
        try:
            sheet = rendered_sheet(run.average.pair, codec, plan.sheet_chunks, device)
            cv2.imwrite(str(out / "sheet.png"), sheet[..., ::-1])
            say("sheet written")
        except RuntimeError as error:  # the weights are safe
            say(f"no sheet: {error}")


def compiled_run(
    pair: Pair, store: ClipStore, way: Way, size: Size, save: Save, say: Callable[[str], None], peak: float
) -> Run:
    """Return a run whose blocks are compiled, in the plainest way to attend if the faster one fails."""
    ways: tuple[Way, ...] = (way, "padded", "masked", "written")
    for chosen in dict.fromkeys(ways):
        forcing = Forcing(pair, store, chosen, size, seed=0)
        forcing.net.compile_blocks()
        began = time.monotonic()
        try:
            for _ in range(2):
                forcing.loss(own=False).backward()
            for module in pair:
                module.zero_grad(set_to_none=True)
            say(f"compiled with attention {chosen} in {time.monotonic() - began:.1f} s")
            return Run(forcing, pair, save, peak, say)
        except Exception as error:
            say(f"attention {chosen} failed: {type(error).__name__}: {str(error)[:300]}")
    say("nothing compiles; going on without")
    return Run(Forcing(pair, store, "padded", size, seed=0), pair, save, peak, say)


def fastest_way(device: torch.device, rows: int, say: Callable[[str], None]) -> Way:
    """Time attention alone, forwards and backwards, in the ways that a GPU may take; one that fails is left out."""
    heads, width, tokens = CONFIG["num_attention_heads"], CONFIG["attention_head_dim"], 64
    layout = draw_layout(np.random.default_rng(0), rows, np.full(8, 3), np.full(8, -1)).to(device)
    sight = Sight.of(layout, tokens)

    def random(slots: int, latents: int) -> Tokens:
        shape = (rows, slots, latents * tokens, heads, width)
        made = [torch.randn(shape, device=device, dtype=torch.bfloat16, requires_grad=True) for _ in range(3)]
        return Tokens(*made)

    clean, noisy = random(PAST, 3), random(SLOTS, 3 + KNOT)
    times: dict[Way, float] = {}
    candidates: tuple[Way, ...] = ("padded", "masked")
    for way in candidates:
        try:
            for repeat in range(6):
                if repeat == 2:
                    torch.cuda.synchronize()
                    began = time.monotonic()
                a, b = attend(way, clean, noisy, sight)
                torch.autograd.grad(a.float().square().sum() + b.float().square().sum(), [*clean, *noisy])
            torch.cuda.synchronize()
            times[way] = (time.monotonic() - began) / 4
            say(f"attention {way}: {1000 * times[way]:.2f} ms a layer")
        except RuntimeError as error:
            say(f"attention {way} failed: {str(error)[:300]}")
    return min(times, key=lambda w: times[w]) if times else "written"


@torch.inference_mode()
def rendered_sheet(pair: Pair, codec: TinyCodec, chunks: int, device: torch.device) -> np.ndarray:
    """Draw frames of SHEET_PROMPTS, a row each, as the product does; RGB [6 * 128, 12 * 128, 3] uint8."""
    transformer, text = pair[0].eval(), pair[1].eval()
    config = replace(catalog.POCKET.rollout, anchor=AnchorPolicy.TRAILING)
    generator = Generator(config, transformer, text, codec)
    seeds = tuple(range(len(SHEET_PROMPTS)))
    state = generator.new_take(seeds, 256, 256)
    drawn = [generator.draw(state, [Prompt(SHEET_PROMPTS)] if i == 0 else []) for i in range(chunks)]
    latents = torch.cat(drawn, 2)
    rows = []
    for row in latents:
        frames = codec.decode_stream().decode(row[None])
        chosen = np.linspace(0, len(frames) - 1, 12).round().astype(int)
        rows.append(
            np.hstack([cv2.resize(frames[i].numpy(), (128, 128), interpolation=cv2.INTER_AREA) for i in chosen])
        )
    return np.vstack(rows)
