"""Find the words of a prompt that a negation negates."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from models.text.prompt_tokens import BREAK, Token
from models.text.thesaurus.lexicon import Part, folded

_OF_ADJECTIVES = frozenset(
    {"not", "non", "isn't", "isnt", "aren't", "arent", "nicht", "hardly", "不"}
)  # negate no noun
_REACH = 4  # words within which a negation looks for its target


def mark_negated(tokens: Sequence[Token]) -> None:
    """Mark the tokens soon after a negation, or motion or weather before it (`the snow is not falling`), as negated."""
    for at, token in enumerate(tokens):
        if token.part is not Part.NEGATOR:
            continue
        if token.text.lower() == "pas" and any(folded(t.text) in ("n", "ne") for t in tokens[max(0, at - 3) : at]):
            token.effective = True  # the second half of `ne ... pas`, whose first half was handled before
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
            if tokens[follower].attribute != tokens[target].attribute:
                break
            tokens[follower].negated = True
        article = any(folded(t.text) in ("a", "an") for t in tokens[at + 1 : target])
        # `no red ball` and `not a red ball` also negate the ball, `not red` does not
        if article or folded(token.text) not in _OF_ADJECTIVES:
            for described, noun in itertools.pairwise(tokens[target:]):
                if described.attribute not in ("size", "colour") or noun.attribute not in ("colour", "subject"):
                    break
                noun.negated = True


def _negated_before(tokens: Sequence[Token], at: int) -> int | None:
    for place in range(at - 1, max(-1, at - 1 - _REACH), -1):
        if tokens[place].meaning is not None:
            return place if tokens[place].attribute in ("motion", "weather") else None
        if tokens[place].part is not Part.FILLER:
            return None
    return None


def _negated_ahead(tokens: Sequence[Token], at: int) -> int | None:
    stranger = False
    for place in range(at + 1, min(len(tokens), at + 1 + _REACH)):
        token = tokens[place]
        if token.meaning is not None:
            return place
        if token.text == BREAK or (stranger and token.part is Part.FILLER) or token.part is Part.NEGATOR:
            return None
        stranger = stranger or token.part is None
    return None


def _joined_after(tokens: Sequence[Token], at: int) -> list[int]:
    """Return the indices of tokens with a meaning that conjunctions such as `or` join to the one at `at`."""
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
