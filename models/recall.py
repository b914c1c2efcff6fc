"""Bring back a scene of the archive: its last chunks become the past, and are recached under the prompt that holds.

The ring is dropped. Measured on pocket, an archived chunk beside a full ring changes nothing, as two visible chunks of
another scene outvote it, while three archived chunks alone bring back what never having left would have kept.
"""

from __future__ import annotations

from collections.abc import Sequence

from models import archive, recache
from models.cue import Cue, CueError, Cut, OnSwitch, Prompt, Recall, Start
from models.kept_scene import KeptScene
from models.prompt_memory import PromptMemory
from models.rollout_config import RolloutConfig
from models.state import TakeState
from models.transformer import Transformer


def asked(config: RolloutConfig, state: TakeState, cues: Sequence[Cue]) -> KeptScene | None:
    """Return the scene that a recall among these cues asks for; CueError if it cannot be brought back."""
    wanted = [cue.latent for cue in cues if isinstance(cue, Recall)]
    if not wanted:
        return None
    if config.reference is not None:
        raise CueError("this model stays true to an image and recalls no scene")
    return archive.found(state, wanted[-1])


def implied(config: RolloutConfig, state: TakeState, cues: Sequence[Cue], prompts: PromptMemory) -> KeptScene | None:
    """Return the scene that a new prompt among these cues means, where `on_switch` is recall; None if there is none."""
    texts = [cue.text for cue in cues if isinstance(cue, Prompt)]
    if recache.on_switch_with(state, cues) is not OnSwitch.RECALL or not texts or config.reference is not None:
        return None
    if texts[-1] == state.prompt or any(isinstance(cue, Cut | Start) for cue in cues):
        return None
    return archive.meant(state, prompts.text(texts[-1]).embeddings, config.window)


def bring_back(
    config: RolloutConfig, transformer: Transformer, state: TakeState, scene: KeptScene, prompts: PromptMemory | None
) -> None:
    """Make a scene the past, and recache it; with `prompts` the take goes on under the scene's own prompt.

    The codec's stream goes on behind the scene too, so that the picture jumps there at once.
    """
    state.forget_latents()
    state.recent = [chunk.float() for chunk in scene.chunks]
    state.knot = state.pinned = state.given = None
    state.cache.clear(state.index - scene.latents)
    state.codec.prime(state.recent[-1][:1])
    if prompts is not None:
        state.blend, state.prompt, state.text = None, scene.prompt, prompts.text(scene.prompt)
    recache.recache(config, transformer, state)
