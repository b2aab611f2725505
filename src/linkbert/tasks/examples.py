"""The nouns of the tasks: what a reader of a dataset's files returns, and what a model answers.

A format (formats.py) turns files into examples; a kind of task (kinds.py) turns examples into rows of
tokens, and a model's outputs back into Predictions; metrics compare Predictions with examples. Nothing here knows of
models or files.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any, ClassVar

Label = str | float | tuple[str, ...] | None  # a class, a number to regress on, classes that hold together, not known


@dataclass(frozen=True, slots=True)
class Example:
    """What every example has, whatever its fields; a new kind of task may add a class of its own."""

    id: str

    reports_groups: ClassVar[bool] = False  # its `group` is a kind of question, whose score is reported apart
    group = ""  # what examples are scored or split together by: a document, a table
    gold: ClassVar[Any]  # the right answer in the form of a Prediction's value, None where it is not known
    classes: ClassVar[Any] = ()  # the names of the classes that it has: tuple[str, ...]
    texts: ClassVar[Any]  # all its texts: tuple[str, ...]
    shown = property(lambda self: "\n".join(self.texts))  # its input for people
    passage = property(lambda self: " ".join(self.texts))  # what of it a corpus may hold


@dataclass(frozen=True, slots=True)
class TextExample(Example):
    """One text or two, and a label: classification, regression, or several labels at once."""

    a: str
    b: str = ""
    label: Label = None
    group: str = ""

    gold = property(attrgetter("label"))
    texts = property(lambda self: (self.a, self.b) if self.b else (self.a,))

    @property
    def classes(self) -> tuple[str, ...]:
        """Return its label or labels, none where it is a number."""
        return (self.label,) if isinstance(self.label, str) else self.label if isinstance(self.label, tuple) else ()


@dataclass(frozen=True, slots=True)
class TaggedExample(Example):
    """Words and a tag for each: B, I and O, with or without a type (`B-INT`)."""

    words: tuple[str, ...]
    tags: tuple[str, ...] | None = None
    group: str = ""

    def __post_init__(self) -> None:
        if self.tags is not None and len(self.tags) != len(self.words):
            raise ValueError(f"example {self.id} has {len(self.words)} words and {len(self.tags)} tags")

    gold = property(attrgetter("tags"))
    classes = property(lambda self: self.tags or ())
    texts = property(attrgetter("words"))
    shown = property(lambda self: " ".join(self.words))


@dataclass(frozen=True, slots=True)
class ChoiceExample(Example):
    """A question and its options; `label` is the number of the right one."""

    question: str
    options: tuple[str, ...]
    label: int | None = None
    group: str = ""

    def __post_init__(self) -> None:
        if self.label is not None and self.label not in range(len(self.options)):
            raise ValueError(f"example {self.id}: the label {self.label!r} is not the number of one of its options")

    gold = property(attrgetter("label"))
    texts = property(lambda self: (self.question, *self.options))
    shown = passage = property(attrgetter("question"))


@dataclass(frozen=True, slots=True)
class QuestionExample(Example):
    """A question whose answer is to be found in a context.

    `spans` are the places of answers, `context[start:end]`. No `answers`: it has none (SQuAD 2). Answers but no spans:
    the answer is not in the context, which training leaves out and scoring keeps.
    """

    question: str
    context: str
    answers: tuple[str, ...] = ()
    spans: tuple[tuple[int, int], ...] = ()
    group: str = ""  # `1 hop`, `2 hops`
    title: str = ""  # the document, for splits by document

    reports_groups: ClassVar[bool] = True
    gold = property(attrgetter("answers"))
    texts = property(attrgetter("question", "context"))
    shown = property(attrgetter("question"))
    passage = property(attrgetter("context"))


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a model answers to one example: `value` has the form of its label (tags, an option's number, a text)."""

    id: str
    value: Any
    details: Mapping[str, Any] = field(default_factory=dict)  # scores, n-best lists: whatever JSON holds


@dataclass(frozen=True)
class Splits:
    """The examples of a task as it is trained and scored, and what is to be said about them."""

    train: Sequence[Any]
    dev: Sequence[Any]
    test: Sequence[Any]  # empty: the task is scored on dev, and says so
    notes: tuple[str, ...] = ()  # a split of our own, a set that is missing, answers not in their context
    counts: Mapping[str, int] = field(default_factory=dict)  # examples, and what was odd about them, by name


def known_gold(example: Example) -> Any:
    """Return the right answer; an example without one is a ValueError."""
    if example.gold is None:
        raise ValueError(f"example {example.id} has no label: its split can be predicted, not scored")
    return example.gold
