"""The generator: draws a take chunk by chunk. It is mechanism only; what changes lives in `TakeState`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from models import sampler
from models.cache import AnchorPolicy, CacheShape, RingCache
from models.codecs.stream import CodecStream
from models.cue import Cue, Cut, OnSwitch, Parameter, Prompt, Seed, SinkOnSwitch
from models.rope import Rotation
from models.sampler import Prediction, Schedule
from models.state import Blend, Snapshot, TakeState
from models.transformer import TextState, Transformer

TextEncoder = Callable[[list[str]], Tensor]  # prompts → embeddings [n, L, text_dim], padding zero


@dataclass(frozen=True)
class RolloutConfig:
    """How a model rolls out; sizes in latents."""

    chunk: int
    window: int
    sink: int
    schedule: Schedule
    prediction: Prediction
    anchor: AnchorPolicy
    on_switch: OnSwitch = OnSwitch.RECACHE
    sink_on_switch: SinkOnSwitch = SinkOnSwitch.KEEP


class SizeError(ValueError):
    """A picture's size that a model cannot draw."""


class Generator:
    """A model that can roll out takes: transformer, text encoder and codec, with the way they are used."""

    def __init__(
        self,
        config: RolloutConfig,
        transformer: Transformer,
        encode_text: TextEncoder,
        new_stream: Callable[[], CodecStream],
        stride: int,
    ) -> None:
        self.config, self.transformer = config, transformer
        self._encode_text, self.new_stream = encode_text, new_stream
        self.stride = stride  # pixels of a frame that a latent cell stands for, across and down
        self._texts: dict[str, TextState] = {}
        self.device, self.dtype = transformer.device, transformer.dtype

    def with_config(self, config: RolloutConfig) -> Generator:
        """The same networks, rolled out in another way."""
        return Generator(config, self.transformer, self._encode_text, self.new_stream, self.stride)

    def run_by(self, transformer: Transformer, new_stream: Callable[[], CodecStream] | None = None) -> Generator:
        """The same model, its steps (and its codec) run by another engine."""
        return Generator(self.config, transformer, self._encode_text, new_stream or self.new_stream, self.stride)

    @torch.inference_mode()
    def new_take(self, seed: int, width: int, height: int) -> TakeState:
        """An empty take of width x height pixels; SizeError if that is not whole patches."""
        c, t = self.config, self.transformer.config
        _, ph, pw = t.patch_size
        if width % (self.stride * pw) or height % (self.stride * ph) or min(width, height) <= 0:
            raise SizeError(f"size {width}x{height} is not a multiple of {self.stride * pw}x{self.stride * ph}")
        rows, columns = height // (self.stride * ph), width // (self.stride * pw)
        shape = CacheShape(
            layers=t.num_layers,
            heads=t.num_attention_heads,
            head_dim=t.attention_head_dim,
            rows=rows,
            columns=columns,
            chunk=c.chunk,
            window=c.window,
            sink=c.sink,
        )
        cache = RingCache(shape, c.anchor, self.device, self.dtype)
        return TakeState(cache, self.new_stream(), (width, height), seed, c.on_switch, c.sink_on_switch)

    @torch.inference_mode()
    def text(self, prompt: str) -> TextState:
        """The prompt, encoded; the last 16 are remembered."""
        if prompt not in self._texts:
            if len(self._texts) >= 16:
                del self._texts[next(iter(self._texts))]
            embeddings = self._encode_text([prompt]).to(self.device, self.dtype)
            self._texts[prompt] = self.transformer.embed_text(embeddings)
        return self._texts[prompt]

    # -- a chunk -------------------------------------------------------------------------------------------------

    @torch.inference_mode()
    def draw(self, state: TakeState, cues: Sequence[Cue] = ()) -> Tensor:
        """Land the cues and draw the next chunk: clean latents [1, C, chunk, h, w] float32, ready to be decoded."""
        if self._land(state, cues):
            self._switch(state)
        elif state.pending:
            self.commit(state)
        if state.text is None:
            raise ValueError("a take needs a prompt before its first chunk")
        config, (width, height) = self.config, state.size
        cells = height // self.stride, width // self.stride
        shape = (1, self.transformer.config.in_channels, config.chunk, *cells)
        chunk, sigmas = state.index // config.chunk, config.schedule.sigmas
        rotation = state.cache.begin(state.index)
        x = sampler.noise(state.seed, chunk, 0, shape, self.device)
        for step, sigma in enumerate(sigmas, 1):
            timestep = torch.tensor([1000 * sigma], device=self.device)
            prediction = self.transformer(x.to(self.dtype), timestep, state.text, rotation, state.cache)
            x = sampler.predicted_x0(x, prediction, sigma, config.prediction)
            if step < len(sigmas):
                x = sampler.renoised(x, sampler.noise(state.seed, chunk, step, shape, self.device), sigmas[step])
        state.cache.end()
        state.recent = [*state.recent, x][-(config.window // config.chunk) :]
        state.index += config.chunk
        state.pending = True
        return x

    @torch.inference_mode()
    def commit(self, state: TakeState) -> None:
        """The clean pass over the newest chunk; its keys and values become part of the past."""
        if not state.pending:
            return
        rotation = state.cache.begin(state.index - self.config.chunk, clean=True)
        self._clean_pass(state, state.recent[-1], rotation)
        state.pending = False

    def _clean_pass(self, state: TakeState, latents: Tensor, rotation: Rotation) -> None:
        assert state.text is not None, "a clean pass before the first prompt"
        timestep = torch.zeros(1, device=self.device)
        self.transformer(latents.to(self.dtype), timestep, state.text, rotation, state.cache, head=False)
        state.cache.end()

    # -- cues ----------------------------------------------------------------------------------------------------

    def _land(self, state: TakeState, cues: Sequence[Cue]) -> bool:
        """Apply the cues to the state; True if what the cache holds was made under another prompt."""
        changed = False
        for cue in cues:
            match cue:
                case Prompt(text) if text == state.prompt and state.blend is None:
                    pass
                case Prompt(text, blend):
                    goal = self.text(text)
                    if state.text is not None and state.recent and blend > 1:
                        state.blend = Blend(state.text.embeddings, goal.embeddings, blend)
                    else:
                        state.blend, state.text = None, goal
                    state.prompt, changed = text, True
                case Cut():
                    state.cache.clear(state.index)
                    state.codec.reset(hold=state.index > 0)
                    state.recent, state.pending = [], False
                case Seed(seed):
                    state.seed = seed
                case Parameter("on_switch", value):
                    state.on_switch = OnSwitch(value)
                case Parameter("sink_on_switch", value):
                    state.sink_on_switch = SinkOnSwitch(value)
                case Parameter("anchor", value):
                    state.cache.policy = AnchorPolicy(value)
        if state.blend is not None:
            moved = replace(state.blend, done=state.blend.done + 1)
            mixed = torch.lerp(moved.start, moved.goal, moved.done / moved.chunks)
            state.text, changed = self.transformer.embed_text(mixed), True
            state.blend = moved if moved.done < moved.chunks else None
        return changed and bool(state.recent)

    def _switch(self, state: TakeState) -> None:
        """Bring the cache under the new prompt, in the way that `on_switch` says."""
        match state.on_switch:
            case OnSwitch.RECACHE:
                self._recache(state)
            case OnSwitch.NONE:
                self.commit(state)
            case OnSwitch.FLUSH:
                self.commit(state)
                state.cache.keep_newest()
            case OnSwitch.CLEAR:
                state.cache.clear(state.index)
                state.recent, state.pending = [], False

    def _recache(self, state: TakeState) -> None:
        """One bidirectional clean pass over what is visible, instead of the pending commit (LongLive, 2509.22622 §3.1)."""
        window, sink = self.config.window, self.config.sink
        drawn = state.index - state.cache.origin
        if drawn <= window:
            latents, into_sink = drawn, sink > 0
        elif state.sink_on_switch is SinkOnSwitch.REANCHOR and sink:
            latents, into_sink = window, True
        else:
            latents, into_sink = window - sink, False
        rotation = state.cache.begin_recache(state.index - latents, latents, into_sink=into_sink)
        self._clean_pass(state, torch.cat(state.recent[-(latents // self.config.chunk) :], 2), rotation)
        state.pending = False

    # -- snapshots -----------------------------------------------------------------------------------------------

    @torch.inference_mode()
    def snapshot(self, state: TakeState) -> Snapshot:
        """The take as it is; what earlier snapshots hold is shared."""
        return Snapshot(
            cache=state.cache.snapshot(),
            codec=state.codec.snapshot(),
            size=state.size,
            seed=state.seed,
            on_switch=state.on_switch,
            sink_on_switch=state.sink_on_switch,
            anchor=state.cache.policy,
            prompt=state.prompt,
            text=state.text,
            blend=state.blend,
            index=state.index,
            recent=tuple(state.recent),
            pending=state.pending,
        )

    @torch.inference_mode()
    def restore(self, snapshot: Snapshot) -> TakeState:
        """A new take that goes on from the snapshot: a rewind, a branch or a fork."""
        state = self.new_take(snapshot.seed, *snapshot.size)
        state.cache.policy = snapshot.anchor
        state.cache.restore(snapshot.cache)
        state.codec.restore(snapshot.codec)
        state.on_switch, state.sink_on_switch = snapshot.on_switch, snapshot.sink_on_switch
        state.prompt, state.text, state.blend = snapshot.prompt, snapshot.text, snapshot.blend
        state.index, state.recent, state.pending = snapshot.index, list(snapshot.recent), snapshot.pending
        return state
