r"""Parse emphasis in prompts: `a (red:1.5) ball` counts the text values of `red` one and a half times.

The factor is 0 to 2, and 0 takes the word out. `\(` and `\)` are parentheses of the text. Scaling a row of the text
values by c equals scaling its column of every cross-attention map by c (Prompt-to-Prompt, arXiv 2208.01626; MotionCLR,
arXiv 2410.18977).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass

MOST = 2.0  # beyond it pictures lose sharpness and the rest of the prompt
_SIGN = re.compile(r"\\([()（）])|([(（])|([)）])")
_NUMBER = re.compile(r"\d{1,9}(?:\.\d{0,20})?|\.\d{1,20}", re.ASCII)
_HOW = r"write (word:1.5) to emphasise, \( and \) for parentheses of the text"


@dataclass(frozen=True)
class Emphasis:
    """Hold a factor, 0 to MOST, of the characters from `begin` up to `end` of a text."""

    begin: int
    end: int
    factor: float


@dataclass(frozen=True)
class EmphasisedText:
    """Hold a prompt without the signs of emphasis, and what is emphasised in it, in order and without overlap."""

    text: str
    emphases: tuple[Emphasis, ...] = ()

    def mapped(self, change: Callable[[str], str]) -> EmphasisedText:
        """Return the text changed by a function, with the emphases where that function puts their ends.

        A function whose result for a beginning of the text is not the beginning of its result moves them by a few
        characters, so that a word beside them may be the one that counts.
        """
        moved = [
            Emphasis(len(change(self.text[: e.begin])), len(change(self.text[: e.end])), e.factor)
            for e in self.emphases
        ]
        return EmphasisedText(change(self.text), tuple(moved))

    def at(self, begin: int, end: int) -> Emphasis | None:
        """Return the first emphasis that shares characters with those from `begin` up to `end`; None without one."""
        return next((e for e in self.emphases if e.begin < end and begin < e.end), None)


def parse_emphasis(prompt: str) -> EmphasisedText:
    """Return a prompt's text and emphases; ValueError says in one line which parenthesis is none of them.

    Parentheses of full width count like others.
    """
    text = ""
    emphases: list[Emphasis] = []
    done, opened = 0, None  # characters that were read; the place of a parenthesis that is open
    for sign in _SIGN.finditer(prompt):
        place = sign.start() + 1
        if sign[1] is not None and opened is None:
            text += prompt[done : sign.start()] + sign[1]
        elif sign[2] is not None and opened is None:
            text, opened = text + prompt[done : sign.start()], place
        elif sign[2] is not None:
            raise ValueError(f"'(' at character {place} of the prompt stands within another, which cannot be; {_HOW}")
        elif sign[3] is not None and opened is None:
            raise ValueError(f"')' at character {place} of the prompt closes nothing; {_HOW}")
        elif sign[3] is not None and opened is not None:
            phrase, factor = _weighted(prompt[done : sign.start()], opened)
            emphases.append(Emphasis(len(text), len(text) + len(phrase), factor))
            text, opened = text + phrase, None
        else:  # an escaped parenthesis within an emphasis belongs to its phrase
            continue
        done = sign.end()
    if opened is not None:
        raise ValueError(f"'(' at character {opened} of the prompt is never closed; {_HOW}")
    return EmphasisedText(text + prompt[done:], tuple(emphases))


def read_emphasis(prompt: str) -> tuple[EmphasisedText, bool]:
    """Return a prompt's text and emphases, and whether its parentheses could be read as emphasis.

    Where they could not, as in takes of earlier releases, they are text.
    """
    try:
        return parse_emphasis(prompt), True
    except ValueError:
        return EmphasisedText(prompt), False


def _weighted(inside: str, place: int) -> tuple[str, float]:
    """Return phrase and factor of what stands in the parentheses that open at character `place`."""
    colon = max(inside.rfind(":"), inside.rfind("："))
    phrase, number = inside[: max(colon, 0)].strip(), unicodedata.normalize("NFKC", inside[colon + 1 :].strip())
    shown = f"({' '.join(inside.split())[:40]}) at character {place} of the prompt"
    if not phrase:
        raise ValueError(f"{shown} is no emphasis; {_HOW}")
    if not _NUMBER.fullmatch(number) or float(number) > MOST:
        said = " ".join(number.split())[:20] or "nothing"
        raise ValueError(f"{shown} needs a factor from 0 to {MOST:g}, such as 1.5, not {said}; {_HOW}")
    return re.sub(r"\\([()（）])", r"\1", phrase), float(number)
