"""The generator: draws a take chunk by chunk. It is mechanism only; what changes lives in `TakeState`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from models import knot, sampler
from models.cache import AnchorPolicy, CacheShape, RingCache
from models.codecs.stream import CodecStream
from models.copies import copied
from models.cue import Cue, Cut, Hush, OnSwitch, Parameter, Prompt, Reference, Seed, SinkOnSwitch
from models.errors import UserError
from models.rollout_config import RolloutConfig
from models.rope import Rotation
from models.state import Blend, Snapshot, TakeState
from models.transformer import Cache, TextState, Transformer

TextEncoder = Callable[[list[str]], Tensor]  # prompts → embeddings [n, L, text_dim], padding zero
ImageEncoder = Callable[[Tensor], Tensor]  # RGB [1, H, W, 3] uint8 → one latent [1, C, 1, h, w]


class SizeError(UserError, ValueError):
    """A picture's size that a model cannot draw."""


class CueError(ValueError):
    """A cue that a model cannot land."""


class Generator:
    """A model that can roll out takes: transformer, text encoder and codec, with the way they are used."""

    def __init__(
        self,
        config: RolloutConfig,
        transformer: Transformer,
        encode_text: TextEncoder,
        new_stream: Callable[[], CodecStream],
        stride: int,
        encode_image: ImageEncoder | None = None,
    ) -> None:
        if config.reference and encode_image is None:
            raise ValueError("a model that stays true to an image needs an encoder for it")
        self.config, self.transformer = config, transformer
        self._encode_image = encode_image
        self._encode_text, self.new_stream = encode_text, new_stream
        self.stride = stride  # pixels of a frame that a latent cell stands for, across and down
        self._texts: dict[str | tuple[str, ...], TextState] = {}
        self.device, self.dtype = transformer.device, transformer.dtype
        self._masked = transformer.config.in_channels == transformer.config.out_channels + 1

    def with_config(self, config: RolloutConfig) -> Generator:
        """The same networks, rolled out in another way."""
        return Generator(config, self.transformer, self._encode_text, self.new_stream, self.stride, self._encode_image)

    def run_by(self, transformer: Transformer, new_stream: Callable[[], CodecStream] | None = None) -> Generator:
        """The same model, its steps (and its codec) run by another engine."""
        stream = new_stream or self.new_stream
        return Generator(self.config, transformer, self._encode_text, stream, self.stride, self._encode_image)

    @torch.inference_mode()
    def new_take(self, seed: int | tuple[int, ...], width: int, height: int) -> TakeState:
        """An empty take of width x height pixels; SizeError if that is not whole patches.

        Several seeds: as many takes that run in step, their latents in one batch.
        """
        seeds = (seed,) if isinstance(seed, int) else seed
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
            knot=c.knot,
            reference=c.reference,
            takes=len(seeds),
        )
        cache = RingCache(shape, c.anchor, self.device, self.dtype)
        return TakeState(cache, self.new_stream(), (width, height), seeds, c.on_switch, c.sink_on_switch)

    @torch.inference_mode()
    def text(self, prompt: str | tuple[str, ...]) -> TextState:
        """The prompt, encoded, or a batch of them; the last 16 are remembered."""
        if prompt not in self._texts:
            if len(self._texts) >= 16:
                del self._texts[next(iter(self._texts))]
            embeddings = self._encode_text([prompt] if isinstance(prompt, str) else list(prompt)).to(
                self.device, self.dtype
            )
            self._texts[prompt] = self.transformer.embed_text(embeddings)
        return self._texts[prompt]

    # -- a chunk -------------------------------------------------------------------------------------------------

    @torch.inference_mode()
    def draw(
        self,
        state: TakeState,
        cues: Sequence[Cue] = (),
        drive: Tensor | None = None,
        before_step: Callable[[], None] = lambda: None,
    ) -> Tensor:
        """Land the cues and draw the next chunk: clean latents [takes, C, chunk, h, w] float32, ready to be decoded.

        `drive` [takes, chunk + knot, T, features] moves it, where the model can be driven. What `before_step` raises
        gives the chunk up; the state is then good for nothing, and a snapshot goes on.
        """
        self.land(state, cues)
        if state.text is None:
            raise CueError("a take needs a prompt before its first chunk")
        if self.config.reference and state.cache.reference is None:
            raise CueError("this model needs an image to stay true to before its first chunk")
        if (drive is None) is not (self.transformer.drive is None):
            raise CueError("a model that is driven needs a drive for every chunk, and no other can have one")
        chunk = self.config.chunk
        x = self.denoised(state, state.text, state.cache.begin(state.index), state.cache, drive, None, before_step)
        state.cache.end()
        x, state.disagreement = self.tied(state, x)
        x, state.knot = x[:, :, :chunk], x[:, :, chunk:] if self.config.knot else None
        held = self.config.window // chunk
        state.recent = [*state.recent, x][-held:]
        state.driven = [] if drive is None else [*state.driven, drive[:, :chunk]][-held:]
        state.index += chunk
        state.pending = True
        return x

    @torch.inference_mode()
    def land(self, state: TakeState, cues: Sequence[Cue] = ()) -> None:
        """Apply the cues and bring the cache up to the newest chunk, under the prompt that now holds.

        A pending commit runs first, under the prompt and the settings that its chunk was drawn with, unless the cues
        make it useless: its keys and values are then the same whether it ran at once or only now.
        """
        if not self.replaces_commit(state, cues):
            self.commit(state)
        if self._land(state, cues):
            self._switch(state)
        for cue in cues:
            if isinstance(cue, Reference):
                self._refer(state, cue)

    def replaces_commit(self, state: TakeState, cues: Sequence[Cue]) -> bool:
        """Return whether these cues, if they land on the next chunk, recompute or drop what a commit would write now."""
        if any(isinstance(cue, Cut) for cue in cues):
            return True
        asked = [cue.value for cue in cues if isinstance(cue, Parameter) and cue.name == "on_switch"]
        on_switch = OnSwitch(asked[-1]) if asked else state.on_switch
        prompts = any(isinstance(cue, Prompt) and cue.text != state.prompt for cue in cues)
        return on_switch in (OnSwitch.RECACHE, OnSwitch.CLEAR) and (prompts or state.blend is not None)

    def denoised(
        self,
        state: TakeState,
        text: TextState,
        rotation: Rotation,
        cache: Cache,
        drive: Tensor | None = None,
        steps: int | None = None,
        before_step: Callable[[], None] = lambda: None,
    ) -> Tensor:
        """The next chunk and its knot after the first `steps` steps of the schedule, [takes, C, chunk + knot, h, w].

        Where gradients are asked for, only the last of these steps carries them.
        """
        sigmas, gradients = self.config.schedule.sigmas[:steps], torch.is_grad_enabled()
        x = noise = self.noise(state, 0)
        for step, sigma in enumerate(sigmas, 1):
            before_step()
            if state.knot is not None:
                x = knot.pinned(x, state.knot, noise, 0.0 if self._masked else sigma)
            timestep = torch.tensor([1000 * sigma], device=self.device)
            with torch.set_grad_enabled(gradients and step == len(sigmas)):
                given = 0 if state.knot is None else state.knot.shape[2]
                prediction = self.transformer(self._told(x, given), timestep, text, rotation, cache, drive=drive)
                x = sampler.predicted_x0(x, prediction, sigma, self.config.prediction)
            if step < len(sigmas):
                noise = self.noise(state, step)
                x = sampler.renoised(x, noise, sigmas[step])
        return x

    def tied(self, state: TakeState, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """A denoised chunk, its first latents fused with the knot that it started from, and how far these were apart."""
        if state.knot is None:
            return x, None
        held = state.knot.clone()  # an ordinary tensor where gradients pass, though it was made where none did
        return knot.tied(x, held, self.config.fusion or knot.ramp(held.shape[2]))

    def _told(self, x: Tensor, given: int) -> Tensor:
        """Latents in the network's precision, and to a model with a mask channel which of them, from the first, are given."""
        if self._masked:
            mask = torch.zeros_like(x[:, :1])
            mask[:, :, :given] = 1
            x = torch.cat([x, mask], 1)
        return x.to(self.dtype)

    def noise(self, state: TakeState, step: int) -> Tensor:
        """Noise of the next chunk and its knot, [takes, C, chunk + knot, h, w]."""
        config, (width, height) = self.config, state.size
        chunk, cells = state.index // config.chunk, (height // self.stride, width // self.stride)
        shape = (1, self.transformer.config.out_channels, config.chunk, *cells)
        noise = torch.cat([sampler.noise(seed, chunk, step, shape, self.device) for seed in state.seeds])
        if not config.knot:
            return noise
        shape = (*shape[:2], config.knot, *cells)
        ahead = [sampler.noise(seed, chunk, step, shape, self.device, knot=True) for seed in state.seeds]
        return torch.cat([noise, torch.cat(ahead)], 2)

    @torch.inference_mode()
    def commit(self, state: TakeState) -> None:
        """The clean pass over the newest chunk; its keys and values become part of the past."""
        if not state.pending:
            return
        rotation = state.cache.begin(state.index - self.config.chunk, clean=True)
        self._clean_pass(state, 1, rotation)
        state.pending = False

    def _clean_pass(self, state: TakeState, chunks: int, rotation: Rotation) -> None:
        """A pass at t = 0 over the newest chunks."""
        latents = torch.cat(state.recent[-chunks:], 2)
        drive = torch.cat(state.driven[-chunks:], 1) if state.driven else None
        self._remember(state, latents, rotation, drive)

    def _remember(self, state: TakeState, latents: Tensor, rotation: Rotation, drive: Tensor | None) -> None:
        assert state.text is not None, "a clean pass before the first prompt"
        timestep = torch.zeros(1, device=self.device)
        told = self._told(latents, latents.shape[2])
        self.transformer(told, timestep, state.text, rotation, state.cache, drive=drive, head=False)
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
                    state.recent, state.driven, state.pending, state.knot = [], [], False, None
                case Hush():
                    state.knot = None
                case Seed(seed):
                    state.seeds = (seed,) * len(state.seeds)
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
                pass
            case OnSwitch.FLUSH:
                state.cache.keep_newest()
            case OnSwitch.CLEAR:
                state.cache.clear(state.index)
                state.recent, state.driven, state.pending = [], [], False

    def _recache(self, state: TakeState) -> None:
        """One bidirectional clean pass over what is visible, instead of the pending commit (LongLive, 2509.22622)."""
        window, sink = self.config.window, self.config.sink
        drawn = state.index - state.cache.origin
        if drawn <= window:
            latents, into_sink = drawn, sink > 0
        elif state.sink_on_switch is SinkOnSwitch.REANCHOR and sink:
            latents, into_sink = window, True
        else:
            latents, into_sink = window - sink, False
        rotation = state.cache.begin_recache(state.index - latents, latents, into_sink=into_sink)
        self._clean_pass(state, latents // self.config.chunk, rotation)
        state.pending = False

    def _refer(self, state: TakeState, image: Reference) -> None:
        if self.config.reference is None or self._encode_image is None:
            raise CueError("this model stays true to no image; pocket-avatar does")
        if (image.width, image.height) != state.size:
            raise CueError(
                f"the image is {image.width}x{image.height}, the take {state.size[0]}x{state.size[1]}: scale the image"
            )
        pixels = torch.frombuffer(bytearray(image.pixels), dtype=torch.uint8).to(self.device)
        images = pixels.view(-1, 1, image.height, image.width, 3)
        if len(images) not in (1, len(state.seeds)):
            raise CueError(f"{len(images)} images for {len(state.seeds)} takes: give one, or one for each")
        latent = torch.cat([self._encode_image(i) for i in images]).to(self.device)
        self.stay_true(state, latent.expand(len(state.seeds), -1, -1, -1, -1))

    @torch.inference_mode()
    def stay_true(self, state: TakeState, latent: Tensor) -> None:
        """To an image, given as the latent [takes, C, 1, h, w] that it is when it is held for four frames.

        Its keys and values are made at t = 0, seeing nothing else. A knot made towards another image goes; a take begins
        as the image: it is given to the first chunk, as a knot is to the others.
        """
        self._remember(state, latent, state.cache.begin_reference(), None)
        state.knot = None if state.index else latent.repeat(1, 1, max(1, self.config.knot), 1, 1)

    # -- snapshots -----------------------------------------------------------------------------------------------

    @torch.inference_mode()
    def snapshot(self, state: TakeState) -> Snapshot:
        """The take as it is; what earlier snapshots hold is shared."""
        for newest in (state.recent, state.driven):
            newest[-1:] = copied(newest[-1:])
        if state.knot is not None:
            [state.knot] = copied([state.knot])
        return Snapshot(
            cache=state.cache.snapshot(),
            codec=state.codec.snapshot(),
            size=state.size,
            seeds=state.seeds,
            on_switch=state.on_switch,
            sink_on_switch=state.sink_on_switch,
            anchor=state.cache.policy,
            prompt=state.prompt,
            text=state.text,
            blend=state.blend,
            index=state.index,
            recent=tuple(state.recent),
            driven=tuple(state.driven),
            knot=state.knot,
            pending=state.pending,
        )

    @torch.inference_mode()
    def restore(self, snapshot: Snapshot) -> TakeState:
        """A new take that goes on from the snapshot: a rewind, a branch or a fork."""
        state = self.new_take(snapshot.seeds, *snapshot.size)
        state.cache.policy = snapshot.anchor
        state.cache.restore(snapshot.cache)
        state.codec.restore(snapshot.codec)
        state.on_switch, state.sink_on_switch = snapshot.on_switch, snapshot.sink_on_switch
        state.prompt, state.text, state.blend = snapshot.prompt, snapshot.text, snapshot.blend
        state.index, state.recent, state.pending = snapshot.index, list(snapshot.recent), snapshot.pending
        state.knot, state.driven = snapshot.knot, list(snapshot.driven)
        return state
