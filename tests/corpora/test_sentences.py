"""Sentence starts: laws over any text, and cases a reader would doubt."""

import time
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from linkbert.corpora.sentences import split_sentences

prose = st.text(st.sampled_from(list("aA1 .!?\"')\n\t…。？」\u3000\x1c\u200b")), max_size=60)


def is_seen(text):
    return any(each.isprintable() and each != " " for each in text)


@given(st.text(max_size=80) | prose)
@example("a...\n\n b")
def test_sentences_cover_the_text_and_none_is_empty(text):
    starts = split_sentences(text)
    assert bool(starts) == bool(text.strip())
    if starts:
        assert starts[0] == 0
        bounds = [*starts, len(text)]
        assert all(map(is_seen, (text[a:b] for a, b in pairwise(bounds)))) or len(starts) == 1
        position = 0
        for line in text.split("\n"):
            first = position + len(line) - len(line.lstrip())
            is_first = not is_seen(text[:first])
            assert not is_seen(line) or first in starts or is_first
            position += len(line) + 1


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("One. Two! Three? Four", ["One. ", "Two! ", "Three? ", "Four"]),
        ("Mr. J. K. Smith Jr. met Dr. No.", ["Mr. J. K. Smith Jr. met Dr. No."]),
        ("See e.g. the U.S. Army, i.e. Them.", ["See e.g. the U.S. Army, i.e. Them."]),
        ("Pi is 3.14. Or p. 7, no. 5. It is no. He.", ["Pi is 3.14. ", "Or p. 7, no. 5. ", "It is no. ", "He."]),
        ('"Why?" he said. "Stop!" He ran.', ['"Why?" he said. ', '"Stop!" ', "He ran."]),
        ("Wait... Then (so it is.) End", ["Wait... ", "Then (so it is.) ", "End"]),
        ("Heading\n\n  item one\nitem two", ["Heading\n\n  ", "item one\n", "item two"]),
        ("One.\n\u200b\nTwo. \u200b\n Three", ["One.\n\u200b\n", "Two. \u200b\n ", "Three"]),
        ("\ufeff\nOne.\n\u2060", ["\ufeff\nOne.\n\u2060"]),
        ("Spaced . Out ! Ok", ["Spaced . ", "Out ! ", "Ok"]),
        (
            "Old.[3, 4–6] In a [7]. So et al.[8] Say x[0].[1] y.",
            ["Old.[3, 4–6] ", "In a [7]. ", "So et al.[8] Say x[0].[1] y."],
        ),
        ("在这里。什么？“好！”他说。", ["在这里。", "什么？", "“好！”", "他说。"]),
        ("ეს არის. ის არის.", ["ეს არის. ", "ის არის."]),  # without capitals, which Python has for these letters
        (
            "Am 3. Oktober, z. B. 44 v. Chr. im Mai. Er kam als 3. Alle",
            ["Am 3. Oktober, z. B. 44 v. Chr. im Mai. ", "Er kam als 3. ", "Alle"],
        ),
        ("We call it x. Then", ["We call it x. ", "Then"]),
        ("यह है। वह है। ما هذا؟ نعم", ["यह है। ", "वह है। ", "ما هذا؟ ", "نعم"]),
    ],
)
def test_examples(text, sentences):
    bounds = [*split_sentences(text), len(text)]
    assert [text[a:b] for a, b in pairwise(bounds)] == sentences


@pytest.mark.parametrize("unit", [".", "\n", "!)", " ", ")", "a. ", "\n \n", "J. ", "。"])
def test_time_is_linear_in_hostile_text(unit):
    started = time.perf_counter()
    split_sentences("x" + unit * 200_000 + "x")
    assert time.perf_counter() - started < 5  # quadratic time would be minutes
