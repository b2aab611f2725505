"""The nouns of the tasks: what a reader of a dataset's files gives, and what a model answers.

A format (formats.py, questions.py) turns files into examples; features turn examples into rows of tokens, and a model's
outputs back into Predictions; metrics compare Predictions with examples. Nothing here knows of models or files.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

Label = str | float | tuple[str, ...] | None  # a class, a number to regress on, classes that hold together, not known


@dataclass(frozen=True, slots=True)
class TextExample:
    """One text or two, and a label: classification, regression, or several labels at once."""

    id: str
    a: str
    b: str = ""
    label: Label = None
    group: str = ""  # examples that are scored or split together: a document, a table


@dataclass(frozen=True, slots=True)
class TaggedExample:
    """Words and a tag for each: B, I and O, with or without a type (`B-INT`)."""

    id: str
    words: tuple[str, ...]
    tags: tuple[str, ...] | None = None
    group: str = ""


@dataclass(frozen=True, slots=True)
class ChoiceExample:
    """A question and its options; `label` is the number of the right one."""

    id: str
    question: str
    options: tuple[str, ...]
    label: int | None = None
    group: str = ""


@dataclass(frozen=True, slots=True)
class QuestionExample:
    """A question whose answer is to be found in a context.

    `spans` are the places of answers, `context[start:end]`. No `answers`: it has none (SQuAD 2). Answers but no spans:
    the answer is not in the context, which training leaves out and scoring keeps.
    """

    id: str
    question: str
    context: str
    answers: tuple[str, ...] = ()
    spans: tuple[tuple[int, int], ...] = ()
    group: str = ""  # what is reported apart: `1 hop`, `2 hops`
    title: str = ""  # the document, for splits by document


Example = TextExample | TaggedExample | ChoiceExample | QuestionExample


def gold(example: Example) -> Any:
    """Give the right answer in the form of a Prediction's value, None where it is not known; of a question all."""
    match example:
        case QuestionExample():
            return example.answers
        case TaggedExample():
            return example.tags
    return example.label


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a model answers to one example: `value` has the form of its label (tags, an option's number, a text)."""

    id: str
    value: Any
    details: Mapping[str, Any] = field(default_factory=dict)  # scores, n-best lists: whatever JSON holds


class Features(Protocol):
    """Rows of tokens of some examples, for one kind of task."""

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each row, (R,) int64; a question has a row a window, a choice the longest of its options."""

    @property
    def counts(self) -> Mapping[str, int]:
        """Say what was odd about the examples, by name: questions that were cut, words that no row holds."""

    def batch(self, rows: Sequence[int] | np.ndarray) -> dict[str, np.ndarray]:
        """Give the arrays that a Hugging Face model takes, by its names, padded; labels are made for training only."""

    def decode(self, outputs: Sequence[np.ndarray]) -> list[Prediction]:
        """Turn the outputs of all rows, in order, into a Prediction for each example, in order.

        An output is float32: (C,) of a text, (tokens, C) of tags, (options,) of a choice, (2, tokens) of a question,
        where tokens are the row's `lengths`.
        """


@dataclass(frozen=True)
class Splits:
    """The examples of a task as it is trained and scored, and what is to be said about them."""

    train: Sequence[Example]
    dev: Sequence[Example]
    test: Sequence[Example]  # empty: the task is scored on dev, and says so
    notes: tuple[str, ...] = ()  # a split of our own, a set that is missing, answers not in their context
    counts: Mapping[str, int] = field(default_factory=dict)  # examples, and what was odd about them, by name
    hashes: Mapping[str, str] = field(default_factory=dict)  # SHA-256 of each file read, by its path under DIR
