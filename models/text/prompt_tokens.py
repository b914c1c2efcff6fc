"""Split a prompt into words and phrases, and look up their meanings."""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from models.text.emphasis import Emphasis, EmphasisedText
from models.text.thesaurus.lexicon import (
    FALSE_FRIENDS,
    MOST_WORDS,
    Lexicon,
    Part,
    chinese_terms,
    folded,
    lexicons,
    near_words,
)
from models.text.thesaurus.wordings import ATTRIBUTE

_HAN = re.compile("[\u3400-\u9fff\uf900-\ufaff]")
BREAK = "|"  # stands for punctuation, which ends phrases and the reach of negations


@dataclass
class Token:
    """Hold a word or phrase of the prompt with its meaning or role; `negated` and `effective` are set later."""

    text: str
    meaning: str | None = None
    part: Part | None = None
    plain: bool = False  # whether the encoder was trained on all of its words
    negated: bool = False
    effective: bool = False  # whether it is a negation that negates something
    emphases: tuple[Emphasis | None, ...] = ()  # of its words, in order

    @property
    def attribute(self) -> str | None:
        """Return the attribute of which the meaning is a value, such as `colour`; None without a meaning."""
        return ATTRIBUTE.get(self.meaning or "")

    @property
    def emphasis(self) -> Emphasis | None:
        """Return the first emphasis that any of its words has; None without one."""
        return next((e for e in self.emphases if e is not None), None)


@dataclass(frozen=True)
class Word:
    """Hold a word as written, or BREAK, and its emphasis."""

    text: str
    emphasis: Emphasis | None = None


def split_words(prompt: EmphasisedText) -> list[Word]:
    """Return the words of a text, runs of signs such as emoji, and BREAK for punctuation."""
    text, words, at = prompt.text, list[Word](), 0
    kinds = [(_kind(text, i), c) for i, c in enumerate(text)]
    for kind, run in itertools.groupby(kinds, key=lambda pair: pair[0]):
        content = "".join(c for _, c in run)
        pieces = _of_han(content) if _HAN.search(content) else [content]
        for piece in pieces:
            if kind in ("word", "sign"):
                words.append(Word(piece, prompt.at(at, at + len(piece))))
            at += len(piece)
        if kind == "break":
            words.append(Word(BREAK))
    return words


def _kind(text: str, at: int) -> str:
    character = text[at]
    category = unicodedata.category(character)
    if category[0] in "LMN" or (character in "'’" and 0 < at < len(text) - 1 and text[at - 1 : at + 2 : 2].isalpha()):
        return "word"
    if category in ("So", "Sk") or character == "\u200d":
        return "sign"
    return "gap" if category in ("Zs", "Cc", "Cf", "Pd", "Pc") or character in "\"'’“”" else "break"


def _of_han(run: str) -> list[str]:
    """Split a run of Chinese characters into terms, preferring long ones, and unknown text between them."""
    found: list[str] = []
    rest, at = "", 0
    terms = chinese_terms()
    while at < len(run):
        term = next((run[at : at + n] for n in range(6, 0, -1) if run[at : at + n] in terms), "")
        if term and at + len(term) <= len(run):
            found += [rest] if rest else []
            found.append(term)
            rest, at = "", at + len(term)
        else:
            rest, at = rest + run[at], at + 1
    return found + ([rest] if rest else [])


def tokens_of(words: Sequence[Word], known: Collection[str]) -> list[Token]:
    """Return the tokens of a prompt's words, with phrases joined; `known` are the encoder's words."""
    shown = [(word, key) for word in words for key in folded(word.text).removesuffix("'s").split()]
    keys = [key for _, key in shown]
    order = _languages(keys)
    tokens: list[Token] = []
    at = 0
    while at < len(keys):
        furthest = min(at + MOST_WORDS, len(keys))  # no phrase is longer, and a prompt may have thousands of words
        end = next((i for i in range(at, furthest) if keys[i] == BREAK), furthest)
        token, length = _match(keys[at:end] or [BREAK], order, known)
        token.text = token.text or " ".join(dict.fromkeys(word.text for word, _ in shown[at : at + length]))
        token.emphases = tuple(word.emphasis for word, _ in shown[at : at + length])
        tokens.append(token)
        at += length
    return tokens


def _match(keys: Sequence[str], order: Sequence[Lexicon], known: Collection[str]) -> tuple[Token, int]:
    """Return the longest token with which `keys` begin, and its number of words."""
    key = keys[0]
    terms = chinese_terms()
    if key in terms:
        what = terms[key]
        return (Token("", part=what) if isinstance(what, Part) else Token("", possible_meaning(what, known))), 1
    english = lexicons()["english"]
    for lexicon in order:
        foreign = lexicon is not order[0] and lexicon is not english
        if foreign and (key in FALSE_FRIENDS or key in near_words()):
            continue
        phrase = lexicon.longest(keys)
        if phrase is not None and possible_meaning(phrase[0], known) is not None:
            meaning, length = phrase
            plain = all(k in known for k in keys[:length])
            return Token(" ".join(keys[:length]) if plain else "", meaning, plain=plain), length
        if key in lexicon.parts and not foreign:
            plain = key in known
            return Token(key if plain else "", part=lexicon.parts[key], plain=plain), 1
    plain = key in known
    return Token(key if plain else "", plain=plain), 1


def _languages(keys: Sequence[str]) -> list[Lexicon]:
    """Return the languages in the order of lookup: the one with most of the words first, then English and others."""
    languages = list(lexicons().values())
    counted = [sum(key in lexicon.words for key in keys) for lexicon in languages]
    first = languages[counted.index(max(counted))]
    return [first, *(lexicon for lexicon in languages if lexicon is not first)]


def possible_meaning(meaning: str, known: Collection[str]) -> str | None:
    """Return a meaning if the encoder knows all of its words, else None."""
    return meaning if all(word in known for word in meaning.split() if word not in ("to",)) else None
