"""A kind of task of one's own, as a user writes it: stars, whose classes are numbers; an answer may be off by one."""

from dataclasses import replace

import numpy as np
from scipy.special import softmax

from linkbert.tasks.examples import Prediction
from linkbert.tasks.features import encode
from linkbert.tasks.kinds import Kind
from linkbert.tasks.metrics import Metric


def closeness(examples, predictions):
    """Return columns 1 - distance / 4, and 1."""
    apart = [abs(int(example.label) - int(each.value)) for example, each in zip(examples, predictions, strict=True)]
    return np.column_stack([1 - np.array(apart) / 4, np.ones(len(apart))])


def mean(sums):
    return sums[..., 0] / sums[..., 1]


def low(examples, predictions):
    """Say of each example whether its answer is the lowest: what a table names as a metric."""
    return [each.value == "1" for _, each in zip(examples, predictions, strict=True)]


class Stars(Kind):
    metrics = (Metric("closeness", closeness, mean, mean),)

    def problem(self, _labels):
        return "single_label_classification"

    def rows(self, examples, form, *, training):
        rows = encode([example.a for example in examples], examples, form)
        known = {"labels": np.array([form.labels.index(example.label) for example in examples])} if training else {}
        return replace(rows, labels=known)

    def decode(self, rows, outputs):
        """Answer the mean of the stars, rounded: what is closest, not what is likeliest."""
        stars = np.array([int(label) for label in rows.classes])
        means = np.round(softmax(np.stack(outputs), axis=1) @ stars).astype(int)
        return [Prediction(example.id, str(value)) for example, value in zip(rows.examples, means, strict=True)]


def tables():
    """Return the file of an installed package's datasets."""
    from pathlib import Path

    return Path(__file__).with_name("own_tables.toml")
