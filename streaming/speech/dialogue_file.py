"""Read a dialogue: who speaks, with which face and voice, and what they say in turn.

    # a line that begins with a hash is a comment
    ada = voice en-gb+f3
    guest = guest.png, voice de+m3, speed 150, pitch 40

    ada: Good evening.
    guest: Guten Abend!
    pause 1s
    ada: How was the journey?

Every line is one of these five, or blank; any other is refused with its number.
"""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from models.errors import UserError
from models.pocket.world.portrait.gallery import GALLERY, FaceError, face_named
from models.pocket.world.portrait.tts import Speaker
from streaming.take.position import seconds_of
from streaming.take.speakers import composed
from streaming.take.text_file import PROMPT_END, lines_of, read_text

MOST_SPEAKERS = 6
MOST_TURNS = 2000
MOST_CHARACTERS = 4000  # of a turn
MOST_PAUSE = 60.0  # seconds
SPEEDS, PITCHES = range(80, 301), range(100)  # as `Speaker` has them

# the voices of speakers that choose none: of the gallery's faces their own, of others the first that is left
GALLERY_VOICES = {"ada": "f2", "bo": "f4", "cem": "m3", "dele": "m1", "elin": "f3", "finn": "m5"}


def usual_voices(names: Sequence[str]) -> dict[str, str]:
    """Return a voice (a variant of espeak-ng) for each of up to six speakers, by name in lower case."""
    keys = [name.casefold() for name in names]
    left = [voice for name, voice in GALLERY_VOICES.items() if name not in keys]
    return {key: GALLERY_VOICES[key] if key in GALLERY_VOICES else left.pop(0) for key in keys}


_JOINERS = "\u200c\u200d"
_NAME = re.compile(r"[^\W_](?:[\w .'-]{0,38}[\w.])?")
_VOICE = re.compile(r"([a-z]{2,8}(?:-[a-z0-9]{1,12})*)(?:\+([A-Za-z0-9]{1,32}))?", re.ASCII)


class DialogueError(UserError):
    """Report, in one line with the number of the line that is wrong, a dialogue that cannot be used."""


@dataclass(frozen=True)
class Role:
    """Describe a speaker: the face as a picture file or as a face of the portrait world, and the voice."""

    name: str
    line: int  # on which it is first named
    voice: Speaker
    portrait: Path | None = None  # a picture, or else `face`
    face: str = ""  # as `models.pocket.world.portrait.gallery.face_named` reads it


@dataclass(frozen=True)
class Turn:
    """Hold what a speaker says without another's turn between, and the silence before it."""

    role: int  # index of the speaker
    text: str
    line: int
    pause: float | None = None  # seconds since the turn before; None: the usual gap


@dataclass(frozen=True)
class Dialogue:
    """Hold the speakers of a dialogue in the order in which they stand, and their turns."""

    roles: tuple[Role, ...]
    turns: tuple[Turn, ...]
    notes: tuple[str, ...] = ()  # what a person should know of the file


@dataclass
class _Draft:
    """Collect what a line `NAME = ...` says of a speaker."""

    name: str
    line: int
    portrait: Path | None = None
    face: str | None = None
    language: str | None = None
    variant: str | None = None
    speed: int | None = None
    pitch: int | None = None

    def role(self, variant: str) -> Role:
        """Return the speaker, with the voice `variant` and espeak-ng's usual values for what was not said."""
        usual = Speaker()
        voice = Speaker(
            language=self.language or usual.language,
            variant=self.variant or variant,
            speed=usual.speed if self.speed is None else self.speed,
            pitch=usual.pitch if self.pitch is None else self.pitch,
        )
        return Role(self.name, self.line, voice, self.portrait, self.face or "")


def read_dialogue(path: Path) -> Dialogue:
    """Read the dialogue in a text file; pictures lie beside it, unless their paths are absolute.

    Raises DialogueError with the number of the first line that cannot be read, and TakeError if the file is no text.
    """
    return _Reader(path).read(lines_of(read_text(path), PROMPT_END))


class _Reader:
    """Read the lines of one file in order."""

    def __init__(self, path: Path) -> None:
        self._file, self._folder = path.name, path.parent
        self._drafts: dict[str, _Draft] = {}  # by name without case
        self._turns: list[Turn] = []
        self._pause: float | None = None
        self._line = 0

    def read(self, lines: list[tuple[int, str]]) -> Dialogue:
        for self._line, text in lines:
            if text.startswith("#"):
                continue
            mark = re.search("[:=\uff1a\uff1d]", text)  # also as wide as a Chinese or Japanese character
            if mark is None:
                self._read_pause(text)
            else:
                name = composed(text[: mark.start()])
                if mark[0] in "=\uff1d":
                    self._read_role(name, text[mark.end() :])
                else:
                    self._read_turn(name, text[mark.end() :].strip())
        if self._pause is not None:
            raise self._error("a pause at the end; it is the silence before the next turn")
        if not self._turns:
            raise DialogueError(f"{self._file}: nobody says anything; a turn is a line such as ada: Good evening.")
        roles = self._roles()
        heard = {turn.role for turn in self._turns}
        notes = [f"{self._file}: {role.name} says nothing" for i, role in enumerate(roles) if i not in heard]
        return Dialogue(roles, tuple(self._turns), tuple(notes))

    def _error(self, why: str) -> DialogueError:
        return DialogueError(f"{self._file}:{self._line}: {why}")

    # -- lines -----------------------------------------------------------------------------------------------------

    def _read_pause(self, text: str) -> None:
        found = re.fullmatch(r"pause\s+(\S+)", text)
        if found is None:
            raise self._error(
                f"{text[:40]!r} is no line of a dialogue; write NAME: what is said, NAME = portrait, voice, "
                "pause 1s or # comment"
            )
        try:
            seconds = seconds_of(found[1])
        except ValueError:
            raise self._error(f"{found[1][:40]!r} is no time; write pause 1s, pause 1.5s or pause 500ms") from None
        if not 0 <= seconds <= MOST_PAUSE:
            raise self._error(f"a pause lasts from 0 to {MOST_PAUSE:g} seconds")
        if not self._turns:
            raise self._error("a pause before the first turn; it is the silence between two turns")
        if self._pause is not None:
            raise self._error("two pauses in a row; say the sum in one")
        self._pause = seconds

    def _read_turn(self, name: str, text: str) -> None:
        key = self._key(name)
        if not text:
            raise self._error(f"{name.strip()} says nothing; write pause 1s for a silence")
        if len(text) > MOST_CHARACTERS:
            raise self._error(f"{len(text)} characters are too long a turn; split it at {MOST_CHARACTERS}")
        if len(self._turns) == MOST_TURNS:
            raise self._error(f"more than {MOST_TURNS} turns; split the dialogue")
        if key not in self._drafts:
            if key not in GALLERY:
                raise self._error(self._unknown(name.strip()))
            self._drafts[key] = self._new(name.strip())
            self._drafts[key].face = key
        role = list(self._drafts).index(key)
        self._turns.append(Turn(role, text, self._line, self._pause))
        self._pause = None

    def _unknown(self, name: str) -> str:
        known = [*(draft.name for draft in self._drafts.values()), *GALLERY]
        near = difflib.get_close_matches(name, known, 1)
        hint = f"did you mean {near[0]}?" if near else f"say which before, such as {name} = {name}.png, voice en-gb+f3"
        return f"{name} has no face; {hint}"

    def _read_role(self, name: str, parts: str) -> None:
        key = self._key(name)
        if key in self._drafts:
            before = self._drafts[key].line
            raise self._error(f"{name.strip()} has a face and a voice since line {before}; say all of it there")
        draft, attributes = self._new(name.strip()), list[str]()
        for part in (p.strip() for p in parts.split(",")):
            if "=" in part:
                attributes.append(part)
            else:
                self._read_part(draft, part)
        if attributes:
            self._set_face(draft, ",".join(attributes))
        if draft.portrait is None and draft.face is None:
            if key not in GALLERY:
                raise self._error(
                    f"{draft.name} has no face; name a picture, one of {', '.join(GALLERY)}, or hair=curly"
                )
            draft.face = key
        self._drafts[key] = draft

    def _read_part(self, draft: _Draft, part: str) -> None:
        word, _, value = part.partition(" ")
        if not part:
            raise self._error("a part between two commas is empty")
        if word == "voice":
            found = _VOICE.fullmatch(value.strip())
            if found is None:
                raise self._error(f"{part[:60]!r} is no voice; write a language and a variant, such as voice en-gb+f3")
            self._only(draft.language, "voice")
            draft.language, draft.variant = found[1], found[2]
        elif word == "speed":
            self._only(draft.speed, "speed")
            draft.speed = self._number(part, value, SPEEDS)
        elif word == "pitch":
            self._only(draft.pitch, "pitch")
            draft.pitch = self._number(part, value, PITCHES)
        elif part in GALLERY:
            self._set_face(draft, part)
        else:
            self._only(draft.portrait or draft.face, "face")
            draft.portrait = self._folder / part
            if not draft.portrait.is_file():
                raise self._error(
                    f"{part[:80]!r} is no picture here; write a picture beside this file, one of {', '.join(GALLERY)}, "
                    "voice en-gb+f3, speed 165 or pitch 50"
                )

    def _set_face(self, draft: _Draft, text: str) -> None:
        self._only(draft.portrait or draft.face, "face")
        try:
            face_named(text)
        except FaceError as e:
            raise self._error(str(e)) from None
        draft.face = text

    # -- parts -----------------------------------------------------------------------------------------------------

    def _key(self, name: str) -> str:
        # accents and vowel signs, and what joins letters, are part of a word in Unicode, and not to Python
        letters = "".join("x" if unicodedata.category(c)[0] == "M" or c in _JOINERS else c for c in name.strip())
        if not _NAME.fullmatch(letters):
            raise self._error(f"{name.strip()[:40]!r} is no name; a name has up to 40 letters, digits, spaces and .'-")
        return name.strip().casefold()

    def _new(self, name: str) -> _Draft:
        if len(self._drafts) == MOST_SPEAKERS:
            raise self._error(f"{name} is one too many; a dialogue has up to {MOST_SPEAKERS} speakers")
        return _Draft(name, self._line)

    def _only(self, before: object, what: str) -> None:
        if before is not None:
            raise self._error(f"a second {what}; say one")

    def _number(self, part: str, value: str, allowed: range) -> int:
        if not re.fullmatch("[0-9]{1,3}", value.strip(), re.ASCII) or int(value) not in allowed:
            raise self._error(f"{part[:40]!r}: write a whole number from {allowed.start} to {allowed[-1]}")
        return int(value)

    def _roles(self) -> tuple[Role, ...]:
        """Return the speakers; those that chose no voice get their face's own or the first that is left."""
        voices = {key: draft.variant for key, draft in self._drafts.items()}
        wished = [(key, GALLERY_VOICES.get(draft.face or "")) for key, draft in self._drafts.items()]
        for key, wish in (*wished, *((key, voice) for key in voices for voice in GALLERY_VOICES.values())):
            if voices[key] is None and wish not in voices.values():
                voices[key] = wish
        return tuple(draft.role(voices[key] or "") for key, draft in self._drafts.items())
