"""Define cues, which are what can happen to a take, and the settings that they change.

A cue lands at a chunk border: on the first one at or after the latent that it is asked for.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from typing import Literal

from models.cache_shape import AnchorPolicy
from models.errors import UserError
from models.text.emphasis import parse_emphasis


class CueError(UserError, ValueError):
    """Report a cue that a model cannot follow."""


class OnSwitch(StrEnum):
    """Name what a prompt change does to the cache."""

    RECACHE = "recache"  # compute the keys of what is visible anew, under the new prompt
    FLUSH = "flush"  # keep sink and newest latent
    NONE = "none"  # keep the old keys
    CLEAR = "clear"  # forget
    RECALL = "recall"  # bring back the scene whose prompt means the same, or else recache


class StartBy(StrEnum):
    """Name how a take begins with an image."""

    PIN = "pin"  # the first latent is the image, and is held in place while the first chunk is denoised
    PREFIX = "prefix"  # the first chunk is the image standing still


class OnLora(StrEnum):
    """Name what other scales of LoRAs do to the cache, where the prompt stays."""

    RECACHE = "recache"
    FLUSH = "flush"
    NONE = "none"
    CLEAR = "clear"


class SinkOnSwitch(StrEnum):
    """Name what a recache does to the sink."""

    KEEP = "keep"
    REANCHOR = "reanchor"  # the oldest recached chunk becomes the sink


MOST_CHARACTERS = 4000  # of a prompt
_INVISIBLE = re.compile(r"[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f]")  # control characters that separate nothing
_NOTHING = re.compile(r"[\s\u00ad\u200b-\u200f\u2060-\u2064\ufe00-\ufe0f\ufeff]*")  # spaces, also of no width


def checked_prompt(text: str) -> str:
    """Return the text of a prompt if it can be one; ValueError says in one line why not and what to do."""
    if len(text) > MOST_CHARACTERS:
        raise ValueError(f"a prompt of {len(text)} characters is too long; shorten it to {MOST_CHARACTERS}")
    if (read := len(unicodedata.normalize("NFKC", text))) > MOST_CHARACTERS:  # one character can become 18
        raise ValueError(f"a prompt that is read as {read} characters is too long; shorten it to {MOST_CHARACTERS}")
    if _NOTHING.fullmatch(text):
        raise ValueError("a prompt must not be empty")
    if half := re.search(r"[\ud800-\udfff]", text):
        raise ValueError(f"character {half.start() + 1} of the prompt is half a character (a surrogate); type it anew")
    if control := _INVISIBLE.search(text):
        code = f"U+{ord(control[0]):04X}"
        raise ValueError(f"character {control.start() + 1} of the prompt is a control character ({code}); remove it")
    return text


def typed_prompt(text: str) -> str:
    """Return the text of a prompt as `checked_prompt` does; ValueError also if it emphasises words in a wrong way."""
    parse_emphasis(checked_prompt(text))
    return text


@dataclass(frozen=True)
class Prompt:
    """Change the prompt; over `blend` chunks, if more than one, the text embeddings move there in equal parts.

    Where several takes run in step, a tuple has a prompt for each.
    """

    text: str | tuple[str, ...]
    blend: int = 1

    def __post_init__(self) -> None:
        if not all(t.strip() for t in ([self.text] if isinstance(self.text, str) else self.text)):
            raise ValueError("a prompt must not be empty")
        if self.blend < 1:
            raise ValueError(f"blend counts chunks and is at least 1, not {self.blend}")


@dataclass(frozen=True)
class Cut:
    """Cut: the past is dropped, the next chunk becomes the sink."""


@dataclass(frozen=True)
class Seed:
    """Draw other noise from here on (a reroll)."""

    seed: int


@dataclass(frozen=True)
class Hold:
    """Hold the picture before a chunk while an avatar's sound goes on, because the chunk was not drawn in time.

    The chunk and those after it hear the sound `frames` frames later than before, so that mouth and sound meet.
    """

    frames: int

    def __post_init__(self) -> None:
        if self.frames < 1:
            raise ValueError(f"hold names a number of frames, not {self.frames}")


@dataclass(frozen=True)
class Hush:
    """Interrupt an avatar: of what was heard so far, the chunks from here on hear nothing after frame `frame`.

    A knot that was made hearing it goes. Chunks before keep what they heard, so the take can be drawn again.
    """

    frame: int  # of the film, that of the take and the frames held before
    speaker: str | None = None  # of a dialogue, whose other faces go on; None: all

    def __post_init__(self) -> None:
        if self.frame < 0:
            raise ValueError(f"hush names a frame of the film, not {self.frame}")


@dataclass(frozen=True)
class Reference:
    """Give the image that a take stays true to, or another one from here on; RGB [H, W, 3] uint8 as bytes.

    Where several takes run in step, either they share it or the bytes are an image for each, one behind the other.
    """

    pixels: bytes = field(repr=False)
    width: int
    height: int


@dataclass(frozen=True)
class Recache:
    """Make the keys and values of the visible past anew from its latents, under the prompt that then holds.

    A take that goes on from a snapshot without keys begins with it.
    """


@dataclass(frozen=True)
class Start:
    """Begin with given pictures, at a take's start or as a new scene: an image, or the end of a film to go on from.

    The pictures are RGB [frames, H, W, 3] uint8 as bytes, of the take's size. Several are a film, which stands at the
    beginning of what is drawn; a single one is an image, for which `by` says how (None: as the model does it). Of a
    film that the same model made, `latents` are its newest clean ones, [1, C, n, h, w] float32 as bytes, whose n is
    `kept`; they are gone on from instead of pictures that a codec has been through twice.
    """

    pixels: bytes = field(repr=False)
    width: int
    height: int
    by: StartBy | None = None
    latents: bytes = field(default=b"", repr=False)
    kept: int = 0

    def __post_init__(self) -> None:
        if not self.pixels or len(self.pixels) % (3 * self.width * self.height):
            raise ValueError(f"{len(self.pixels)} bytes are not whole pictures of {self.width}x{self.height}")
        if self.frames > 1 and self.by is StartBy.PIN:
            raise ValueError("a film is gone on from as a prefix; only an image can be pinned")

    @property
    def frames(self) -> int:
        """Return how many pictures there are."""
        return len(self.pixels) // (3 * self.width * self.height)


@dataclass(frozen=True)
class Region:
    """Name the part of a picture that is drawn, while the source stays around it: a digit, 1 or 0, for each cell.

    A cell is what one place of a latent stands for; cells are listed row by row.
    """

    cells: str = field(repr=False)
    rows: int
    columns: int

    def __post_init__(self) -> None:
        if len(self.cells) != self.rows * self.columns or not set(self.cells) <= {"0", "1"}:
            raise ValueError(f"a region has {self.rows}x{self.columns} cells of 0 or 1")
        if "1" not in self.cells:
            raise ValueError("a region leaves something to be drawn")


@dataclass(frozen=True)
class Follow:
    """Follow a film or a camera from here on, or change how the present one is followed.

    `source` names it (None: the present one), and `strength` says how far the picture may leave it, from 0 to 1 (None:
    as it is, or as the model has it). A source that begins anew has no region unless one is given.
    """

    source: str | None = None
    strength: float | None = None
    region: Region | None = None

    def __post_init__(self) -> None:
        if self.strength is not None and not 0 < self.strength <= 1:
            raise ValueError(f"strength is more than 0 and at most 1, not {self.strength}")


@dataclass(frozen=True)
class Unfollow:
    """Follow no film and no camera any more."""


@dataclass(frozen=True)
class Recall:
    """Bring back the scene that stood at latent `latent`, as it was at its end: its last chunks become the past.

    The take goes on under the prompt of that scene, unless another one lands with it.
    """

    latent: int

    def __post_init__(self) -> None:
        if self.latent < 0:
            raise ValueError(f"recall names a latent of the take, not {self.latent}")


MOST_SCALE = 2.0  # of a LoRA, in both directions
_SCALE = re.compile(r"[+-]?(?:\d{1,9}(?:\.\d{0,20})?|\.\d{1,20})", re.ASCII)


@dataclass(frozen=True)
class LoraScale:
    """Give a LoRA another scale from here on; 0 takes it out. ValueError for a scale beyond MOST_SCALE."""

    name: str
    scale: float

    def __post_init__(self) -> None:
        if not self.name.strip() or not self.name.isprintable():
            raise ValueError(f"{self.name[:80]!r} names no LoRA; it is named by its file, as in style.safetensors:0.8")
        if not -MOST_SCALE <= self.scale <= MOST_SCALE:
            raise ValueError(f"{self.name}: the scale of a LoRA is between -2 and 2, not {self.scale:g}")

    @classmethod
    def parse(cls, text: str) -> LoraScale:
        """Return what `FILE` or `FILE:SCALE` says; without a scale it is 1."""
        name, colon, scale = text.rpartition(":")
        if not colon or not name or "/" in scale or "\\" in scale:
            return cls(text, 1.0)
        if not _SCALE.fullmatch(scale.strip()):
            raise ValueError(
                f"{text[:80]}: {scale.strip()[:20]!r} is no scale of a LoRA; write FILE:SCALE, as in {name}:0.8"
            )
        return cls(name, float(scale))


def scale_text(scale: float) -> str:
    """Return a scale as `LoraScale.parse` reads it: exactly, and without an exponent."""
    return format(Decimal(repr(scale)), "f").removesuffix(".0")


Value = OnSwitch | OnLora | SinkOnSwitch | AnchorPolicy


Setting = Literal["on_switch", "on_lora", "sink_on_switch", "anchor"]
SETTINGS: dict[Setting, type[OnSwitch] | type[OnLora] | type[SinkOnSwitch] | type[AnchorPolicy]] = {
    "on_switch": OnSwitch,
    "on_lora": OnLora,
    "sink_on_switch": SinkOnSwitch,
    "anchor": AnchorPolicy,
}  # setting → its values, which are written as text


@dataclass(frozen=True)
class Parameter:
    """Give a setting of the rollout another value, written as text; ValueError if there is no such setting or value."""

    name: Setting
    value: str

    def __post_init__(self) -> None:
        if self.name not in SETTINGS:
            raise ValueError(f"no parameter is called {self.name!r}; there are {', '.join(SETTINGS)}")
        self.parsed()

    def parsed(self) -> Value:
        """Return the value that the text names; ValueError lists those that there are."""
        values = SETTINGS[self.name]
        if self.value not in list(values):
            raise ValueError(f"{self.name} is one of {', '.join(values)}, not {self.value!r}")
        return values(self.value)


Cue = (
    Prompt | Cut | Seed | Parameter | Reference | Hush | Hold | Recache | Start | Follow | Unfollow | Recall | LoraScale
)

OTHER_WORDS = {  # of other programs, for what a cue of ours has another word for
    "start_image": "start: picture.png",
    "image": "start: picture.png",
    "video": "start: clip.mp4 goes on from a film, source: clip.mp4 follows it",
    "v2v": "source: clip.mp4",
}
