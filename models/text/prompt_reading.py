"""Read a prompt as pocket can: which of the things that it draws does the prompt say, in which words, and what not.

A prompt in the words that the text encoder was trained on goes to it as it is written. One in other words (synonyms,
German, French, Spanish, Chinese, a negation) becomes the caption of what it says. Whatever is not understood is told,
with what comes near it in meaning.
"""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from models.errors import UserError
from models.text.thesaurus.lexicon import (
    FALSE_FRIENDS,
    Lexicon,
    Part,
    chinese_terms,
    folded,
    lexicons,
    near_words,
)
from models.text.thesaurus.wordings import ATTRIBUTE, LEFT, OPPOSITE, RIGHT, WORDINGS

GRAMMAR = frozenset({"a", "the", "in", "on", "at", "by", "over"})  # trained words that alone say nothing
_EMPHASIS = re.compile(r"\(([^():]{1,200}):\s*([0-9]+(?:\.[0-9]+)?)\s*\)")
_HAN = re.compile("[\u3400-\u9fff\uf900-\ufaff]")
_BREAK = "|"  # stands for punctuation, over which no phrase and no negation reaches
_OF_ADJECTIVES = frozenset(
    {"not", "non", "isn't", "isnt", "aren't", "arent", "nicht", "hardly", "不"}
)  # negate no noun
_LONGEST_WORD = 20  # letters of a word of which misspellings are looked for
_REACH = 4  # words over which a negation looks for what it negates


class PromptError(UserError):
    """Report a prompt in which a model understands nothing."""


@dataclass(frozen=True)
class PromptReading:
    """What a text encoder reads in a prompt: words that it knows, words that it does not, and what else to tell."""

    words: tuple[str, ...] = ()  # as the encoder is given them
    unknown: dict[str, list[str]] = field(default_factory=dict)  # as written → wordings near in meaning
    notes: tuple[str, ...] = ()


@dataclass
class _Token:
    """A word of the prompt or a phrase of several, and what it was found to be."""

    text: str
    meaning: str | None = None
    part: Part | None = None
    plain: bool = False  # whether every word of it is one that the encoder was trained on
    negated: bool = False
    effective: bool = False  # of a negation: whether it takes something back


def any_prompt(prompt: str) -> PromptReading:
    """Return the reading of a model that has no word list: it takes every prompt as it is."""
    return PromptReading((prompt,))


def read_prompt(prompt: str, known: Collection[str], model: str = "pocket", most: int = 20) -> PromptReading:
    """Return what an encoder that was trained on the words `known`, and reads `most` of them, gets of a prompt.

    PromptError if it understands nothing; `model` is what the error calls the model.
    """
    text, emphasised = _EMPHASIS.subn(r"\1", unicodedata.normalize("NFKC", prompt))
    notes = ["emphasis as in (word:1.5) is not possible here; the words count once"] if emphasised else []
    tokens = _found(_split(text), known)
    _direct(tokens)
    _negate(tokens)
    said = [t for t in tokens if t.meaning is not None and not t.negated]
    negated = [t for t in tokens if t.negated]
    words = tuple(w for t in tokens for w in t.text.split() if w in known)
    if negated or any(not t.plain for t in said):
        words = tuple(" ".join(_caption(said, negated, notes)).split())
        notes.append(f'read as "{" ".join(words)}"')
    moves = any(_attribute(t) == "motion" for t in said)
    unknown = {t.text: _near(t, known) for t in tokens if _is_lost(t, moves=moves)}
    if not set(words) - GRAMMAR:
        raise PromptError(_nothing(tokens, unknown, model))
    for attribute in WORDINGS:
        values = list(dict.fromkeys(t.meaning for t in said if _attribute(t) == attribute))
        if len(values) > 1:
            notes.append(
                f"several at once ({', '.join(map(str, values))}) cannot be shown: {model} knows one {attribute}"
            )
    if len(words) > most:
        notes.append(f"of {len(words)} known words the first {most} are read; shorten the prompt")
    return PromptReading(words, unknown, tuple(notes))


def _attribute(token: _Token) -> str | None:
    return ATTRIBUTE.get(token.meaning or "")


def _is_lost(token: _Token, *, moves: bool) -> bool:
    """Return whether a word says something that is not understood, in a prompt in which something moves or not."""
    if token.plain or token.meaning is not None or token.text == _BREAK:
        return False
    if token.part is Part.NEGATOR:
        return not token.effective
    return token.part is None or (token.part is Part.MOVER and not moves)


def _split(text: str) -> list[str]:
    """Return the words of a text, runs of signs such as emoji, and _BREAK for punctuation."""
    tokens: list[str] = []
    kinds = [(_kind(text, i), c) for i, c in enumerate(text)]
    for kind, run in itertools.groupby(kinds, key=lambda pair: pair[0]):
        content = "".join(c for _, c in run)
        if kind in ("word", "sign"):
            tokens += _of_han(content) if _HAN.search(content) else [content]
        elif kind == "break":
            tokens.append(_BREAK)
    return tokens


def _kind(text: str, at: int) -> str:
    character = text[at]
    category = unicodedata.category(character)
    if category[0] in "LMN" or (character in "'’" and 0 < at < len(text) - 1 and text[at - 1 : at + 2 : 2].isalpha()):
        return "word"
    if category in ("So", "Sk") or character == "\u200d":
        return "sign"
    return "gap" if category in ("Zs", "Cc", "Cf", "Pd", "Pc") or character in "\"'’“”" else "break"


def _of_han(run: str) -> list[str]:
    """Return the terms in a run of characters without spaces, the longest first; the rest in between as it is."""
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


def _found(words: Sequence[str], known: Collection[str]) -> list[_Token]:
    """Return what the words of a prompt are, phrases taken together."""
    shown = [(word, key) for word in words for key in folded(word).removesuffix("'s").split()]
    keys = [key for _, key in shown]
    order = _languages(keys)
    tokens: list[_Token] = []
    at = 0
    while at < len(keys):
        end = next((i for i in range(at, len(keys)) if keys[i] == _BREAK), len(keys))
        token, length = _match(keys[at:end] or [_BREAK], order, known)
        token.text = token.text or " ".join(dict.fromkeys(word for word, _ in shown[at : at + length]))
        tokens.append(token)
        at += length
    return tokens


def _match(keys: Sequence[str], order: Sequence[Lexicon], known: Collection[str]) -> tuple[_Token, int]:
    """Return what begins with the first of some words, and how many words it has."""
    key = keys[0]
    terms = chinese_terms()
    if key in terms:
        what = terms[key]
        return (_Token("", part=what) if isinstance(what, Part) else _Token("", _possible(what, known))), 1
    english = lexicons()["english"]
    for lexicon in order:
        foreign = lexicon is not order[0] and lexicon is not english
        if foreign and (key in FALSE_FRIENDS or key in near_words()):
            continue
        phrase = lexicon.longest(keys)
        if phrase is not None and _possible(phrase[0], known) is not None:
            meaning, length = phrase
            plain = all(k in known for k in keys[:length])
            return _Token(" ".join(keys[:length]) if plain else "", meaning, plain=plain), length
        if key in lexicon.parts and not foreign:
            plain = key in known
            return _Token(key if plain else "", part=lexicon.parts[key], plain=plain), 1
    plain = key in known
    return _Token(key if plain else "", plain=plain), 1


def _languages(keys: Sequence[str]) -> list[Lexicon]:
    """Return the languages, the one in which most of the words occur first, then English."""
    languages = list(lexicons().values())
    counted = [sum(key in lexicon.words for key in keys) for lexicon in languages]
    first = languages[counted.index(max(counted))]
    return [first, *(lexicon for lexicon in languages if lexicon is not first)]


def _possible(meaning: str, known: Collection[str]) -> str | None:
    """Return a meaning if the encoder has all the words to say it."""
    return meaning if all(word in known for word in meaning.split() if word not in ("to",)) else None


def _negate(tokens: Sequence[_Token]) -> None:
    """Mark what negations take back: what follows soon, or the motion or weather before (`the snow is not falling`)."""
    for at, token in enumerate(tokens):
        if token.part is not Part.NEGATOR:
            continue
        if token.text.lower() == "pas" and any(folded(t.text) in ("n", "ne") for t in tokens[max(0, at - 3) : at]):
            token.effective = True  # of `ne ... pas`, which has looked ahead already
            continue
        target = _negated_ahead(tokens, at)
        if target is None:
            target = _negated_before(tokens, at)
            followers = []
        else:
            followers = _joined_after(tokens, target)
        if target is None:
            continue
        token.effective = tokens[target].negated = True
        for follower in followers:
            if _attribute(tokens[follower]) != _attribute(tokens[target]):
                break
            tokens[follower].negated = True
        article = any(folded(t.text) in ("a", "an") for t in tokens[at + 1 : target])
        # `no red ball` and `not a red ball` take back the ball as well, `not red` does not
        if article or folded(token.text) not in _OF_ADJECTIVES:
            for described, noun in itertools.pairwise(tokens[target:]):
                if _attribute(described) not in ("size", "colour") or _attribute(noun) not in ("colour", "subject"):
                    break
                noun.negated = True


def _negated_before(tokens: Sequence[_Token], at: int) -> int | None:
    for place in range(at - 1, max(-1, at - 1 - _REACH), -1):
        if tokens[place].meaning is not None:
            return place if _attribute(tokens[place]) in ("motion", "weather") else None
        if tokens[place].part is not Part.FILLER:
            return None
    return None


def _negated_ahead(tokens: Sequence[_Token], at: int) -> int | None:
    stranger = False
    for place in range(at + 1, min(len(tokens), at + 1 + _REACH)):
        token = tokens[place]
        if token.meaning is not None:
            return place
        if token.text == _BREAK or (stranger and token.part is Part.FILLER) or token.part is Part.NEGATOR:
            return None
        stranger = stranger or token.part is None
    return None


def _joined_after(tokens: Sequence[_Token], at: int) -> list[int]:
    """Return the places of meanings that `or` and commas join to the one at a place."""
    places: list[int] = []
    joined = False
    for place in range(at + 1, len(tokens)):
        token = tokens[place]
        if token.meaning is not None:
            if not joined:
                break
            places.append(place)
            joined = False
        elif token.part is Part.JOINER:
            joined = True
        elif token.part is not Part.FILLER:
            break
    return places


def _direct(tokens: Sequence[_Token]) -> None:
    """Decide whether `left` and `right` are where something goes or where it is."""
    moving = any(_attribute(t) == "motion" for t in tokens)
    mover = any(t.part is Part.MOVER for t in tokens)
    for token in tokens:
        if token.meaning in (LEFT, RIGHT):
            side = token.meaning.rpartition(" ")[2]
            goes = not moving and (mover or "to" in token.text.split())
            token.meaning = f"drifts {side}" if goes else f"on the {side}"


def _caption(said: Sequence[_Token], negated: Sequence[_Token], notes: list[str]) -> list[str]:
    """Return the phrases of the caption of what is said, and add notes on what is negated."""
    values: dict[str, str] = {}
    for token in said:
        assert token.meaning is not None
        values.setdefault(ATTRIBUTE[token.meaning], token.meaning)
    for token in negated:
        assert token.meaning is not None
        opposite = OPPOSITE.get(token.meaning)
        if opposite is not None:
            values.setdefault(ATTRIBUTE[opposite], opposite)
        else:
            notes.append(f"{token.text!r} is negated and left out: what is absent has no word here")
    article = ["a"] if values.keys() & {"size", "colour", "subject"} else []
    return article + [values[attribute] for attribute in WORDINGS if attribute in values]


def _near(token: _Token, known: Collection[str]) -> list[str]:
    """Return plain wordings near a word in meaning; failing that, those that it is a misspelling of."""
    key = folded(token.text)
    related = near_words()
    for form in (key, key.removesuffix("s"), key.removesuffix("es"), key.removesuffix("ly")):
        if form in related:
            return [w for w in related[form] if _possible(w, known) is not None]
    english = lexicons()["english"]
    meant = {english.meanings[(word,)] for word in _spellings(key) if (word,) in english.meanings}
    return sorted(w for w in meant if _possible(w, known) is not None)


def _spellings(key: str) -> set[str]:
    """Return words of which a word is a likely misspelling: letters swapped, doubled or not; in long words also others.

    Words that differ by other letters are other words: a dog is no fog, and a train no rain.
    """
    if len(key) > _LONGEST_WORD:
        return set()
    splits = [(key[:i], key[i:]) for i in range(1, len(key) + 1)]
    found = {a + b[1] + b[0] + b[2:] for a, b in splits if len(b) > 1 and len(key) > 2}
    found |= {a + a[-1] + b for a, b in splits if len(key) > 2} | {a + b[1:] for a, b in splits if b and a[-1] == b[0]}
    if len(key) >= 5:
        found |= {a + c + b for a, b in splits for c in "abcdefghijklmnopqrstuvwxyz"} if len(key) >= 6 else set()
        found |= {a + b[1:] for a, b in splits if b} if len(key) >= 7 else set()
    return found - {key}


def _nothing(tokens: Sequence[_Token], unknown: dict[str, list[str]], model: str) -> str:
    """Say that nothing is understood, what comes near, and what could be said."""
    words = [t.text for t in tokens if t.text != _BREAK]
    near = [f"{word[:20]}: {', '.join(ways[:2])}" for word, ways in unknown.items() if ways][:2]
    hint = f" (near are {'; '.join(near)})" if near else ""
    draws = ", ".join(WORDINGS["subject"])
    rest = ", ".join(w for a in ("colour", "motion", "place", "light") for w in WORDINGS[a])
    why = f"{model} knows no word of {' '.join(words)[:60]!r}{hint}"
    if negated := list(dict.fromkeys(t.text for t in tokens if t.negated)):
        why = f"{' and '.join(negated)[:60]} is negated, and nothing else is said that {model} draws"
    return f"{why}; it knows: {draws}; {rest}; rain, snow, fog"
