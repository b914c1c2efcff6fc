"""Measure whole chunks of a model with random weights: phases, waits of the host, compiled code, graphs, switches."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from app.attention_choice import prefer_fastest
from app.device_check.sizes import Goal, Size, Sizes
from app.device_check.timing import Figures, milliseconds, relative_error, seconds, tried, wait
from models.catalog_entry import Entry
from models.checkpoints.assemble import USUAL_WORDS, Model, random_model
from models.cue import Cue, Cut, LoraScale, Prompt
from models.generator import Generator
from models.lora import LowRank, MergedLoras
from models.noise import Noise
from models.state import TakeState
from models.transformer import CausalWanTransformer

PROMPT = "a red ball bounces by day"
PHASES = ("draw", "decode", "clean pass")


def built(entry: Entry, device: torch.device, dtype: torch.dtype = torch.bfloat16) -> Model:
    """Return a model with random weights, its attention by the kernel that is fastest here."""
    prefer_fastest(entry, device, dtype)
    return random_model(entry, device, dtype)


class Running:
    """Roll out one take chunk by chunk, as sessions and renders do it, and time its parts."""

    def __init__(self, model: Model, size: Size) -> None:
        """Begin a take with pictures of `size` (width, height)."""
        self.model, self.device = model, model.generator.device
        self.state: TakeState = model.generator.new_take(0, *size, Noise.PHILOX)  # as takes are
        self.first_frame = seconds(lambda: self.chunk([Prompt(PROMPT)]), self.device)  # kernels are set up meanwhile

    def chunk(self, cues: list[Cue] | None = None) -> Tensor:
        """Draw, decode and commit a chunk; return its frames."""
        generator = self.model.generator
        frames = self.state.codec.decode(generator.draw(self.state, cues or []))
        generator.commit(self.state)
        return frames

    def fill(self) -> None:
        """Draw until the window is full, and one chunk more."""
        while self.state.index <= self.model.entry.rollout.window:
            self.chunk()

    def phases(self) -> dict[str, float]:
        """Return the milliseconds of each phase of a chunk, each waited for."""
        generator, latents = self.model.generator, list[Tensor]()
        work: dict[str, Callable[[], object]] = {
            "draw": lambda: latents.append(generator.draw(self.state)),
            "decode": lambda: self.state.codec.decode(latents[0]),
            "clean pass": lambda: generator.commit(self.state),
        }
        return {name: 1000 * seconds(work[name], self.device) for name in PHASES}

    def fps(self, chunks: int) -> float:
        """Return the frames a second of so many chunks, nothing waited for but the frames."""
        frames = chunks * self.model.entry.rollout.grid.frames
        return frames / seconds(lambda: [self.chunk() for _ in range(chunks)], self.device)


def chunk(sizes: Sizes, device: torch.device) -> Figures:
    """Time the main model's chunk in eager torch: its phases, frames a second, waits of the host, largest kernels."""
    run = Running(built(sizes.main.entry, device), sizes.main.size)
    run.fill()
    times = [run.phases() for _ in range(sizes.chunks)]
    median = {name: round(sorted(t[name] for t in times)[len(times) // 2], 3) for name in PHASES}
    return {
        "first frame ms": round(1000 * run.first_frame, 1),
        "ms": median,
        "fps": round(run.fps(sizes.chunks), 2),
        "goal": sizes.main.fps,
        "waits of the host in a chunk": tried(partial(_waits, run)),
        "largest kernels": tried(partial(_largest_kernels, run)),
    }


def _waits(run: Running) -> list[str] | str:
    """Return the places where the host waits for the device while a chunk is drawn and committed."""
    if run.device.type != "cuda":
        return "counted on CUDA alone"
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            run.model.generator.draw(run.state)
            run.model.generator.commit(run.state)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return [f"{w.filename.rpartition('/')[2]}:{w.lineno}" for w in caught]


def _largest_kernels(run: Running) -> dict[str, float]:
    """Return the 20 kernels that take most of a chunk, in milliseconds."""
    activity = torch.profiler.ProfilerActivity
    cuda = run.device.type == "cuda"
    with torch.profiler.profile(activities=[activity.CUDA if cuda else activity.CPU]) as profile:
        run.chunk()
        wait(run.device)
    events = profile.key_averages()
    times = {e.key[:80]: (e.self_device_time_total if cuda else e.self_cpu_time_total) / 1000 for e in events}
    return {name: round(ms, 3) for name, ms in sorted(times.items(), key=lambda item: -item[1])[:20]}


def compiled(sizes: Sizes, device: torch.device) -> Figures:
    """Time the main model's chunk with compiled blocks, and count what is compiled anew once the window is full."""
    from torch._dynamo.utils import counters

    model = built(sizes.main.entry, device)
    network = network_of(model.generator)
    network.compile_blocks()
    run = Running(model, sizes.main.size)
    warm = seconds(run.fill, device)
    before = int(counters["stats"]["unique_graphs"])
    fps = run.fps(sizes.chunks)
    run.chunk([Prompt("a blue ball circles at night")])
    run.chunk([Cut()])
    return {
        "compile and fill the window s": round(run.first_frame + warm, 1),
        "fps": round(fps, 2),
        "goal": sizes.main.fps,
        "graphs": before,
        "compiled anew in the steady state": int(counters["stats"]["unique_graphs"]) - before,
    }


def offloaded(sizes: Sizes, device: torch.device) -> Figures:
    """Time the main model's chunk with its blocks in the host's memory, and compare its first latents."""
    entry, size = sizes.main.entry, sizes.main.size
    exact = first_latents(built(entry, device), size)
    held = torch.cuda.memory_allocated(device) if device.type == "cuda" else 0
    model = random_model(entry, device, torch.bfloat16, offloaded=True)
    error = relative_error(first_latents(model, size), exact)
    run = Running(model, size)
    run.fill()
    return {
        "fps": round(run.fps(sizes.chunks), 2),
        "error": error,
        "lies there GB": round((torch.cuda.memory_allocated(device) - held) / 1e9, 2) if held else "counted on CUDA",
    }


def correctness(sizes: Sizes, device: torch.device) -> Figures:
    """Compare small takes of two layers: this device with the CPU, bfloat16 with float32, and two runs of one."""
    entry = replace(sizes.main.entry, transformer=sizes.main.entry.transformer | {"num_layers": 2})
    small = sizes.main.size if sizes.dry else (192, 128)

    def latents(where: torch.device, dtype: torch.dtype) -> Tensor:
        model = random_model(entry, torch.device("cpu"), torch.float32)
        network_of(model.generator).to(where, dtype)
        moved = Generator(entry.rollout, network_of(model.generator), _words(entry), model.generator.codec.to(where))  # type: ignore[attr-defined]
        state = moved.new_take(0, *small)
        drawn = []
        for number in range(4):
            drawn.append(moved.draw(state, [Prompt(PROMPT)] if number == 0 else []).float().cpu())
            moved.commit(state)
        return torch.cat(drawn, 2)

    cpu = latents(torch.device("cpu"), torch.float32)
    here, again = latents(device, torch.float32), latents(device, torch.float32)
    lower = latents(device, torch.bfloat16)
    return {
        "float32 here against the CPU": relative_error(here, cpu),
        "bf16 against float32 here": relative_error(lower, here),
        "two runs in float32 are the same": bool(torch.equal(here, again)),
        "two runs in bf16 are the same": bool(torch.equal(lower, latents(device, torch.bfloat16))),
        "latents are finite": bool(lower.isfinite().all()),
    }


def _words(entry: Entry) -> Callable[[list[str]], Tensor]:
    embedded = torch.randn(1, 512, entry.transformer["text_dim"], generator=torch.Generator().manual_seed(1))
    embedded[:, USUAL_WORDS:] = 0  # padding, most of which a pass leaves out
    return lambda prompts: embedded


def graph(sizes: Sizes, device: torch.device) -> Figures:
    """Time one step of a full window as a CUDA graph and without, and compare what they predict."""
    if device.type != "cuda":
        return {"left out": "there are no CUDA graphs on a CPU"}
    found: Figures = {}
    for goal in (sizes.main, *sizes.others[:1]):
        found[f"{goal.size[0]}x{goal.size[1]}"] = tried(partial(_graph, goal, sizes, device))
    return found


@torch.inference_mode()
def _graph(goal: Goal, sizes: Sizes, device: torch.device) -> dict[str, float]:
    model = built(goal.entry, device)
    run, network = Running(model, goal.size), network_of(model.generator)
    run.fill()
    state, text = run.state, run.state.text
    assert text is not None, "a take that was drawn has a prompt"
    rotation = state.cache.begin(state.index, goal.entry.rollout.chunk)
    latents = model.generator.noise(state, 0).to(network.dtype)
    timestep = torch.full((1,), 500.0, device=device)

    def step() -> Tensor:
        predicted = network(latents, timestep, text, rotation, state.cache)
        assert predicted is not None, "a pass with a head predicts"
        return predicted

    eager, plain = milliseconds(step, device, sizes.warm, sizes.calls), step().clone()
    side = torch.cuda.Stream(device)
    side.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(side):
        step()
    torch.cuda.current_stream(device).wait_stream(side)
    captured = torch.cuda.CUDAGraph()
    with torch.cuda.graph(captured):
        out = step()
    replayed = milliseconds(captured.replay, device, sizes.warm, sizes.calls)
    state.cache.end()
    return {"ms": eager, "graph ms": replayed, "error": relative_error(out, plain)}


def switches(sizes: Sizes, device: torch.device) -> Figures:
    """Time what a person waits for beside a plain chunk: a prompt, a cut, other LoRA scales."""
    model = built(sizes.main.entry, device)
    network = network_of(model.generator)
    loras = MergedLoras(network)
    changes = []
    for name, parameter in network.named_parameters():
        if "attn1.to_" in name and name.endswith("weight"):
            out, wide = parameter.shape
            rank = min(64, wide)
            down, up = torch.randn(rank, wide), torch.randn(out, rank)
            changes.append(LowRank(name, down=down, up=up, scale=1e-6))
    loras.add("style", "random", changes)
    generator = Generator(
        sizes.main.entry.rollout, network, _words(sizes.main.entry), model.generator.codec, loras=loras
    )
    run = Running(replace(model, generator=generator), sizes.main.size)
    run.fill()
    ways: dict[str, list[Cue]] = {
        "nothing new": [],
        "a prompt": [Prompt("a blue ball circles at night")],
        "LoRAs at other scales": [LoraScale("style", 0.5)],
        "a cut": [Cut()],
    }
    found: Figures = {}
    for name, cues in ways.items():
        found[f"{name}: first frames ms"] = round(1000 * seconds(lambda cues=cues: run.chunk(cues), device), 1)  # type: ignore[misc]
        run.fill()
        run.chunk()
    return found


def others(sizes: Sizes, device: torch.device) -> Figures:
    """Time chunks of other sizes and models, and one pass of the largest, which lies on the device alone."""
    found: Figures = {}
    for goal in sizes.others:
        name = f"{goal.entry.name}, {goal.size[0]}x{goal.size[1]}"
        found[name] = tried(partial(_of_goal, goal, sizes, device))
        if device.type == "cuda":
            torch.cuda.empty_cache()
    found[f"{sizes.large.name}, a first chunk"] = tried(partial(_first_chunk, sizes, device))
    return found


def _of_goal(goal: Goal, sizes: Sizes, device: torch.device) -> dict[str, float]:
    run = Running(built(goal.entry, device), goal.size)
    run.fill()
    return {"fps": round(run.fps(max(2, sizes.chunks // 2)), 2), "goal": goal.fps}


def _first_chunk(sizes: Sizes, device: torch.device) -> dict[str, float]:
    run = Running(built(sizes.large.with_codec("tae"), device), sizes.main.size)
    return {
        "first frame ms": round(1000 * run.first_frame, 1),
        "next chunk ms": round(1000 * seconds(run.chunk, device)),
    }


def network_of(generator: Generator) -> CausalWanTransformer:
    """Return the torch network of a generator."""
    network = generator.transformer
    assert isinstance(network, CausalWanTransformer), "the device check runs models in torch"
    return network


def first_latents(model: Model, size: Size) -> Tensor:
    """Return the latents of a take's first chunk, float32."""
    return model.generator.draw(model.generator.new_take(0, *size), [Prompt(PROMPT)]).float()


def memory(sizes: Sizes, device: torch.device) -> Figures:
    """Compare the memory that a plan foresees with what torch has on the device, weights and keys, and at the peak."""
    from models.checkpoints.memory_plan import planned

    if device.type != "cuda":
        return {"left out": "memory is counted on CUDA alone; the plans are tested against counted bytes"}
    found: Figures = {}
    for goal in (sizes.main, *sizes.others):
        torch.cuda.empty_cache()
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        entry = replace(goal.entry, size=goal.size)
        run = Running(built(entry, device), goal.size)
        run.fill()
        plan = planned(entry, float("inf"), 2)
        held, peak = torch.cuda.memory_allocated(device) - before, torch.cuda.max_memory_allocated(device) - before
        without_text = plan.total - plan.parts.text_encoder
        found[f"{entry.name}, {goal.size[0]}x{goal.size[1]}"] = {
            "planned GB": round(without_text / 1e9, 2),
            "peak GB": round(peak / 1e9, 2),
            "planned to lie there GB": round((without_text - plan.working) / 1e9, 2),
            "lies there GB": round(held / 1e9, 2),
        }
        del run
    return found
