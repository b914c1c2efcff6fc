"""Apply cues to the state of a take; passes over the cache that they make necessary are left to `models.recache`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from models import archive, source
from models.cache_shape import AnchorPolicy
from models.cue import (
    Cue,
    Cut,
    Follow,
    Hold,
    Hush,
    OnLora,
    OnSwitch,
    Parameter,
    Prompt,
    Recall,
    Seed,
    SinkOnSwitch,
    Start,
    Unfollow,
)
from models.prompt_memory import PromptMemory
from models.rollout_config import RolloutConfig
from models.state import Blend, TakeState


def apply(config: RolloutConfig, state: TakeState, cues: Sequence[Cue], prompts: PromptMemory) -> bool:
    """Apply cues to the state; return whether the cache holds latents that were written under another prompt.

    A blend that is under way moves on by one part. The pictures of a reference or a start are not applied here
    (`models.conditions`), and neither are a recall's scene (`models.recall`) and
    the scales of LoRAs (`models.lora`). CueError if a cue cannot be followed.
    """
    changed = False
    if state.announced and state.prompt is not None:
        state.text, state.announced = prompts.text(state.prompt), False
    if ends_scene(state, cues):
        archive.end_scene(state)
    for cue in cues:
        match cue:
            case Prompt():
                changed = _prompt(state, cue, prompts) or changed
            case Cut() if config.shots is None:
                begin_scene(state)
            case Cut():
                _begin_shot(config, state)
            case Start():
                if state.index:
                    begin_scene(state)
            case Follow():
                state.source = source.followed(config, state.source, cue, state.index)
            case Unfollow():
                state.source = None
            case Hush():
                state.knot = None
            case Hold():
                pass  # the drive source hears later; the knot stays, so that the picture goes on where it stood
            case Seed(seed):
                state.seeds = (seed,) * len(state.seeds)
            case Parameter():
                _setting(state, cue)
    if state.blend is not None:
        moved = replace(state.blend, done=state.blend.done + 1)
        state.text, changed = prompts.embedded(*moved.mixed()), True
        state.blend = moved if moved.done < moved.chunks else None
    elif config.shots is not None and config.shots.prefix and any(isinstance(cue, Cut) for cue in cues):
        _announce(config.shots.prefix, state, prompts)
    return changed and bool(state.recent)


def ends_scene(state: TakeState, cues: Sequence[Cue]) -> bool:
    """Return whether these cues, landing on the next chunk, begin another scene."""
    prompts = any(isinstance(cue, Prompt) and cue.text != state.prompt for cue in cues)
    return prompts or any(isinstance(cue, Cut | Start | Recall) for cue in cues)


def begin_scene(state: TakeState) -> None:
    """Drop the past, as a cut does: the next chunk becomes the sink, and its first latent is held for four frames."""
    state.cache.clear(state.index)
    state.codec.reset(hold=state.index > 0)
    state.forget_latents()
    state.knot = state.pinned = state.given = None


def _begin_shot(config: RolloutConfig, state: TakeState) -> None:
    """Begin a shot that goes on from the one before; at a take's start there is nothing to cut."""
    if state.index > state.cache.origin:
        state.cache.begin_shot(state.index, config.grid.length(state.index))
        state.knot = state.pinned = state.given = None


def _announce(prefix: str, state: TakeState, prompts: PromptMemory) -> None:
    """Have the next chunk drawn under its prompt with a prefix, which the model was trained to find before a shot."""
    if state.index > state.cache.origin and state.prompt is not None:
        texts = [state.prompt] if isinstance(state.prompt, str) else state.prompt
        marked = tuple(prefix + text for text in texts)
        state.text, state.announced = prompts.text(marked[0] if isinstance(state.prompt, str) else marked), True


def _prompt(state: TakeState, cue: Prompt, prompts: PromptMemory) -> bool:
    """Change the prompt, at once or by a blend that begins; return whether it is another one."""
    if cue.text == state.prompt and state.blend is None:
        return False
    goal = prompts.text(cue.text)
    if state.text is not None and state.recent and cue.blend > 1:
        start = state.text
        state.blend = Blend(start.embeddings, goal.embeddings, cue.blend, 0, start.emphasis, goal.emphasis)
    else:
        state.blend, state.text = None, goal
    state.prompt = cue.text
    return True


def _setting(state: TakeState, cue: Parameter) -> None:
    """Give a setting its value, which the next passes over the cache follow."""
    match cue.parsed():
        case OnLora() as value:
            state.on_lora = value
        case OnSwitch() as value:
            state.on_switch = value
        case SinkOnSwitch() as value:
            state.sink_on_switch = value
        case AnchorPolicy() as value:
            state.cache.policy = value
