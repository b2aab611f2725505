"""Kinds of tasks: one class each, with the rows, the head and the answers of its examples, and metrics of its own.

A dataset of a known kind is a table in a TOML file and needs no code. A new kind is a subclass of Kind: a table names
it as `kind = "package.module:Class"`, or by the name that a package registers in the entry points linkbert.tasks.
"""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from numbers import Real
from typing import Any, ClassVar

import numpy as np
from scipy.special import expit, softmax

from linkbert import registry
from linkbert.config import nearest
from linkbert.records import IGNORED
from linkbert.tasks.examples import Prediction, TextExample, known_gold
from linkbert.tasks.features import RowForm, Rows, Windows, encode, windows
from linkbert.tasks.metrics import METRICS, Examples, Metric, Predictions, best_threshold, own_metric, refuse, score
from linkbert.tasks.table import Task

DIGITS = 4  # of a probability
OF_CLASSES = {"accuracy", "matthews", "f1", "relation_f1", "multilabel_f1"}  # metrics that score no numbers
GUESSES = 60  # of each question of a choice: 60 is a multiple of 2 to 6
MAX_ANSWER = 30  # tokens of an answer, as in BERT's script
N_BEST = 20  # starts and ends that are tried with each other in a window, likewise
KEPT = 5  # answers of a question that are written down

Outputs = Sequence[np.ndarray]  # what a model says of each row, float32; see Kind.decode
Decision = Callable[[Sequence[Prediction]], Sequence[Prediction]]


class Kind:
    """What is done with the examples of a task; this one does what kinds have in common."""

    head: ClassVar[str] = "AutoModelForSequenceClassification"  # a class of transformers; the loss is its own
    outputs: ClassVar[int] = 0  # of a head that has no classes
    grid: ClassVar[str] = "glue"  # the suite whose grid of the paper tasks of further suites take
    metrics: ClassVar[Sequence[Metric]] = ()  # of its own, besides those of metrics.METRICS

    def __init__(self, task: Task) -> None:
        self.task = task

    def __init_subclass__(cls) -> None:
        if wrong := [each for each in cls.metrics if not isinstance(each, Metric)]:
            raise TypeError(f"metrics of {cls.__name__} are objects of linkbert.tasks.metrics.Metric, got {wrong[0]!r}")
        METRICS.update({metric.name: metric for metric in cls.metrics})

    def labels(self, train: Sequence[Any]) -> tuple[str, ...]:
        """Return the classes that the table says, or train has, in the order of the model's outputs; () for none."""
        found = {label for example in train for label in example.classes}
        return () if self.outputs else self.task.labels or tuple(sorted(found))

    def problem(self, labels: Sequence[str]) -> str | None:
        """Return Hugging Face's problem_type, by which some of its heads choose their loss."""

    def rows(self, examples: Sequence[Any], form: RowForm, *, training: bool) -> Rows:
        """Tokenise examples; the rows have labels in training, and ValueErrors say what cannot be trained on."""
        raise NotImplementedError

    def decode(self, rows: Rows, outputs: Outputs) -> list[Prediction]:
        """Turn the model's outputs of all rows, in order, into a Prediction for each example, in order.

        An output is (C,) of a sequence, (tokens, C) of a head that answers for each token, (options,) of a choice,
        (2, tokens) of a start and an end, where tokens are the row's `lengths`.
        """
        raise NotImplementedError

    def decide(self, dev: Sequence[Any], predictions: Sequence[Prediction]) -> tuple[Decision, str] | None:
        """Choose on dev what training has not: return what to do with the predictions of every set, and a note."""

    def constant(self, example: Any, answer: Any) -> Prediction:
        """Answer an example without reading it."""
        return Prediction(example.id, answer)

    def unread(self, known: Sequence[Any]) -> tuple[Any, Sequence[Any]]:
        """Return the commonest answer of examples (the first by name of equals), and equally likely guesses."""
        counts = Counter(known_gold(example) for example in known)
        return min(counts.items(), key=lambda item: (-item[1], item[0]))[0], sorted(counts)

    def score(self, examples: Examples, predictions: Predictions, names: Sequence[str] = ()) -> dict[str, float]:
        """Score predictions by the metrics of the task, or by those named."""
        return score(names or self.task.metrics, examples, predictions)

    def baselines(self, train: Sequence[Any], examples: Sequence[Any]) -> dict[str, dict[str, float]]:
        """Score `majority` of train (of the examples, where there is no train), and `chance`.

        Chance is every guess the same number of times, that is the expected sums of a guess; numbers and questions,
        which cannot be guessed so, have majority's score.
        """
        common, guesses = self.unread(train or examples)
        first = [self.constant(example, common) for example in examples]
        guessed = [self.constant(example, answer) for answer in guesses for example in examples]
        chance = self.score([*examples] * len(guesses) or examples, guessed or first)
        return {"majority": self.score(examples, first), "chance": chance}

    def check_labels(self, examples: Sequence[Any], labels: Sequence[str] = ()) -> None:
        """Refuse to train on examples without a label, with one that is not of `labels`, or all of one class."""
        name = self.task.name
        if bare := [each.id for each in examples if each.gold is None]:
            raise ValueError(f"{name}: {len(bare)} examples have no label to train on, the first is {bare[0]}")
        held = {label for example in examples for label in example.classes} if labels else set()
        if strange := sorted(held - set(labels)):
            raise ValueError(f"{name}: the label {strange[0]!r} is none of {', '.join(labels)}")
        if len(held) == 1 and self.problem(labels) in (None, "single_label_classification"):
            same = f"{name}: all {len(examples)} examples of train have the label {min(held)!r}"
            raise ValueError(f"{same}: is the file whole, and fraction not too small?")


class Text(Kind):
    """One text or two; one class of several, several at once (`multilabel_f1`), or a number."""

    def problem(self, labels: Sequence[str]) -> str:
        """Return Hugging Face's word for it."""
        if not labels:
            return "regression"
        return "multi_label_classification" if "multilabel_f1" in self.task.metrics else "single_label_classification"

    def rows(self, examples: Sequence[TextExample], form: RowForm, *, training: bool) -> Rows:
        """Tokenise texts or pairs."""
        pairs, labels = any(example.b for example in examples), form.labels
        rows = encode([(each.a, each.b) if pairs else each.a for each in examples], examples, form)
        if not training:
            return rows
        self.check_labels(examples, labels)
        given: Any = [example.label for example in examples]
        if self.problem(labels) == "single_label_classification":
            return replace(rows, labels={"labels": np.array([labels.index(label) for label in given])})
        if labels:
            given = [[label in example.classes for label in labels] for example in examples]
        return replace(rows, labels={"labels": np.array(given, dtype=np.float32)})

    def check_labels(self, examples: Sequence[Any], labels: Sequence[str] = ()) -> None:
        """Refuse labels of another form than the metrics score, too: 1 is a number, "1" a class, ("1",) several."""
        super().check_labels(examples, labels)
        form = {"single_label_classification": str, "multi_label_classification": str | tuple, "regression": Real}
        wrong = [each for each in examples if not isinstance(each.label, form[self.problem(labels)])]
        if not {"pearson", "spearman"}.isdisjoint(self.task.metrics) if labels else {*self.task.metrics} & OF_CLASSES:
            wrong = [*examples]
        if wrong:
            name, metrics, label = self.task.name, ", ".join(self.task.metrics), wrong[0].label
            forms = "a class is a text, several (multilabel_f1) are a tuple, a number is for pearson or spearman"
            raise ValueError(f"{name}: {metrics} cannot score the label {label!r} of example {wrong[0].id}: {forms}")
        for metric in self.task.metrics if labels else ():
            about = METRICS[metric].about if metric in METRICS else ""
            if about and (about not in labels or (metric == "f1" and len(labels) > 2)):
                means = f"that of '{about}' of two classes" if metric == "f1" else f"of all classes but '{about}'"
                remedy = "take accuracy or matthews (F1 of each class is kept, too), or name them by options.labels"
                here = f"{metric} is {means}, here they are {', '.join(labels):.200}"
                raise ValueError(f"{self.task.name}: {here}: {remedy}")

    def decode(self, rows: Rows, outputs: Outputs) -> list[Prediction]:
        """Answer the best class; or the labels whose logit is above 0; or the number."""
        problem, predictions = self.problem(rows.classes), []
        if problem == "single_label_classification":
            return best_of(rows, rows.classes, outputs)
        for example, logits in zip(rows.examples, outputs, strict=True):
            if problem == "regression":
                predictions.append(Prediction(example.id, float(logits[0])))
                continue
            held = tuple(label for label, value in zip(rows.classes, logits, strict=True) if value > 0)
            scores = np.round(expit(logits.astype(float)), DIGITS).tolist()
            predictions.append(Prediction(example.id, held, {"scores": scores}))
        return predictions

    def unread(self, known: Sequence[Any]) -> tuple[Any, Sequence[Any]]:
        """Answer numbers with their mean; guess of several labels none and all, as each holds with probability 1/2."""
        golds = [known_gold(example) for example in known]
        if isinstance(golds[0], float):
            return float(np.mean(golds)), ()
        common, guesses = super().unread(known)
        if isinstance(golds[0], tuple):
            guesses = [(), tuple(sorted({label for held in golds for label in held}))]
        return common, guesses


class Tags(Kind):
    """A tag for each word, which the first token of the word carries.

    A word that no token stands for, beyond `max_length` or of control characters, has the prediction "", and counts
    neither in the loss nor in the score, as with the authors.

        words Low doses, tags O B    ->    tokens [CLS] low dose ##s [SEP], labels -100 1 0 -100 -100
    """

    head = "AutoModelForTokenClassification"
    grid = "blurb"

    def rows(self, examples: Sequence[Any], form: RowForm, *, training: bool) -> Rows:
        """Tokenise lists of words."""
        # A space, lest a byte-level BPE take every word for the rest of one.
        words = [[f" {word}" for word in each.words] for each in examples]
        rows = encode(words, examples, form, words=True)
        first = np.flatnonzero(rows.words >= 0)
        if left := sum(map(len, words)) - len(first):
            rows = replace(rows, counts={**rows.counts, "words without a token": left})
        if not training:
            return rows
        self.check_labels(examples, form.labels)
        number, known = {tag: i for i, tag in enumerate(form.labels)}, np.full(len(rows.tokens), IGNORED)
        tags = np.array([number[tag] for example in examples for tag in example.tags], np.int64)
        known[first] = tags[rows.words[first]]
        return replace(rows, token_labels=known)

    def decode(self, rows: Rows, outputs: Outputs) -> list[Prediction]:
        """Answer the best tag of each word's first token."""
        first, ends = np.flatnonzero(rows.words >= 0), np.cumsum([len(each.words) for each in rows.examples]).tolist()
        tags = np.full(ends[-1], "", dtype=object)
        tags[rows.words[first]] = np.array(rows.classes, dtype=object)[np.concatenate(outputs)[first].argmax(1)]
        values = tags.tolist()
        return [Prediction(e.id, tuple(values[a:b])) for e, a, b in zip(rows.examples, [0, *ends], ends, strict=False)]

    def constant(self, example: Any, answer: Any) -> Prediction:
        """Tag every word alike."""
        return Prediction(example.id, (answer,) * len(example.words))

    def unread(self, known: Sequence[Any]) -> tuple[str, Sequence[str]]:
        """Answer O; guess one tag for a whole sentence."""
        return "O", sorted({tag for example in known for tag in known_gold(example)})


class Choice(Kind):
    """A question and its options, however many: "question, option" for each, of which the best is chosen."""

    head = "AutoModelForMultipleChoice"
    outputs = 1
    grid = "medqa"

    def rows(self, examples: Sequence[Any], form: RowForm, *, training: bool) -> Rows:
        """Tokenise each question with each of its options."""
        # A space, as the authors' empty header leaves one: a byte-level BPE tells "yes" from " yes".
        texts = [(example.question, f" {option}") for example in examples for option in example.options]
        rows = replace(encode(texts, examples, form), options=np.array([len(e.options) for e in examples], np.int64))
        if not training:
            return rows
        self.check_labels(examples)
        return replace(rows, labels={"labels": np.array([example.label for example in examples])})

    def decode(self, rows: Rows, outputs: Outputs) -> list[Prediction]:
        """Answer the number of the best option."""
        return best_of(rows, range(max(map(len, outputs))), outputs)

    def constant(self, example: Any, answer: Any) -> Prediction:
        """Count on from the first option where there are fewer."""
        return Prediction(example.id, answer % len(example.options))

    def unread(self, known: Sequence[Any]) -> tuple[int, Sequence[int]]:
        """Answer the commonest number; guess each option as often (up to GUESSES times about as often)."""
        least = math.lcm(*(len(example.options) for example in known))
        return super().unread(known)[0], range(min(least, max(GUESSES, len(known[0].options))))


class Question(Kind):
    """A question whose answer is a part of its context, which is read in windows."""

    head = "AutoModelForQuestionAnswering"
    outputs = 2
    grid = "mrqa"

    def rows(self, examples: Sequence[Any], form: RowForm, *, training: bool) -> Windows:
        """Cut questions with their contexts into windows."""
        return windows(examples, form, training=training)

    def decode(self, rows: Rows, outputs: Outputs) -> list[Prediction]:
        """Answer the best pair of a start and an end over the windows of a question, `context[start:end]`.

        It is "" only where no window has a token. details: its `score` (the sum of two logits), `null` (the score of
        having no answer, the lowest of the windows' at [CLS], minus `score`) and `nbest`, [text, score] of the best
        KEPT.
        """
        assert isinstance(rows, Windows)
        null, spans = [np.inf] * len(rows.examples), [list[tuple[float, int, int]]() for _ in rows.examples]
        columns = (each.tolist() for each in (rows.example, rows.first, rows.sizes, rows.begins))
        for output, number, first, size, begin in zip(outputs, *columns, strict=True):
            null[number] = min(null[number], float(output[:, rows.cls].sum()))
            spans[number] += best_spans(output[:, first : first + size], begin)
        predictions = []
        for number, item in enumerate(rows.examples):
            best: dict[str, float] = {}
            for value, begin, end in sorted(spans[number], key=lambda span: -span[0]):
                text = item.context[rows.chars[begin, 0] : rows.chars[end, 1]]
                best.setdefault(text, round(value, 4))
                if len(best) == KEPT:
                    break
            text, top = next(iter(best.items()), ("", 0.0))
            nbest = [list(each) for each in best.items()]
            details = {"score": top, "null": round(null[number] - top, 4), "nbest": nbest}
            predictions.append(Prediction(item.id, text, details))
        return predictions

    def decide(self, dev: Sequence[Any], predictions: Sequence[Prediction]) -> tuple[Decision, str] | None:
        """Choose the score above which a question has no answer, where some have none."""
        threshold = best_threshold(dev, predictions)
        if not np.isfinite(threshold):
            return None
        note = f"no answer where its score is above {threshold:.4g}, chosen on dev"
        return partial(refuse, threshold=threshold), note

    def unread(self, _known: Sequence[Any]) -> tuple[str, Sequence[str]]:
        """Answer nothing, which is right where there is no answer; a guess cannot be made."""
        return "", ()


def kind_of(task: Task) -> Kind:
    """Find a task's kind by its name; one that is unknown or cannot be imported is a ValueError."""
    found = registry.find("tasks", task.kind)
    if not isinstance(found, type) or not issubclass(found, Kind):
        raise ValueError(f"{task.kind} of {task.name} is not a kind of task: it must be a subclass of kinds.Kind")
    METRICS.update({name: own_metric(name, registry.find("metrics", name)) for name in task.metrics if ":" in name})
    if unknown := [name for name in task.metrics if name not in METRICS]:
        own = "; one of your own is 'package.module:function'"
        raise ValueError(f"{task.name} has metric {unknown[0]!r}; {nearest(unknown[0], METRICS)}{own}")
    return found(task)


def best_of(rows: Rows, answers: Sequence[Any], outputs: Outputs) -> list[Prediction]:
    """Answer each row's example with the best of the model's outputs; details have the probabilities of all."""
    sizes = np.array([len(each) for each in outputs])
    logits = np.full((len(sizes), sizes.max()), -np.inf)  # float64: digits of float32 would be 0.5153999924659729
    logits[np.arange(sizes.max()) < sizes[:, None]] = np.concatenate(outputs)
    scores, best = np.round(softmax(logits, axis=1), DIGITS).tolist(), logits.argmax(1).tolist()
    found = zip(rows.examples, best, scores, sizes, strict=True)
    return [Prediction(example.id, answers[n], {"scores": each[:size]}) for example, n, each, size in found]


def best_spans(logits: np.ndarray, begin: int) -> list[tuple[float, int, int]]:
    """Return the N_BEST best spans of a window, (2, tokens): score, first and last token, counted from `begin`."""
    starts, ends = np.argsort(-logits, axis=1, kind="stable")[:, :N_BEST]
    length = ends - starts[:, None]
    rows, columns = np.nonzero((length >= 0) & (length < MAX_ANSWER))
    first, last = starts[rows], ends[columns]
    scores = logits[0, first] + logits[1, last]
    best = np.argsort(-scores, kind="stable")[:N_BEST]
    return list(zip(*(each[best].tolist() for each in (scores, begin + first, begin + last)), strict=True))
