"""Draw a take chunk by chunk: mechanism only, as everything that changes during a take lives in `TakeState`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from models import archive, conditions, cue_effects, knot, pin, recache, recall, sampler, source, step_batch
from models.cache import REFERENCE, RingCache
from models.cache_protocol import EngineCache
from models.cache_shape import CacheShape
from models.codecs.codec import Codec
from models.codecs.stream import Decoder, DecodeStream
from models.cue import Cue, CueError, Cut, LoraScale, OnLora, OnSwitch, Prompt, Recache, Reference, Start
from models.errors import UserError
from models.lora import FixedLoras, MergedLoras, rescaled
from models.noise import Noise, chunk_noise
from models.prompt_memory import EmphasisReader, PromptMemory, TextEncoder, no_emphasis
from models.rollout_config import RolloutConfig
from models.rope import Rotation
from models.sampler import Schedule
from models.snapshots import Snapshot, restore_into, snapshot_of
from models.source import Footage, Given
from models.state import TakeState
from models.step_cache import StepCache
from models.transformer import TextState, Transformer, masks, with_mask
from models.unipc import UniPC

NO_LORAS = FixedLoras()


class SizeError(UserError, ValueError):
    """Report a size of picture that a model cannot draw."""


class Generator:
    """Roll out takes: transformer, text encoder and codec, with the way they are used."""

    def __init__(
        self,
        config: RolloutConfig,
        transformer: Transformer,
        encode_text: TextEncoder,
        codec: Codec,
        decoder: Decoder | None = None,
        emphasis: EmphasisReader = no_emphasis,
        loras: MergedLoras | None = None,
        fixed: FixedLoras = NO_LORAS,
    ) -> None:
        """Put the networks together; `decoder` stands for the codec's own, where an engine runs it.

        `emphasis` reads what prompts emphasise. `loras` merges LoRAs into the transformer; without it takes have those
        that are `fixed` in its weights.
        """
        self.config, self.transformer, self.codec = config, transformer, codec
        self.device, self.dtype, self.stride = transformer.device, transformer.dtype, codec.stride
        negative = config.negative_prompt if config.guided else None
        self._prompts = PromptMemory(encode_text, transformer, emphasis, loras, negative)
        self.loras, self.fixed, self._decoder = loras, fixed, decoder or codec

    def with_config(self, config: RolloutConfig) -> Generator:
        """Return the same networks, rolled out in another way."""
        prompts = self._prompts
        return Generator(
            config,
            self.transformer,
            prompts.encode,
            self.codec,
            self._decoder,
            prompts.emphasis,
            self.loras,
            self.fixed,
        )

    @torch.inference_mode()
    def with_loras(self, scales: tuple[LoraScale, ...]) -> Generator:
        """Return the same networks with LoRAs merged for good; this generator is not to be used beside it.

        `scales` are in the order of names, without zeros. CueError if a LoRA was not added.
        """
        assert self.loras is not None, "LoRAs are merged into torch's weights, before another engine runs them"
        self.loras.merge(scales)
        fixed, prompts = FixedLoras(scales, {lora.name: self.loras.digest(lora.name) for lora in scales}), self._prompts
        return Generator(
            self.config,
            self.transformer,
            prompts.encode,
            self.codec,
            self._decoder,
            prompts.emphasis,
            fixed=fixed,
        )

    def run_by(self, transformer: Transformer, decoder: Decoder | None = None) -> Generator:
        """Return the same model, its steps (and the decoding of its codec) run by another engine.

        An engine holds weights of its own, with the LoRAs that are fixed in this generator's and no others.
        """
        decoder, prompts = decoder or self._decoder, self._prompts
        return Generator(
            self.config, transformer, prompts.encode, self.codec, decoder, prompts.emphasis, fixed=self.fixed
        )

    def text(self, prompt: str | tuple[str, ...]) -> TextState:
        """Return the prompt, or a batch of them, encoded for the present weights; the ones used last are remembered."""
        return self._prompts.text(prompt)

    def new_stream(self) -> DecodeStream:
        """Return a new stream from latents to frames."""
        return DecodeStream(self._decoder)

    @torch.inference_mode()
    def new_take(self, seed: int | tuple[int, ...], width: int, height: int, noise: Noise = Noise.TORCH) -> TakeState:
        """Return an empty take of width x height pixels; SizeError if that is not whole patches.

        Several seeds give as many takes that run in step, their latents in one batch. `noise` says which generator
        theirs comes from.
        """
        seeds = (seed,) if isinstance(seed, int) else seed
        c, t = self.config, self.transformer.config
        _, ph, pw = t.patch_size
        if width % (self.stride * pw) or height % (self.stride * ph) or min(width, height) <= 0:
            raise SizeError(f"size {width}x{height} is not a multiple of {self.stride * pw}x{self.stride * ph}")
        if c.latents_ahead and len(seeds) > 1:
            raise CueError("a stream batch draws one take; use one seed")
        shape = CacheShape(
            layers=t.num_layers,
            heads=t.num_attention_heads,
            head_dim=t.attention_head_dim,
            rows=height // (self.stride * ph),
            columns=width // (self.stride * pw),
            grid=c.grid,
            window=c.window,
            sink=c.sink,
            knot=c.knot,
            reference=c.reference,
            batch=len(seeds) * c.rows,
            sink_average=c.sink_average,
            shots=c.shots,
        )
        steps = len(c.schedule.sigmas)
        return TakeState(
            cache=RingCache(shape, c.anchor, self.device, self.dtype)
            if c.step_keys is None
            else StepCache(shape, c.step_keys, steps, self.device, self.dtype),
            codec=self.new_stream(),
            size=(width, height),
            seeds=seeds,
            noise=noise,
            loras=self.fixed.scales,
            on_switch=c.on_switch,
            sink_on_switch=c.sink_on_switch,
            on_lora=OnLora.RECACHE if c.step_keys is None else OnLora.NONE,
        )

    # -- a chunk -------------------------------------------------------------------------------------------------

    @torch.inference_mode()
    def draw(
        self,
        state: TakeState,
        cues: Sequence[Cue] = (),
        drive: Tensor | None = None,
        before_step: Callable[[], None] = lambda: None,
        footage: Footage | None = None,
    ) -> Tensor:
        """Apply the cues and draw the next chunk: clean latents [batch, C, chunk, h, w] float32, ready to be decoded.

        `drive` [batch, chunk + knot, T, features] moves it, in a model that is driven; `footage` has the frames of the
        source that is followed. While latents of a start are given, they are the next chunk and nothing is drawn. An
        exception from `before_step` gives the chunk up; the state is then good for nothing, and the take goes on from a
        snapshot.
        """
        self.apply_cues(state, cues)
        if state.text is None:
            raise CueError("a take needs a prompt before its first chunk")
        if self.config.reference and REFERENCE not in state.cache.anchors:
            raise CueError("this model needs an image to stay true to before its first chunk")
        conditions.check_drive(self.transformer, drive)
        n, number = self.config.grid.length(state.index), self.config.grid.number(state.index)
        if state.source is not None:
            state.source = replace(state.source, read=())
        batched = self.config.latents_ahead > 0 and state.index > state.cache.origin
        followed = None if batched else self._followed(state, state.index, footage)
        if batched:
            x = self._draw_of_batch(state, state.text, footage, before_step)
        elif state.given is not None:
            x, rest = state.given[:, :, :n], state.given[:, :, n:]
            state.given, state.disagreement = rest if rest.shape[2] else None, None
        else:
            rotation = state.cache.begin(state.index, n)
            x = self.denoise(state, state.text, rotation, state.cache, drive, None, before_step, followed)
            state.cache.end()
            x, state.disagreement = self.fuse_knot(state, x)
            x, state.knot = x[:, :, :n], x[:, :, n:] if self.config.knot else None
            state.pinned = None
        state.append(x, drive, self.config.window)
        archive.keep_chunk(state, number)
        return x

    def _followed(self, state: TakeState, index: int, footage: Footage | None) -> Given | None:
        """Return what the source gives for the chunk at latent `index`; None if none is followed."""
        if index == state.cache.origin:  # chunks of a stream batch that a cut broke off begin anew
            broken_off = [row.given for row in reversed(state.under_way) if row.given is not None]
            state.read_ahead = (*broken_off, *state.read_ahead)
            state.under_way = ()
        if state.source is None or state.source.newest is None:
            state.read_ahead = ()
        if state.source is None:
            return None
        if state.read_ahead:
            given, *rest = state.read_ahead
            state.read_ahead = tuple(rest)
            return given
        if footage is None:
            raise CueError(f"the take follows {state.source.source}, whose frames are not there")
        latents = self.config.grid.length(index)
        state.source, given = source.given(self.codec, state.source, index, latents, footage, self.device)
        return given

    def _draw_of_batch(
        self, state: TakeState, text: TextState, footage: Footage | None, before_step: Callable[[], None]
    ) -> Tensor:
        """Return the next chunk of a stream batch, [1, C, chunk, h, w], with a step made of all that are under way."""
        cache = state.cache
        assert isinstance(cache, StepCache), "a stream batch keeps the keys of its steps"

        def predict(latents: Tensor, told: list[float], firsts: list[int]) -> Tensor:
            before_step()
            known, at = with_mask(self.transformer, latents, 0), self._timesteps(told)
            rotation = cache.begin_rows(firsts, latents.shape[2])
            predicted = self.transformer(known, at, text.repeated(len(firsts)), rotation, cache)
            cache.end()
            assert predicted is not None, "a pass with a head predicts"
            return predicted

        x, state.under_way = step_batch.drawn(
            self.config,
            state.under_way,
            state.index,
            lambda number, step: self.noise(state, step, number),
            lambda first: self._followed(state, first, footage),
            predict,
        )
        return x

    def denoise(
        self,
        state: TakeState,
        text: TextState,
        rotation: Rotation,
        cache: EngineCache,
        drive: Tensor | None = None,
        steps: int | None = None,
        before_step: Callable[[], None] = lambda: None,
        followed: Given | None = None,
    ) -> Tensor:
        """Return the next chunk and its knot after the first `steps` steps, [batch, C, chunk + knot, h, w]; None: all.

        Given latents are held in place at every step: the knot, an image that the chunk begins with, and the source
        outside a region. A chunk that follows a source starts from it. Where gradients are asked for, only the last of
        these steps carries them.
        """
        schedule, gradients = self._schedule(state), torch.is_grad_enabled()
        x = noise = self.noise(state, 0)
        pins = pin.pins_of(state.pinned, followed, x, clean=self.config.clean_pins)
        if followed is not None:
            schedule, level = source.steps_over(self.config, schedule, followed)
            x = sampler.renoised(pin.lengthened(followed.latents, x), noise, level)
        elif state.pinned is not None and self.config.start_noise < 1:
            schedule = source.started(schedule, self.config.start_noise)
            x = sampler.renoised(pin.lengthened(state.pinned, x), noise, schedule.sigmas[0])
        given = 0 if state.knot is None else state.knot.shape[2]
        clean = state.pinned.shape[2] if self.config.clean_pins and state.pinned is not None else 0
        sigmas, told = schedule.sigmas[:steps], schedule.timesteps[:steps]
        solver = UniPC(sigmas) if self.config.solver == "unipc" else None
        for step, (sigma, timestep) in enumerate(zip(sigmas, told, strict=True), 1):
            before_step()
            if state.knot is not None:
                x = knot.pin(x, state.knot, noise, 0.0 if masks(self.transformer) else sigma)
            x = pin.held(pins, x, noise, sigma)
            latents, at = with_mask(self.transformer, x, given), self._timesteps([timestep])
            if clean:  # these latents are told to be so
                at = torch.cat([torch.zeros_like(at).expand(clean), at.expand(x.shape[2] - clean)])[None]
            with torch.set_grad_enabled(gradients and step == len(sigmas)):
                prediction = self._predicted(latents, at, text, rotation, cache, drive)
                x0 = sampler.predicted_x0(x, prediction, sigma, self.config.prediction)
            if step == len(sigmas):
                x = x0
            elif solver is not None:
                x = solver.step(x, x0)
            else:
                noise = self.noise(state, step)
                x = sampler.renoised(x0, noise, sigmas[step])
        return pin.kept(pins, x)

    def _timesteps(self, told: Sequence[float]) -> Tensor:
        """Return timesteps as the network is told them, [n], filled in on the device: a copy would be waited for."""
        return torch.cat([torch.full((1,), float(t), device=self.device) for t in told])

    def _predicted(
        self,
        latents: Tensor,
        timestep: Tensor,
        text: TextState,
        rotation: Rotation,
        cache: EngineCache,
        drive: Tensor | None,
    ) -> Tensor:
        """Return the network's prediction, led away from the one under the negative prompt in a model that is guided.

        Both are drawn in one pass: the second half of the rows is the negative prompt's. The first chunk of a stream
        batch is drawn by itself, alike in all rows.
        """
        if self.config.latents_ahead:
            text = text.repeated(self.config.rows)
        if self.config.rows > 1:
            latents = latents.repeat(self.config.rows, 1, 1, 1, 1)
        prediction = self.transformer(latents, timestep, text, rotation, cache, drive=drive)
        assert prediction is not None, "a pass with a head predicts"
        if not self.config.guided:
            return prediction[: len(prediction) // self.config.rows]
        wanted, unwanted = prediction.chunk(2)
        return unwanted + self.config.guidance * (wanted - unwanted)

    def fuse_knot(self, state: TakeState, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Fuse the first latents of a denoised chunk with the knot that it started from; return both and how far apart.

        The disagreement of knot and chunk is [batch], or None where the chunk started from no knot.
        """
        if state.knot is None:
            return x, None
        held = state.knot.clone()  # an ordinary tensor where gradients pass, though it was made where none did
        return knot.fuse(x, held, self.config.fusion or knot.ramp(held.shape[2]))

    def noise(self, state: TakeState, step: int, number: int | None = None) -> Tensor:
        """Return noise of the next chunk and knot, [batch, C, chunk + knot, h, w]; chunks count from the prefix on.

        Of a stream batch it is that of chunk `number`.
        """
        config, grid, (width, height) = self.config, self.config.grid, state.size
        chunk = (grid.number(state.index) if number is None else number) - grid.chunks(state.prefix)
        cells = height // self.stride, width // self.stride
        shape = (self.transformer.config.out_channels, grid.length(state.index), *cells)
        return chunk_noise(state.noise, state.seeds, chunk, step, shape, self.device, config.knot)

    def _schedule(self, state: TakeState) -> Schedule:
        """Return the steps of the next chunk: where nothing was drawn before it, a model may need more of them."""
        first = state.index == max(state.prefix, state.given_to, state.cache.origin)
        return self.config.first_schedule if first and self.config.first_schedule else self.config.schedule

    # -- between chunks ------------------------------------------------------------------------------------------

    @torch.inference_mode()
    def commit(self, state: TakeState) -> None:
        """Run the clean pass over the newest chunk, if it is pending: keys and values become part of the past."""
        self._merge(state.loras)
        recache.commit(self.transformer, state)

    def _merge(self, loras: tuple[LoraScale, ...]) -> None:
        """Have the weights hold the LoRAs of a take: another take may have drawn since."""
        if self.loras is not None:
            self.loras.merge(loras)
        else:
            self.fixed.require(loras)

    def _reweighted(self, state: TakeState, cues: Sequence[Cue]) -> bool:
        """Merge the LoRAs with the scales of the cues, and make the prompt's keys anew; return whether they differ."""
        before, state.loras = state.loras, rescaled(state.loras, [cue for cue in cues if isinstance(cue, LoraScale)])
        if state.loras == before:
            return False
        self._merge(state.loras)
        if state.text is not None:
            state.text = self._prompts.embedded(state.text.embeddings, state.text.emphasis)
        return True

    @torch.inference_mode()
    def apply_cues(self, state: TakeState, cues: Sequence[Cue] = ()) -> None:
        """Apply the cues and bring the cache up to the newest chunk, under the prompt that now holds.

        A pending commit runs first, under the prompt and the settings that its chunk was drawn with, unless the cues
        make it useless: its keys and values are then the same whether it ran at once or only now.
        """
        recache.check_possible(self.config, cues)
        self._merge(state.loras)
        asked = recall.asked(self.config, state, cues)
        scene = asked or recall.implied(self.config, state, cues, self._prompts)
        if not recache.replaces_commit(state, cues):
            recache.commit(self.transformer, state)
        ways = [OnSwitch(state.on_lora)] if self._reweighted(state, cues) else []
        changed = cue_effects.apply(self.config, state, cues, self._prompts)
        ways += [state.on_switch] if changed and not any(isinstance(cue, Cut) for cue in cues) else []
        if scene is not None:
            own = not any(isinstance(cue, Prompt) for cue in cues)
            recall.bring_back(self.config, self.transformer, state, scene, self._prompts if own else None)
            ways = []
        elif any(isinstance(cue, Recache) for cue in cues):
            recache.renew(self.transformer, state)
        if state.recent:
            recache.switch(self.config, self.transformer, state, recache.strongest(ways))
        for cue in cues:
            if isinstance(cue, Reference):
                self.set_reference(state, conditions.encode_reference(self.config, self.codec, state, cue))
            elif isinstance(cue, Start):
                conditions.begin_with(self.config, self.codec, state, cue)

    @torch.inference_mode()
    def prefill(self, state: TakeState, latents: Tensor, drive: Tensor | None = None) -> None:
        """Begin a take with clean latents that were not drawn here; see `models.conditions.prefill`."""
        self._merge(state.loras)
        conditions.prefill(self.config, self.transformer, state, latents, drive)

    @torch.inference_mode()
    def set_reference(self, state: TakeState, latent: Tensor) -> None:
        """Have a take stay true to an image from here on; see `models.conditions.set_reference`."""
        self._merge(state.loras)
        conditions.set_reference(self.config, self.transformer, state, latent)

    # -- snapshots -----------------------------------------------------------------------------------------------

    @torch.inference_mode()
    def snapshot(self, state: TakeState, *, keys: bool = True) -> Snapshot:
        """Return the take as it is; what earlier snapshots hold is shared.

        Without `keys` all that latents and embeddings can be computed to is left out.
        """
        return snapshot_of(state, keys=keys)

    @torch.inference_mode()
    def restore(self, snapshot: Snapshot, instead_of: TakeState | None = None) -> TakeState:
        """Return a new take that goes on from the snapshot: a rewind, a branch or a fork.

        It takes over the cache and the codec stream of `instead_of`, a take of the same size and as many seeds that is
        of no use any more; a cache of its own would be a second one on the device meanwhile.

        If the snapshot left keys out (`cache.keys_missing`), the next chunk needs a Recache cue.
        """
        self._merge(snapshot.take.loras)  # for the prompt's keys, where they are computed
        seeds, size = snapshot.take.seeds, snapshot.take.size
        fits = instead_of is not None and (len(instead_of.seeds), instead_of.size) == (len(seeds), size)
        place = instead_of if instead_of is not None and fits else self.new_take(seeds, *size)
        return restore_into(place, snapshot, self._prompts)
