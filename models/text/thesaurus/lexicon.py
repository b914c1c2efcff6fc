"""Look up the meaning of words and phrases in the thesaurus, or their role in a sentence."""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from types import ModuleType

from models.text.thesaurus import chinese, english, french, german, spanish
from models.text.thesaurus.wordings import ATTRIBUTE

Phrase = tuple[str, ...]  # folded words

MOST_WORDS = 6  # of a phrase
# foreign words that are also common English ones; they count only in prompts of their language
FALSE_FRIENDS = frozenset(
    (
        "rot",
        "tag",
        "see",
        "stern",
        "gross",
        "champ",
        "mar",
        "die",
        "sale",
        "boule",
        "chico",
        "medio",
        "tarde",
        "bota",
        "nave",
        "pez",
        "cite",
        "bois",
        "rue",
        "gras",
        "feld",
        "pre",
        "bond",
    )
)
_ELISION = re.compile(r"\b(l|d|s|n|c|qu|j|m|t)['’](?=\w)")


class Part(Enum):
    """Name the role of a word in a sentence, apart from its meaning."""

    FILLER = auto()  # says nothing
    MOVER = auto()  # moves, in a direction that another word says
    NEGATOR = auto()
    JOINER = auto()  # and, or


@dataclass
class Lexicon:
    """Hold the phrases of one language with their meanings, and words with their roles."""

    meanings: dict[Phrase, str] = field(default_factory=dict)  # → plain wording, or LEFT or RIGHT
    parts: dict[str, Part] = field(default_factory=dict)
    words: set[str] = field(default_factory=set)  # every word of every phrase, and of the parts

    def longest(self, words: Sequence[str]) -> tuple[str, int] | None:
        """Return the meaning and number of words of the longest phrase with which `words` begin."""
        for length in range(min(MOST_WORDS, len(words)), 0, -1):
            meaning = self.meanings.get(tuple(words[:length]))
            if meaning is not None:
                return meaning, length
        return None


def folded(text: str) -> str:
    """Return a text for comparison, without capitals and accents, and with elided articles split off (`l'eau`)."""
    plain = unicodedata.normalize("NFD", unicodedata.normalize("NFKC", text).casefold())
    plain = unicodedata.normalize("NFC", re.sub("[\u0300-\u036f]", "", plain))
    return _ELISION.sub(r"\1 ", plain).replace("’", "'")


@functools.cache
def lexicons() -> Mapping[str, Lexicon]:
    """Return the languages with spaces between words, by name; English is the first."""
    return {m.__name__.rpartition(".")[2]: _lexicon(m) for m in (english, german, french, spanish)}


@functools.cache
def chinese_terms() -> Mapping[str, str | Part]:
    """Return every Chinese term with its meaning or its role in a sentence."""
    terms: dict[str, str | Part] = dict.fromkeys(chinese.FILLER.split(), Part.FILLER)
    terms |= dict.fromkeys(chinese.NEGATORS.split(), Part.NEGATOR)
    return terms | {word: wording for wording, all_ in chinese.WORDS.items() for word in all_.split(", ")}


@functools.cache
def near_words() -> Mapping[str, tuple[str, ...]]:
    """Return words that pocket does not know, each with plain wordings near in meaning."""
    found: dict[str, tuple[str, ...]] = {}
    for wordings, words in english.NEAR.items():
        for word in words.split():
            found.setdefault(folded(word), tuple(wordings.split(", ")))
    movers = ("drifts left", "drifts right")
    return found | {word: movers for lexicon in (english, german, french, spanish) for word in _list(lexicon.MOVERS)}


def _list(words: str) -> list[str]:
    return [folded(word) for word in words.split()]


def _lexicon(language: ModuleType) -> Lexicon:
    lexicon = Lexicon()
    for part, words in (
        (Part.MOVER, language.MOVERS),
        (Part.FILLER, language.FILLER),
        (Part.JOINER, language.JOINERS),
        (Part.NEGATOR, language.NEGATORS),
    ):
        lexicon.parts |= dict.fromkeys(_list(words), part)
    for wording, ways in language.WORDS.items():
        assert wording in ATTRIBUTE or wording.startswith("to the "), wording
        for way in ways.split(", "):
            for spelling in {way, re.sub("[äöü]", lambda m: m[0] + "\u0308e", way)}:
                phrase = tuple(re.split(r"[\s-]+", folded(spelling)))
                lexicon.meanings.setdefault(phrase, wording)
    lexicon.words = {word for phrase in lexicon.meanings for word in phrase} | set(lexicon.parts)
    return lexicon
