"""Read prompts by meaning in five languages, and report words that are not understood."""

from __future__ import annotations

import random
import tracemalloc
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.pocket.world.scene import UNSAID, WORDING, Scene, random_scene, vocabulary
from models.text.prompt_reading import PromptError, PromptReading, read_prompt
from models.text.thesaurus.lexicon import MOST_WORDS, Lexicon, chinese_terms, lexicons
from models.text.thesaurus.wordings import WORDINGS
from models.text.word_encoder import TEXT_LENGTH, WordText, words_of

KNOWN = vocabulary()


def read(prompt: str) -> PromptReading:
    return read_prompt(prompt, KNOWN)


def said(prompt: str) -> str:
    """Return the words that the encoder gets of a prompt."""
    return " ".join(read(prompt).words)


def test_the_thesaurus_leads_to_wordings_of_the_captions() -> None:
    captions = {name: {way for ways in values.values() for way in ways} for name, values in WORDING.items()}
    for attribute, wordings in WORDINGS.items():
        assert set(wordings) <= captions[attribute]
        assert len(wordings) == len(WORDING[attribute])
    assert sum(len(lexicon.meanings) for lexicon in lexicons().values()) + len(chinese_terms()) > 300


@pytest.mark.parametrize("seed", range(50))
def test_a_caption_is_given_to_the_encoder_as_it_is_written(seed: int) -> None:
    rng = random.Random(seed)
    caption = random_scene(rng, held_out=rng.random() < 0.2).caption(rng)
    assert read(caption) == PromptReading(tuple(words_of(caption)), {}, ())


def test_captions_say_nothing_unsaid() -> None:
    for fact, values in UNSAID.items():
        assert len({Scene(**{fact: v}).caption() for v in values}) == 1


@pytest.mark.parametrize(
    ("prompt", "means"),
    [
        ("a crimson orb by the lake at dusk", "a red ball over the sea at sunset"),
        ("Show me a tiny emerald box in the woods, please", "a small green cube in the forest"),
        ("bouncing scarlet football at the beach", "a red ball bounces over the sea"),
        ("a VIOLET starship in the jungle, heavy rain", "a purple rocket in the forest in the rain"),
        ("a star at night orbits, mid-day no", "a star circles at night"),
        ("a ball floats slowly to the left", "a ball drifts left"),
        ("an ivory cube hovering towards the right under the stars", "a white cube drifts right at night"),
        ("a golden goldfish wobbles on the left", "a yellow fish sways on the left"),
        ("a ball to the left bounces in a meadow", "a ball bounces on the left over the meadow"),
        ("ein kleiner roter Ball hüpft bei Nacht über der Wiese", "a small red ball bounces over the meadow at night"),
        ("ein rotes Raumschiff fliegt nach links ueber die Wueste", "a red rocket drifts left in the desert"),
        ("Große blaue Würfel im Wald bei Nebel", "a large blue cube in the forest in fog"),
        ("ein gelber Stern kreist abends über dem See", "a yellow star circles over the sea at sunset"),
        (
            "une petite balle rouge rebondit sur la prairie sous la pluie",
            "a small red ball bounces over the meadow in the rain",
        ),
        ("l'étoile bleue flotte vers la gauche au-dessus de l'océan", "a blue star drifts left over the sea"),
        ("des poissons violets dans la ville, la nuit", "a purple fish in the city at night"),
        ("una pelota roja salta sobre el mar de noche", "a red ball bounces over the sea at night"),
        ("cohetes blancos giran en el bosque bajo la nieve", "a white rocket circles in the forest in the snow"),
        ("la pequeña nave azul", "a small blue rocket"),
        ("一个红色的球在海上弹跳", "a red ball bounces over the sea"),
        ("夜晚一颗紫色的星星在城市上空转圈", "a purple star circles in the city at night"),
        ("小鱼向右飘，下雪", "a fish drifts right in the snow"),
        ("Ｒｅｄ ｏｒｂ", "a red ball"),
    ],
)
def test_synonyms_and_other_languages_become_the_caption_that_they_mean(prompt: str, means: str) -> None:
    assert said(prompt) == means
    assert f'read as "{means}"' in read(prompt).notes


@pytest.mark.parametrize(
    ("prompt", "means"),
    [
        ("a red ball, no snow", "a red ball in clear weather"),
        ("a red ball without any rain or fog", "a red ball in clear weather"),
        ("the snow is not falling on a cube", "a cube in clear weather"),
        ("a ball, not red but blue", "a blue ball"),
        ("a red ball doesn't bounce", "a red ball"),
        ("a ball, not small", "a large ball"),
        ("a red ball instead of a cube", "a red ball"),
        ("no red ball, a fish", "a fish"),
        ("not a red ball but a blue fish", "a blue fish"),
        ("a non-red ball", "a ball"),
        ("ein Ball ohne Schnee", "a ball in clear weather"),
        ("kein roter Ball, sondern ein Fisch", "a fish"),
        ("der Ball hüpft nicht", "a ball"),
        ("une balle sans pluie ni neige", "a ball in clear weather"),
        ("la balle ne saute pas dans la neige", "a ball in the snow"),
        ("una bola sin nieve", "a ball in clear weather"),
        ("没有雪的红球", "a red ball in clear weather"),
        ("a snowless city, a ball", "a ball in the city in clear weather"),
    ],
)
def test_what_is_negated_is_not_read_as_said(prompt: str, means: str) -> None:
    assert said(prompt) == means
    assert read(prompt).notes


@pytest.mark.parametrize(
    "prompt",
    [
        "赤いボール",
        "🔴⚽",
        "über",
        "no",
        "x",
        "the",
        "a dragon in the castle",
        "не мяч",
        "الكرة",
        "बिल्ली",
        "123",
        "!?",
        "train",
        "dog",
        "wall",
        "pocket",
        "not a ball",
        "kein Ball",
    ],
)
def test_a_prompt_without_a_known_word_is_refused_in_one_line(prompt: str) -> None:
    with pytest.raises(PromptError) as caught:
        read(prompt)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 400
    assert "ball, cube, star, fish, rocket" in message
    assert "in the desert" in message


@pytest.mark.parametrize(
    ("word", "near"),
    [
        ("dragon", ["fish"]),
        ("train", ["rocket"]),  # not rain
        ("dog", ["fish"]),  # not fog
        ("pink", ["red", "purple"]),
        ("castle", ["in the city"]),
        ("mountains", ["over the meadow"]),
        ("spinning", ["circles", "sways"]),
        ("swims", ["drifts left", "drifts right"]),
        ("winter", ["in the snow"]),
        ("bal", ["ball"]),
        ("forrest", ["in the forest"]),
        ("rokcet", ["rocket"]),
        ("show-off", []),
        ("frog", ["fish"]),
        ("wall", []),
        ("grand-mother", []),
    ],
)
def test_an_unknown_word_is_told_with_what_is_near_in_meaning(word: str, near: list[str]) -> None:
    unknown = read(f"{word} with a blue cube").unknown
    assert unknown.get(word, []) == near


def test_unknown_signs_and_scripts_are_told() -> None:
    assert set(read("a red ball 🦄 über ボール 3").unknown) == {"🦄", "über", "ボール", "3"}


def test_what_cannot_be_shown_at_once_is_told() -> None:
    assert read("a ball and a cube").notes == (
        "several at once (ball, cube) cannot be shown: pocket knows one subject",
    )
    assert read("red " * 100).notes == (f"of 100 known words the first {TEXT_LENGTH} are read; shorten the prompt",)


@given(
    st.text(max_size=60)
    | st.lists(st.sampled_from([*sorted(lexicons()["german"].words), "no", "ball", ","])).map(" ".join)
)
@settings(max_examples=300, deadline=None)
def test_every_text_is_read_or_refused_and_known_words_alone_reach_the_encoder(text: str) -> None:
    try:
        reading = read(text)
    except PromptError as e:
        assert "\n" not in str(e)  # noqa: PT017
    else:
        assert set(reading.words) <= set(KNOWN)
        assert not set(reading.unknown) & set(KNOWN)


def test_a_synonym_is_encoded_as_the_word_that_it_stands_for() -> None:
    text = WordText(KNOWN, 8).eval()
    same, other = text(["a crimson orb circles at dusk"]), text(["a red ball circles at sunset"])
    assert same.equal(other)
    assert (text(["赤いボール"]) == 0).all()  # a take of an earlier release may say it


def test_no_memory_goes_into_the_spelling_of_a_word_of_thousands_of_letters() -> None:
    tracemalloc.start()
    with pytest.raises(PromptError):
        read("a" * 3999)
    assert tracemalloc.get_traced_memory()[1] < 5e6
    tracemalloc.stop()


@pytest.mark.parametrize(
    ("prompt", "says"),
    [("no red ball", "^red and ball is negated, and nothing else is said"), ("the", "knows no word of 'the'")],
)
def test_a_prompt_that_shows_nothing_is_refused_with_what_it_says(prompt: str, says: str) -> None:
    with pytest.raises(PromptError, match=says):
        read(prompt)


def test_a_long_prompt_is_looked_up_a_few_words_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    looked_at, longest = list[int](), Lexicon.longest

    def noted(lexicon: Lexicon, words: Sequence[str]) -> tuple[str, int] | None:
        looked_at.append(len(words))
        return longest(lexicon, words)

    monkeypatch.setattr(Lexicon, "longest", noted)
    read("a red ball " + "b c " * 900)
    assert max(looked_at) == MOST_WORDS  # with all of the rest each time, 4000 characters took seconds
