"""Write clean latents to a take's cache: the commit of a chunk, and what a prompt change does to what is there.

A clean pass is a forward pass at t = 0, which leaves keys and values and predicts nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from models.cache_shape import AnchorPolicy
from models.cue import (
    Cue,
    CueError,
    Cut,
    LoraScale,
    OnLora,
    OnSwitch,
    Parameter,
    Prompt,
    Recache,
    Recall,
    Reference,
    SinkOnSwitch,
    Start,
    StartBy,
)
from models.lora import rescaled
from models.rollout_config import WITHOUT_CLEAN_PASS, RolloutConfig
from models.rope import Rotation
from models.state import TakeState
from models.transformer import Transformer, with_mask


def check_possible(config: RolloutConfig, cues: Sequence[Cue]) -> None:
    """Raise CueError if cues need a clean pass, in a model that has none."""
    if config.step_keys is None:
        return
    for cue in cues:
        value = cue.parsed() if isinstance(cue, Parameter) else None
        if isinstance(value, OnSwitch | OnLora) and value not in WITHOUT_CLEAN_PASS:
            raise CueError(f"this model has no clean pass: on_switch and on_lora are none or clear, not {value}")
        if isinstance(value, SinkOnSwitch | AnchorPolicy) or isinstance(cue, Recall | Recache | Reference):
            raise CueError("this model has no clean pass, and so no recall, reference or other place of its sink")
        if isinstance(cue, Start) and (cue.frames > 1 or cue.kept or cue.by is StartBy.PREFIX):
            raise CueError("this model has no clean pass: it goes on from no film, and an image is pinned")


def commit(transformer: Transformer, state: TakeState) -> None:
    """Run the clean pass over the newest chunk, if it is pending: keys and values become part of the past.

    In a model without a clean pass what the steps wrote is part of it already.
    """
    if state.cache.keeps_steps:
        state.pending = False
    elif state.pending:
        n = state.recent[-1].shape[2]
        _write_newest(transformer, state, n, state.cache.begin(state.index - n, n, clean=True))


def switch(config: RolloutConfig, transformer: Transformer, state: TakeState, how: OnSwitch) -> None:
    """Bring the cache under the prompt and the weights that now hold, in the way that `how` names."""
    match how:
        case OnSwitch.RECACHE | OnSwitch.RECALL:
            recache(config, transformer, state)
        case OnSwitch.NONE:
            pass
        case OnSwitch.FLUSH:
            state.cache.keep_newest()
        case OnSwitch.CLEAR:
            state.cache.clear(state.index)
            state.forget_latents()


def recache(config: RolloutConfig, transformer: Transformer, state: TakeState) -> None:
    """Run one bidirectional clean pass over what is visible, instead of the pending commit (LongLive, 2509.22622).

    While no more than a window of latents exists that is all of them, the sink included; later it is a window less
    the sink. `reanchor` makes the oldest latents of a whole window the new sink.
    """
    drawn = state.index - state.cache.origin
    if drawn <= config.window:
        latents = drawn
    elif config.sink and state.sink_on_switch is SinkOnSwitch.REANCHOR:
        latents = config.window
        state.cache.clear(state.index - latents)
    else:
        latents = config.window - config.sink
        latents -= state.cache.kept_before(state.index - latents)
    _write_newest(transformer, state, latents, state.cache.begin_recache(state.index - latents, latents))


def renew(transformer: Transformer, state: TakeState) -> None:
    """Make the keys of the visible past anew in one clean pass over its latents, under the prompt that now holds.

    Sink and reference stay, and nothing that a flush has dropped comes back.
    """
    past = state.cache.past_latents
    if past:
        latents = state.index - past.start
        _write_newest(transformer, state, latents, state.cache.begin_recache(past.start, latents))


def replaces_commit(state: TakeState, cues: Sequence[Cue]) -> bool:
    """Return whether these cues, landing on the next chunk, recompute or drop what a commit would write now."""
    cut, goes_on = any(isinstance(cue, Cut) for cue in cues), state.cache.shape.shots is not None
    if any(isinstance(cue, Start | Recall) for cue in cues) or (cut and not goes_on):
        return True
    parameters = [cue for cue in cues if isinstance(cue, Parameter)]
    changes = any(isinstance(cue, Prompt) and cue.text != state.prompt for cue in cues) or state.blend is not None
    ways = [on_switch_with(state, cues)] if changes and not cut else []
    if rescaled(state.loras, [cue for cue in cues if isinstance(cue, LoraScale)]) != state.loras:
        asked = [value for cue in parameters if isinstance(value := cue.parsed(), OnLora)]
        ways.append(OnSwitch(asked[-1] if asked else state.on_lora))
    return strongest(ways) in (OnSwitch.RECACHE, OnSwitch.CLEAR, OnSwitch.RECALL)


def strongest(ways: Sequence[OnSwitch]) -> OnSwitch:
    """Return the way of bringing the cache up to date that makes the others needless."""
    order = (OnSwitch.CLEAR, OnSwitch.RECALL, OnSwitch.RECACHE, OnSwitch.FLUSH, OnSwitch.NONE)
    return next(way for way in order if way in ways or way is OnSwitch.NONE)


def on_switch_with(state: TakeState, cues: Sequence[Cue]) -> OnSwitch:
    """Return what a prompt change does once these cues have landed."""
    values = [cue.parsed() for cue in cues if isinstance(cue, Parameter)]
    return next((value for value in reversed(values) if isinstance(value, OnSwitch)), state.on_switch)


def write_cache(
    transformer: Transformer, state: TakeState, latents: Tensor, rotation: Rotation, drive: Tensor | None = None
) -> None:
    """Run the clean pass that the cache has begun, over latents [batch, C, F, h, w] that `drive` moved."""
    assert state.text is not None, "a clean pass before the first prompt"
    if state.cache.shape.batch > len(latents):  # the negative prompt's rows lie behind the prompt's
        latents = latents.repeat(2, 1, 1, 1, 1)
    timestep, known = torch.zeros(1, device=transformer.device), with_mask(transformer, latents, latents.shape[2])
    transformer(known, timestep, state.text, rotation, state.cache, drive=drive, head=False)
    state.cache.end()


def _write_newest(transformer: Transformer, state: TakeState, latents: int, rotation: Rotation) -> None:
    """Run the clean pass that the cache has begun, over the newest `latents` latents; no commit is pending then."""
    write_cache(transformer, state, state.newest(latents), rotation, state.newest_drive(latents))
    state.pending = False
