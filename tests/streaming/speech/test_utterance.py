"""Test which words of its captions an utterance counts as heard."""

from __future__ import annotations

import numpy as np

from streaming.speech.fullband import RATE
from streaming.speech.utterance import Utterance

TEN_SECONDS = " ".join(f"w{n}" for n in range(25))  # at a usual pace


def sound(seconds: float) -> np.ndarray:
    return np.ones(round(seconds * RATE), np.int16)


def test_a_voice_that_still_arrives_claims_no_words_that_are_yet_to_come() -> None:
    utterance = Utterance("a")
    utterance.caption(TEN_SECONDS)
    utterance.add(sound(3.9))
    assert utterance.text_until(3 * RATE).split()[-1] == "w7"  # and not 3 / 3.9 of them all
    utterance.add(sound(6.1))
    utterance.open = False
    assert utterance.text_until(3 * RATE).split()[-1] == "w7"
    assert utterance.text_until(10 * RATE) == TEN_SECONDS


def test_a_sentence_whose_follower_has_begun_is_shared_out_over_its_own_time() -> None:
    utterance = Utterance("a")
    utterance.caption("one two three four")
    utterance.add(sound(1))
    utterance.caption("five")
    utterance.add(sound(0.5))
    assert utterance.text_until(RATE // 2) == "one two"
    assert utterance.text_until(RATE + 1) == "one two three four"
