"""List the plain wordings of everything that pocket understands, by attribute, to which the thesaurus maps.

Tests compare these wordings with those of the captions that pocket is trained on (`models.pocket.world.scene.WORDING`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

WORDINGS: Mapping[str, Sequence[str]] = {  # attribute → plain wordings, in the order in which a caption says them
    "size": ("small", "large"),
    "colour": ("red", "yellow", "green", "blue", "purple", "white"),
    "subject": ("ball", "cube", "star", "fish", "rocket"),
    "motion": ("drifts left", "drifts right", "bounces", "circles", "sways"),
    "side": ("on the left", "in the middle", "on the right"),
    "place": ("over the meadow", "over the sea", "in the forest", "in the desert", "in the city"),
    "light": ("by day", "at sunset", "at night"),
    "weather": ("in clear weather", "in the rain", "in the snow", "in fog"),
}
ATTRIBUTE: Mapping[str, str] = {wording: name for name, all_ in WORDINGS.items() for wording in all_}
OPPOSITE: Mapping[str, str] = {  # the wording for the absence of something
    "small": "large",
    "large": "small",
    "in the rain": "in clear weather",
    "in the snow": "in clear weather",
    "in fog": "in clear weather",
}
LEFT, RIGHT = "to the left", "to the right"  # a motion or a side, depending on the rest of the prompt
