"""Answers scored as the official scripts of SQuAD 1.1 and 2.0, MRQA and HotpotQA score them; the threshold of SQuAD 2.

Case, punctuation, articles and spaces do not count. A question with several answers has the best score among them. One
without an answer is right when "" is answered, and then only.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from linkbert.tasks.examples import Prediction, QuestionExample

_PUNCTUATION = str.maketrans("", "", string.punctuation)
YES_NO = frozenset({"yes", "no", "noanswer"})  # answers of HotpotQA that are not words of a context


def normalise(text: str) -> str:
    """Return what is compared: "The U.S., a state" -> "us state"."""
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text.lower().translate(_PUNCTUATION)).split())


def score_answer(
    answers: Sequence[str], predicted: str, *, refusable: bool = False, whole: frozenset[str] = frozenset()
) -> tuple[float, float]:
    """Return exact match (0 or 1) and the F1 of words: the best against any of the answers, each by itself.

    F1 is of words as often as they stand in both: ("cat sat", "a cat") -> 0.0, 2/3. Without answers, "" is right.
    `refusable` is SQuAD 2.0's script: an answer of which nothing is compared ("the", ".") is none. One that is among
    `whole` is right or wrong as a whole: HotpotQA's script gives "no" nothing for "no one".
    """
    said, known = normalise(predicted), [normalise(answer) for answer in answers]
    if refusable:
        known = [answer for answer in known if answer]
    if not known:
        return (float(not said),) * 2
    words, exact, best = Counter(said.split()), 0.0, 0.0
    for answer in known:
        gold = Counter(answer.split())
        common = (words & gold).total()
        exact = max(exact, float(said == answer))
        if common and (said == answer or whole.isdisjoint((said, answer))):
            # precision = common / words, recall = common / gold; written out for the scripts' own last digit
            precision, recall = common / words.total(), common / gold.total()
            best = max(best, 2 * precision * recall / (precision + recall))
    return exact, best


def answer_scores(
    examples: Sequence[QuestionExample], predictions: Sequence[Prediction], whole: frozenset[str] = frozenset()
) -> np.ndarray:
    """Return exact match and F1 of each prediction, (N, 2) float64; as SQuAD 2.0's script where some have no answer."""
    pairs, refusable = zip(examples, predictions, strict=True), not all(e.answers for e in examples)
    scores = [score_answer(e.answers, p.value, refusable=refusable, whole=whole) for e, p in pairs]
    return np.array(scores, np.float64).reshape(-1, 2)


def best_threshold(examples: Sequence[QuestionExample], predictions: Sequence[Prediction]) -> float:
    """Find the threshold of details["null"] above which no answer is the better one, by F1: on dev, never on test.

    It lies halfway between two scores, or at the highest, and is infinite where every question has an answer.
    """
    if all(example.answers for example in examples):
        return np.inf
    null = np.array([prediction.details["null"] for prediction in predictions])
    order = np.argsort(null, kind="stable")
    answered = answer_scores(examples, predictions)[order, 1]
    refused = np.array([score_answer(example.answers, "", refusable=True)[1] for example in examples])[order]
    total = np.append(0, np.cumsum(answered)) + np.append(np.cumsum(refused[::-1])[::-1], 0)  # of answering the first k
    ends = np.concatenate([[null.min() - 1], null[order], [np.inf]])
    places = np.flatnonzero(ends[1:] > ends[:-1])  # none lies between equal scores
    k = places[np.argmax(total[places])]
    return float(ends[k] if ends[k + 1] == np.inf else (ends[k] + ends[k + 1]) / 2)


def refuse(predictions: Sequence[Prediction], threshold: float) -> list[Prediction]:
    """Answer "" where the score of having no answer is above the threshold."""
    return [replace(p, value="") if p.details["null"] > threshold else p for p in predictions]
