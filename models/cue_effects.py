"""Apply cues to the state of a take; passes over the cache that they make necessary are left to `models.recache`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from models.cache_shape import AnchorPolicy
from models.cue import Cue, Cut, Hush, Invalidates, OnSwitch, Parameter, Prompt, Seed, SinkOnSwitch
from models.prompt_memory import PromptMemory
from models.state import Blend, TakeState


def apply(state: TakeState, cues: Sequence[Cue], prompts: PromptMemory) -> bool:
    """Apply cues to the state; return whether the cache holds latents that were written under another prompt.

    A blend that is under way moves on by one part. References are not applied here (`models.conditions`).
    """
    changed = False
    for cue in cues:
        match cue:
            case Prompt():
                changed = _prompt(state, cue, prompts) or changed
            case Cut():
                state.cache.clear(state.index)
                state.codec.reset(hold=state.index > 0)
                state.forget_latents()
                state.knot = None
            case Hush():
                state.knot = None
            case Seed(seed):
                state.seeds = (seed,) * len(state.seeds)
            case Parameter():
                changed = _setting(state, cue, prompts) or changed
    if state.blend is not None:
        moved = replace(state.blend, done=state.blend.done + 1)
        state.text, changed = prompts.embedded(*moved.mixed()), True
        state.blend = moved if moved.done < moved.chunks else None
    return changed and bool(state.recent)


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


def _setting(state: TakeState, cue: Parameter, prompts: PromptMemory) -> bool:
    """Give a setting its value; return whether that makes useless what the cache holds."""
    match cue.parsed():
        case OnSwitch() as value:
            state.on_switch = value
        case SinkOnSwitch() as value:
            state.sink_on_switch = value
        case AnchorPolicy() as value:
            state.cache.policy = value
    if cue.invalidates is Invalidates.TEXT:
        prompts.forget()
        if state.text is not None:
            state.text = prompts.embedded(state.text.embeddings, state.text.emphasis)
    return cue.invalidates is not Invalidates.NOTHING
