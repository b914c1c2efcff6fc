"""Translate prompts to the words that pocket's text encoder was trained on, and report unknown words.

A prompt in trained words is passed on as written. A prompt with other words (synonyms, negations, German, French,
Spanish, Chinese) is replaced by the caption of its meaning. Words that are not understood are reported, with known
wordings that are near in meaning.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from models.errors import UserError
from models.text.emphasis import Emphasis, read_emphasis
from models.text.negation import mark_negated
from models.text.prompt_tokens import BREAK, Token, possible_meaning, split_words, tokens_of
from models.text.thesaurus.lexicon import Part, folded, lexicons, near_words
from models.text.thesaurus.wordings import ATTRIBUTE, LEFT, OPPOSITE, RIGHT, WORDINGS

GRAMMAR = frozenset({"a", "the", "in", "on", "at", "by", "over"})  # trained words without a meaning of their own
PARENTHESES = "the parentheses are read as text, as they are no emphasis such as (word:1.5)"
_LONGEST_WORD = 20  # letters of a word of which misspellings are looked for


class PromptError(UserError):
    """Report a prompt in which a model understands nothing."""

    def __init__(self, text: str, unknown: Mapping[str, list[str]] | None = None) -> None:
        """Report in the words of `text`; `unknown` maps words as written to wordings near in meaning."""
        super().__init__(text)
        self.unknown = dict(unknown or {})


@dataclass(frozen=True)
class PromptReading:
    """Hold a text encoder's reading of a prompt: known words, unknown words, and notes for a person."""

    words: tuple[str, ...] = ()  # as the encoder is given them
    unknown: dict[str, list[str]] = field(default_factory=dict)  # as written → wordings near in meaning
    notes: tuple[str, ...] = ()
    factors: tuple[float, ...] = ()  # of each word's emphasis, 1 where it has none; empty where no word has any


def any_prompt(prompt: str) -> PromptReading:
    """Return the reading of a model without a word list, which takes every prompt as it is."""
    return PromptReading((prompt,), notes=() if read_emphasis(prompt)[1] else (PARENTHESES,))


def read_prompt(prompt: str, known: Collection[str], model: str = "pocket", most: int = 20) -> PromptReading:
    """Return the reading of a prompt by an encoder that was trained on the words `known` and reads up to `most` words.

    Raises PromptError, which calls the model `model`, if nothing is understood.
    """
    given, readable = read_emphasis(prompt)
    emphasised = given.mapped(lambda text: unicodedata.normalize("NFKC", text))
    notes = [] if readable else [PARENTHESES]
    tokens = tokens_of(split_words(emphasised), known)
    _settle_directions(tokens)
    mark_negated(tokens)
    said = [t for t in tokens if t.meaning is not None and not t.negated]
    negated = [t for t in tokens if t.negated]
    read = [pair for t in tokens for pair in _emphasised_words(t) if pair[0] in known]
    if negated or any(not t.plain for t in said):
        read = _caption(said, negated, notes)
        notes.append(f'read as "{" ".join(word for word, _ in read)}"')
    words = tuple(word for word, _ in read)
    effective = {emphasis for _, emphasis in read[:most]}
    for emphasis in emphasised.emphases:
        if emphasis not in effective:
            phrase = " ".join(emphasised.text[emphasis.begin : emphasis.end].split())[:40]
            notes.append(f"({phrase}:{emphasis.factor:g}) has no effect, because {model} reads no word of it")
    moves = any(t.attribute == "motion" for t in said)
    unknown = {t.text: _suggestions(t, known) for t in tokens if _is_unknown(t, moves=moves)}
    if not set(words) - GRAMMAR:
        raise PromptError(_refusal(tokens, unknown, model), unknown)
    for attribute in WORDINGS:
        values = list(dict.fromkeys(t.meaning for t in said if t.attribute == attribute))
        if len(values) > 1:
            notes.append(
                f"several at once ({', '.join(map(str, values))}) cannot be shown: {model} knows one {attribute}"
            )
    if len(words) > most:
        notes.append(f"of {len(words)} known words the first {most} are read; shorten the prompt")
    factors = tuple(1.0 if emphasis is None else emphasis.factor for _, emphasis in read)
    return PromptReading(words, unknown, tuple(notes), factors if any(f != 1 for f in factors) else ())


def _emphasised_words(token: Token) -> list[tuple[str, Emphasis | None]]:
    """Return a token's words with their emphases."""
    words = token.text.split()
    emphases = token.emphases if len(token.emphases) == len(words) else (token.emphasis,) * len(words)
    return list(zip(words, emphases, strict=True))


def _is_unknown(token: Token, *, moves: bool) -> bool:
    """Return whether a token is not understood; `moves` says whether the prompt names a motion."""
    if token.plain or token.meaning is not None or token.text == BREAK:
        return False
    if token.part is Part.NEGATOR:
        return not token.effective
    return token.part is None or (token.part is Part.MOVER and not moves)


def _settle_directions(tokens: Sequence[Token]) -> None:
    """Replace the meanings LEFT and RIGHT by a motion or a position, depending on the other tokens."""
    moving = any(t.attribute == "motion" for t in tokens)
    mover = any(t.part is Part.MOVER for t in tokens)
    for token in tokens:
        if token.meaning in (LEFT, RIGHT):
            side = token.meaning.rpartition(" ")[2]
            goes = not moving and (mover or "to" in token.text.split())
            token.meaning = f"drifts {side}" if goes else f"on the {side}"


def _caption(said: Sequence[Token], negated: Sequence[Token], notes: list[str]) -> list[tuple[str, Emphasis | None]]:
    """Return the words of the caption of what is said, with their emphases, and add notes on what is negated."""
    values: dict[str, str] = {}
    emphases: dict[str, Emphasis] = {}  # of values
    for token in said:
        assert token.meaning is not None
        if values.setdefault(ATTRIBUTE[token.meaning], token.meaning) == token.meaning and token.emphasis is not None:
            emphases.setdefault(token.meaning, token.emphasis)
    for token in negated:
        assert token.meaning is not None
        opposite = OPPOSITE.get(token.meaning)
        if opposite is not None:
            values.setdefault(ATTRIBUTE[opposite], opposite)
        else:
            notes.append(f"{token.text!r} is negated and left out: what is absent has no word here")
    words: list[tuple[str, Emphasis | None]] = []
    if values.keys() & {"size", "colour", "subject"}:
        words.append(("a", None))
    for attribute in WORDINGS:
        words += [(word, emphases.get(values[attribute])) for word in values.get(attribute, "").split()]
    return words


def _suggestions(token: Token, known: Collection[str]) -> list[str]:
    """Return plain wordings near a word in meaning; if there are none, wordings of which it may be a misspelling."""
    key = folded(token.text)
    related = near_words()
    for form in (key, key.removesuffix("s"), key.removesuffix("es"), key.removesuffix("ly")):
        if form in related:
            return [w for w in related[form] if possible_meaning(w, known) is not None]
    english = lexicons()["english"]
    meant = {english.meanings[(word,)] for word in _spellings(key) if (word,) in english.meanings}
    return sorted(w for w in meant if possible_meaning(w, known) is not None)


def _spellings(key: str) -> set[str]:
    """Return words of which a word is a likely misspelling: by swapped or doubled letters, in long words by any letter.

    In short words other differences do not count: `dog` is no misspelling of `fog`, nor `train` of `rain`.
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


def _refusal(tokens: Sequence[Token], unknown: dict[str, list[str]], model: str) -> str:
    """Return the message that nothing is understood, with near wordings and the words that are known."""
    words = [t.text for t in tokens if t.text != BREAK]
    near = [f"{word[:20]}: {', '.join(ways[:2])}" for word, ways in unknown.items() if ways][:2]
    hint = f" (near are {'; '.join(near)})" if near else ""
    draws = ", ".join(WORDINGS["subject"])
    rest = ", ".join(w for a in ("colour", "motion", "place", "light") for w in WORDINGS[a])
    why = f"{model} knows no word of {' '.join(words)[:60]!r}{hint}"
    if negated := list(dict.fromkeys(t.text for t in tokens if t.negated)):
        why = f"{' and '.join(negated)[:60]} is negated, and nothing else is said that {model} draws"
    return f"{why}; it knows: {draws}; {rest}; rain, snow, fog"
