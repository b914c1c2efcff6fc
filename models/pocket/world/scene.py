"""Describe what the pocket world can show: scenes, their captions, and which combinations are held out.

A scene is a point in a small space of attributes. Captions are generated from a scene with varied
wording, so that a text encoder trained on them learns synonyms; `Scene.caption(None)` is the plain one.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (228, 52, 46),
    "yellow": (250, 205, 40),
    "green": (52, 176, 70),
    "blue": (52, 110, 235),
    "purple": (150, 64, 200),
    "white": (244, 244, 248),
}

# attribute -> value -> ways to say it; the first wording is the plain one, an empty one leaves the value unsaid
WORDING: dict[str, dict[str, tuple[str, ...]]] = {
    "size": {"small": ("small", "little", "tiny"), "large": ("large", "big", "huge", "")},
    "colour": {name: (name,) for name in COLOURS},
    "subject": {
        "ball": ("ball", "sphere"),
        "cube": ("cube", "box"),
        "star": ("star",),
        "fish": ("fish",),
        "rocket": ("rocket", "spaceship"),
    },
    "motion": {
        "left": ("drifts left", "moves left", "flies left"),
        "right": ("drifts right", "moves right", "flies right"),
        "bounce": ("bounces", "jumps", "hops"),
        "circle": ("circles", "flies in circles"),
        "sway": ("sways", "swings"),
    },
    "side": {
        "left": ("on the left",),
        "middle": ("in the middle", "in the centre", ""),
        "right": ("on the right",),
    },
    "place": {
        "meadow": ("over the meadow", "over green hills", "over the grass"),
        "sea": ("over the sea", "over the ocean"),
        "forest": ("in the forest", "in the woods"),
        "desert": ("in the desert",),
        "city": ("in the city", "in the town"),
    },
    "light": {
        "day": ("by day", "in daylight", "in sunshine", ""),
        "sunset": ("at sunset", "at dusk"),
        "night": ("at night", "by moonlight"),
    },
    "weather": {
        "clear": ("", "in clear weather"),
        "rain": ("in the rain", "in rainy weather"),
        "snow": ("in the snow", "in snowy weather"),
        "fog": ("in fog", "in the mist"),
    },
}

# facts that no caption tells, of 2 or 4 values each: a take's noise decides them, afterwards its past knows them
UNSAID: dict[str, tuple[str, ...]] = {
    "layout": ("plain", "turned"),  # turned is the mirror image of everything behind the subject
    "landmark": ("balloon", "tower"),
    "palette": ("azure", "mint", "rose", "amber"),  # colour grade of sky and ground
    "hour": ("early", "late"),  # sun or moon high and small, or low and large
    "companion": ("birds", "kite"),  # a small second object, across from the landmark
}

WALKERS = frozenset({"left", "right"})  # motions across the whole picture, which leave no side to name

# colour x subject pairs that no training ever sees, so that composition can be measured
HELD_OUT = frozenset({("red", "fish"), ("yellow", "rocket"), ("green", "cube"), ("blue", "star"), ("purple", "ball")})


def vocabulary() -> tuple[str, ...]:
    """Return every word of every wording, sorted: what a text encoder trained on captions knows."""
    words = {"a"} | {w for values in WORDING.values() for ways in values.values() for way in ways for w in way.split()}
    return tuple(sorted(words))


@dataclass(frozen=True)
class Scene:
    """Hold one picture's worth of facts; every field is a key of `WORDING[field]` or one of `UNSAID[field]`."""

    size: str = "large"
    colour: str = "red"
    subject: str = "ball"
    motion: str = "bounce"
    side: str = "middle"
    place: str = "meadow"
    light: str = "day"
    weather: str = "clear"
    layout: str = "plain"
    landmark: str = "balloon"
    palette: str = "azure"
    hour: str = "early"
    companion: str = "birds"

    @property
    def held_out(self) -> bool:
        return (self.colour, self.subject) in HELD_OUT

    def says(self, attribute: str) -> bool:
        """Return whether the scene's caption names that attribute."""
        return attribute in WORDING and not (attribute == "side" and self.motion in WALKERS)

    def caption(self, rng: random.Random | None = None) -> str:
        """Return a sentence that says this scene; with an rng the wording and the order of the phrases vary."""

        def say(attribute: str) -> str:
            ways = WORDING[attribute][getattr(self, attribute)]
            return ways[0] if rng is None else rng.choice(ways)

        setting = [phrase for phrase in (say("place"), say("light"), say("weather")) if phrase]
        if rng is not None:
            rng.shuffle(setting)
        side = say("side") if self.says("side") else ""
        subject = ["a", say("size"), say("colour"), say("subject"), say("motion"), side]
        return " ".join(phrase for phrase in (*subject, *setting) if phrase)


def unsaid_bits(scene: Scene) -> tuple[int, ...]:
    """Return unsaid facts as bits of ±1, in the order of `UNSAID`: one bit for two values, two (high, low) for four."""
    bits: list[int] = []
    for fact, values in UNSAID.items():
        index = values.index(getattr(scene, fact))
        bits += [1 if index >> place & 1 else -1 for place in reversed(range((len(values) - 1).bit_length()))]
    return tuple(bits)


def random_scene(rng: random.Random, *, held_out: bool = False) -> Scene:
    """Draw a scene uniformly; `held_out` chooses on which side of the split its colour and subject lie."""
    while True:
        said = {attribute: rng.choice(list(values)) for attribute, values in WORDING.items()}
        scene = Scene(**said, **{fact: rng.choice(values) for fact, values in UNSAID.items()})
        if scene.held_out == held_out:
            return scene


def changed_scene(scene: Scene, rng: random.Random, *, held_out: bool = False) -> Scene:
    """Return a scene that differs from `scene` in one to four said attributes; what no prompt says stays."""
    while True:
        chosen = rng.sample(list(WORDING), rng.randint(1, 4))
        new = replace(
            scene,
            **{name: rng.choice([v for v in WORDING[name] if v != getattr(scene, name)]) for name in chosen},
        )
        if new.held_out == held_out and new.caption() != scene.caption():
            return new
