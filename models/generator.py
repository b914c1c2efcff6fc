"""Draw a take chunk by chunk: mechanism only, as everything that changes during a take lives in `TakeState`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from models import knot, sampler
from models.cache import REFERENCE, RingCache
from models.cache_protocol import EngineCache
from models.cache_shape import AnchorPolicy, CacheShape
from models.codecs.codec import Codec
from models.codecs.stream import Decoder, DecodeStream
from models.cue import Cue, Cut, Hush, Invalidates, OnSwitch, Parameter, Prompt, Reference, Seed, SinkOnSwitch
from models.errors import UserError
from models.rollout_config import RolloutConfig
from models.rope import Rotation
from models.sampler import Schedule
from models.state import Blend, Snapshot, TakeState
from models.tensor_copies import copied
from models.transformer import TextState, Transformer

REMEMBERED_PROMPTS = 16

TextEncoder = Callable[[list[str]], Tensor]  # prompts → embeddings [n, L, text_dim], padding zero


class SizeError(UserError, ValueError):
    """Report a size of picture that a model cannot draw."""


class CueError(ValueError):
    """Report a cue that a model cannot follow."""


class Generator:
    """Roll out takes: transformer, text encoder and codec, with the way they are used."""

    def __init__(
        self,
        config: RolloutConfig,
        transformer: Transformer,
        encode_text: TextEncoder,
        codec: Codec,
        decoder: Decoder | None = None,
    ) -> None:
        """Put the networks together; `decoder` stands for the codec's own, where an engine runs it."""
        self.config, self.transformer, self.codec = config, transformer, codec
        self._encode_text, self._decoder = encode_text, decoder or codec
        self.stride = codec.stride
        self._texts: dict[str | tuple[str, ...], TextState] = {}
        self.device, self.dtype = transformer.device, transformer.dtype
        self._masked = transformer.config.in_channels == transformer.config.out_channels + 1

    def with_config(self, config: RolloutConfig) -> Generator:
        """Return the same networks, rolled out in another way."""
        return Generator(config, self.transformer, self._encode_text, self.codec, self._decoder)

    def run_by(self, transformer: Transformer, decoder: Decoder | None = None) -> Generator:
        """Return the same model, its steps (and the decoding of its codec) run by another engine."""
        return Generator(self.config, transformer, self._encode_text, self.codec, decoder or self._decoder)

    def new_stream(self) -> DecodeStream:
        """Return a new stream from latents to frames."""
        return DecodeStream(self._decoder)

    @torch.inference_mode()
    def new_take(self, seed: int | tuple[int, ...], width: int, height: int) -> TakeState:
        """Return an empty take of width x height pixels; SizeError if that is not whole patches.

        Several seeds give as many takes that run in step, their latents in one batch.
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
            grid=c.grid,
            window=c.window,
            sink=c.sink,
            knot=c.knot,
            reference=c.reference,
            batch=len(seeds),
        )
        cache = RingCache(shape, c.anchor, self.device, self.dtype)
        return TakeState(
            cache=cache,
            codec=self.new_stream(),
            size=(width, height),
            seeds=seeds,
            on_switch=c.on_switch,
            sink_on_switch=c.sink_on_switch,
        )

    @torch.inference_mode()
    def text(self, prompt: str | tuple[str, ...]) -> TextState:
        """Return the prompt, or a batch of them, encoded; the REMEMBERED_PROMPTS used last are remembered."""
        known = self._texts.pop(prompt, None)
        if known is None:
            prompts = [prompt] if isinstance(prompt, str) else list(prompt)
            known = self.transformer.embed_text(self._encode_text(prompts).to(self.device, self.dtype))
        self._texts[prompt] = known  # the newest is last
        if len(self._texts) > REMEMBERED_PROMPTS:
            del self._texts[next(iter(self._texts))]
        return known

    # -- a chunk -------------------------------------------------------------------------------------------------

    @torch.inference_mode()
    def draw(
        self,
        state: TakeState,
        cues: Sequence[Cue] = (),
        drive: Tensor | None = None,
        before_step: Callable[[], None] = lambda: None,
    ) -> Tensor:
        """Apply the cues and draw the next chunk: clean latents [batch, C, chunk, h, w] float32, ready to be decoded.

        `drive` [batch, chunk + knot, T, features] moves it, in a model that is driven. An exception from `before_step`
        gives the chunk up; the state is then good for nothing, and the take goes on from a snapshot.
        """
        self.apply_cues(state, cues)
        if state.text is None:
            raise CueError("a take needs a prompt before its first chunk")
        if self.config.reference and REFERENCE not in state.cache.anchors:
            raise CueError("this model needs an image to stay true to before its first chunk")
        self._check_drive(drive)
        n = self.config.grid.length(state.index)
        x = self.denoise(state, state.text, state.cache.begin(state.index, n), state.cache, drive, None, before_step)
        state.cache.end()
        x, state.disagreement = self.fuse_knot(state, x)
        x, state.knot = x[:, :, :n], x[:, :, n:] if self.config.knot else None
        self._append(state, x, drive)
        state.pending = True
        return x

    @torch.inference_mode()
    def prefill(self, state: TakeState, latents: Tensor, drive: Tensor | None = None) -> None:
        """Begin a take with clean latents [batch, C, F, h, w] that were not drawn here: the take goes on behind them.

        They are committed chunk by chunk under the prompt that holds. CueError if they are not whole chunks, if there
        is no prompt, or if something has been drawn already. `drive` [batch, F, T, features] is what moved them.
        """
        grid, stop = self.config.grid, state.index + latents.shape[2]
        if state.index != state.prefix:
            raise CueError("a prefix stands at the start of a take, and this one has begun")
        if state.text is None:
            raise CueError("a take needs a prompt before its prefix")
        if grid.border(stop) != stop:
            raise CueError(f"a prefix is whole chunks of {grid.chunk} latents, not {latents.shape[2]}")
        self._check_drive(drive)
        state.knot = None  # of a reference, as which the take would begin
        while state.index < stop:
            n, at = grid.length(state.index), state.index - state.prefix
            self._append(state, latents[:, :, at : at + n], None if drive is None else drive[:, at : at + n])
            state.pending = True
            self.commit(state)
        state.prefix = stop

    def _check_drive(self, drive: Tensor | None) -> None:
        if (drive is None) is not (self.transformer.driving_attention is None):
            raise CueError("a model that is driven needs a drive for every chunk, and no other can have one")

    def _append(self, state: TakeState, x: Tensor, drive: Tensor | None) -> None:
        """Make clean latents, a chunk, the newest of the take; of those before, what a recache needs is kept."""
        n, window = x.shape[2], self.config.window
        state.recent = _newest([*state.recent, x], window, axis=2)
        state.driven = [] if drive is None else _newest([*state.driven, drive[:, :n]], window, axis=1)
        state.index += n

    @torch.inference_mode()
    def apply_cues(self, state: TakeState, cues: Sequence[Cue] = ()) -> None:
        """Apply the cues and bring the cache up to the newest chunk, under the prompt that now holds.

        A pending commit runs first, under the prompt and the settings that its chunk was drawn with, unless the cues
        make it useless: its keys and values are then the same whether it ran at once or only now.
        """
        if not self.replaces_commit(state, cues):
            self.commit(state)
        if self._apply(state, cues):
            self._switch(state)
        for cue in cues:
            if isinstance(cue, Reference):
                self.set_reference(state, self._encode_reference(state, cue))

    def replaces_commit(self, state: TakeState, cues: Sequence[Cue]) -> bool:
        """Return whether these cues, landing on the next chunk, recompute or drop what a commit would write now."""
        if any(isinstance(cue, Cut) for cue in cues):
            return True
        parameters = [cue for cue in cues if isinstance(cue, Parameter)]
        asked = [value for cue in parameters if isinstance(value := cue.parsed(), OnSwitch)]
        on_switch = asked[-1] if asked else state.on_switch
        changes = any(isinstance(cue, Prompt) and cue.text != state.prompt for cue in cues) or state.blend is not None
        changes = changes or any(cue.invalidates is not Invalidates.NOTHING for cue in parameters)
        return on_switch in (OnSwitch.RECACHE, OnSwitch.CLEAR) and changes

    def denoise(
        self,
        state: TakeState,
        text: TextState,
        rotation: Rotation,
        cache: EngineCache,
        drive: Tensor | None = None,
        steps: int | None = None,
        before_step: Callable[[], None] = lambda: None,
    ) -> Tensor:
        """Return the next chunk and its knot after the first `steps` steps, [batch, C, chunk + knot, h, w]; None: all.

        Where gradients are asked for, only the last of these steps carries them.
        """
        sigmas, gradients = self._schedule(state).sigmas[:steps], torch.is_grad_enabled()
        x = noise = self.noise(state, 0)
        given = 0 if state.knot is None else state.knot.shape[2]
        for step, sigma in enumerate(sigmas, 1):
            before_step()
            if state.knot is not None:
                x = knot.pin(x, state.knot, noise, 0.0 if self._masked else sigma)
            timestep = torch.tensor([1000 * sigma], device=self.device)
            with torch.set_grad_enabled(gradients and step == len(sigmas)):
                prediction = self.transformer(self.with_mask(x, given), timestep, text, rotation, cache, drive=drive)
                assert prediction is not None, "a pass with a head predicts"
                x = sampler.predicted_x0(x, prediction, sigma, self.config.prediction)
            if step < len(sigmas):
                noise = self.noise(state, step)
                x = sampler.renoised(x, noise, sigmas[step])
        return x

    def _schedule(self, state: TakeState) -> Schedule:
        """Return the steps of the next chunk: where nothing was drawn before it, a model may need more of them."""
        first = state.index == max(state.prefix, state.cache.origin)
        return self.config.first_schedule if first and self.config.first_schedule else self.config.schedule

    def fuse_knot(self, state: TakeState, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Fuse the first latents of a denoised chunk with the knot that it started from; return both and how far apart.

        The disagreement of knot and chunk is [batch], or None where the chunk started from no knot.
        """
        if state.knot is None:
            return x, None
        held = state.knot.clone()  # an ordinary tensor where gradients pass, though it was made where none did
        return knot.fuse(x, held, self.config.fusion or knot.ramp(held.shape[2]))

    def with_mask(self, x: Tensor, given: int) -> Tensor:
        """Return latents in the network's type; a mask channel, if the model has one, marks the first `given`."""
        if self._masked:
            mask = torch.zeros_like(x[:, :1])
            mask[:, :, :given] = 1
            x = torch.cat([x, mask], 1)
        return x.to(self.dtype)

    def noise(self, state: TakeState, step: int) -> Tensor:
        """Return noise of the next chunk and knot, [batch, C, chunk + knot, h, w]; chunks count from the prefix on."""
        config, grid, (width, height) = self.config, self.config.grid, state.size
        chunk = grid.number(state.index) - grid.chunks(state.prefix)
        shape = (
            1,
            self.transformer.config.out_channels,
            grid.length(state.index),
            height // self.stride,
            width // self.stride,
        )
        noise = torch.cat([sampler.noise(seed, chunk, step, shape, self.device) for seed in state.seeds])
        if not config.knot:
            return noise
        shape = (*shape[:2], config.knot, *shape[3:])
        ahead = [sampler.noise(seed, chunk, step, shape, self.device, knot=True) for seed in state.seeds]
        return torch.cat([noise, torch.cat(ahead)], 2)

    @torch.inference_mode()
    def commit(self, state: TakeState) -> None:
        """Run the clean pass over the newest chunk, if it is pending: keys and values become part of the past."""
        if not state.pending:
            return
        n = state.recent[-1].shape[2]
        self._clean_pass(state, n, state.cache.begin(state.index - n, n, clean=True))

    def _clean_pass(self, state: TakeState, latents: int, rotation: Rotation) -> None:
        """Write the cache by a pass at t = 0 over the newest `latents` latents of the take."""
        drive = _last(state.driven, latents, axis=1) if state.driven else None
        self._write_cache(state, _last(state.recent, latents, axis=2), rotation, drive)
        state.pending = False

    def _write_cache(self, state: TakeState, latents: Tensor, rotation: Rotation, drive: Tensor | None) -> None:
        """Run the pass at t = 0 that a cache has begun, over clean latents [batch, C, F, h, w]."""
        assert state.text is not None, "a clean pass before the first prompt"
        timestep, known = torch.zeros(1, device=self.device), self.with_mask(latents, latents.shape[2])
        self.transformer(known, timestep, state.text, rotation, state.cache, drive=drive, head=False)
        state.cache.end()

    # -- cues ----------------------------------------------------------------------------------------------------

    def _apply(self, state: TakeState, cues: Sequence[Cue]) -> bool:
        """Apply the cues to the state; return whether what the cache holds was made under another prompt."""
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
                case Parameter():
                    changed = self._set(state, cue) or changed
        if state.blend is not None:
            moved = replace(state.blend, done=state.blend.done + 1)
            mixed = torch.lerp(moved.start, moved.goal, moved.done / moved.chunks)
            state.text, changed = self.transformer.embed_text(mixed), True
            state.blend = moved if moved.done < moved.chunks else None
        return changed and bool(state.recent)

    def _set(self, state: TakeState, parameter: Parameter) -> bool:
        """Give a setting its value; return whether that makes useless what the cache holds."""
        match parameter.parsed():
            case OnSwitch() as value:
                state.on_switch = value
            case SinkOnSwitch() as value:
                state.sink_on_switch = value
            case AnchorPolicy() as value:
                state.cache.policy = value
        if parameter.invalidates is Invalidates.TEXT:
            self._texts.clear()
            if state.text is not None:
                state.text = self.transformer.embed_text(state.text.embeddings)
        return parameter.invalidates is not Invalidates.NOTHING

    def _switch(self, state: TakeState) -> None:
        """Bring the cache under the new prompt in the way that `on_switch` names."""
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
        """Run one bidirectional clean pass over what is visible, instead of the pending commit (LongLive, 2509.22622).

        While no more than a window of latents exists that is all of them, the sink included; later it is a window less
        the sink. `reanchor` makes the oldest latents of a whole window the new sink.
        """
        window, sink = self.config.window, self.config.sink
        drawn = state.index - state.cache.origin
        if drawn <= window:
            latents = drawn
        elif sink and state.sink_on_switch is SinkOnSwitch.REANCHOR:
            latents = window
            state.cache.clear(state.index - window)
        else:
            latents = window - sink
        self._clean_pass(state, latents, state.cache.begin_recache(state.index - latents, latents))

    def _encode_reference(self, state: TakeState, image: Reference) -> Tensor:
        """Return the latent [batch, C, 1, h, w] of an image held for a latent's frames; CueError if it does not fit."""
        if self.config.reference is None:
            raise CueError("this model stays true to no image; pocket-avatar does")
        if (image.width, image.height) != state.size:
            raise CueError(
                f"the image is {image.width}x{image.height}, the take {state.size[0]}x{state.size[1]}: scale the image"
            )
        pixels = torch.frombuffer(bytearray(image.pixels), dtype=torch.uint8).to(self.device)
        images = pixels.view(-1, 1, image.height, image.width, 3)
        if len(images) not in (1, len(state.seeds)):
            raise CueError(f"{len(images)} images for {len(state.seeds)} takes: give one, or one for each")
        latent = torch.cat([self.codec.encode_image(i) for i in images]).to(self.device)
        return latent.expand(len(state.seeds), -1, -1, -1, -1)

    @torch.inference_mode()
    def set_reference(self, state: TakeState, latent: Tensor) -> None:
        """Have the take stay true to an image from here on, given as its latent [batch, C, 1, h, w].

        The image's keys and values are made at t = 0, seeing nothing else. A knot made towards another image goes. A
        take begins as the image: its first chunk is given it, as other chunks are given a knot.
        """
        self._write_cache(state, latent, state.cache.begin_reference(), None)
        state.knot = None if state.index else latent.repeat(1, 1, max(1, self.config.knot), 1, 1)

    # -- snapshots -----------------------------------------------------------------------------------------------

    @torch.inference_mode()
    def snapshot(self, state: TakeState) -> Snapshot:
        """Return the take as it is; what earlier snapshots hold is shared."""
        for newest in (state.recent, state.driven):
            newest[-1:] = copied(newest[-1:])
        if state.knot is not None:
            [state.knot] = copied([state.knot])
        return Snapshot(state.copied(), state.cache.snapshot(), state.codec.snapshot())

    @torch.inference_mode()
    def restore(self, snapshot: Snapshot) -> TakeState:
        """Return a new take that goes on from the snapshot: a rewind, a branch or a fork."""
        fresh = self.new_take(snapshot.take.seeds, *snapshot.take.size)
        fresh.cache.restore(snapshot.cache)
        fresh.codec.restore(snapshot.codec)
        return TakeState(cache=fresh.cache, codec=fresh.codec, **vars(snapshot.take.copied()))


def _newest(chunks: list[Tensor], latents: int, *, axis: int) -> list[Tensor]:
    """Return the last of the chunks that together have at least `latents` latents along `axis`, or all of them."""
    kept: list[Tensor] = []
    for chunk in reversed(chunks):
        if sum(c.shape[axis] for c in kept) >= latents:
            break
        kept.insert(0, chunk)
    return kept


def _last(chunks: list[Tensor], latents: int, *, axis: int) -> Tensor:
    """Return the last `latents` latents of the chunks along `axis`, contiguous."""
    joined = torch.cat(_newest(chunks, latents, axis=axis), axis)
    return joined.narrow(axis, joined.shape[axis] - latents, latents).contiguous()
