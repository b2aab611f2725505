"""Texts, tags and choices as rows of tokens, and a model's outputs as Predictions (of questions: windows.py).

All rows lie in flat arrays with offsets; a batch is padded when it is asked for. Any fast tokenizer of Hugging Face
will do: its Rust half encodes in parallel.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from scipy.special import expit, softmax
from tokenizers import Tokenizer

from linkbert.records import IGNORED
from linkbert.tasks.examples import Example, Features, Prediction, TaggedExample
from linkbert.tasks.table import Task

AT_ONCE = 4096  # texts given to the tokenizer at a time: its answers take far more room than the arrays
MULTIPLE = 8  # a batch's width is a multiple of this
DIGITS = 4  # of a probability

Decode = Callable[[Sequence[np.ndarray]], list[Prediction]]


@dataclass(frozen=True)
class Rows:
    """Rows of tokens: see examples.Features. A choice's row is as many sequences as it has options."""

    tokens: np.ndarray  # (T,) int32, all sequences one after the other
    types: np.ndarray | None  # (T,) uint8: 1 in the second text; None where the model takes no token_type_ids
    words: np.ndarray  # (T,) int32: of tags, the word that a token is the first of, else -1; of others empty
    offsets: np.ndarray  # (S + 1,) int64
    pad: int
    max_length: int
    counts: Mapping[str, int]  # what was cut off, by name
    decode: Decode = lambda _: []
    options: int = 0  # sequences a row; 0: one, and arrays without that dimension
    labels: np.ndarray | None = None  # (R,) int64 or float32, (R, C) float32; of tags (T,) int64

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each row, (R,)."""
        return np.diff(self.offsets).reshape(-1, max(self.options, 1)).max(1)

    def batch(self, rows: Sequence[int] | np.ndarray) -> dict[str, np.ndarray]:
        """Give input_ids, attention_mask, token_type_ids (B, T), or (B, options, T); labels as they are in training."""
        chosen = np.asarray(rows, dtype=np.int64)
        shape = (len(chosen), self.options, -1) if self.options else (len(chosen), -1)
        sequences = (chosen[:, None] * max(self.options, 1) + np.arange(max(self.options, 1))).ravel()
        length = np.diff(self.offsets)[sequences]
        width = min(-(-int(length.max()) // MULTIPLE) * MULTIPLE, self.max_length)
        inside = np.arange(width) < length[:, None]  # (S, T)
        places = (self.offsets[sequences][:, None] + np.arange(width))[inside]

        def padded(flat: np.ndarray, value: int) -> np.ndarray:
            values = np.full(inside.shape, value, dtype=np.int64)
            values[inside] = flat[places]
            return values.reshape(shape)

        batch = {"input_ids": padded(self.tokens, self.pad), "attention_mask": inside.astype(np.int64).reshape(shape)}
        if self.types is not None:
            batch["token_type_ids"] = padded(self.types, 0)
        if self.labels is not None:
            batch["labels"] = padded(self.labels, IGNORED) if len(self.words) else self.labels[chosen]
        return batch


def labels_of(task: Task, train: Sequence[Example]) -> tuple[str, ...]:
    """List the classes that train has, or tasks.toml says, in the order of their ids; none for numbers and options."""
    return task.labels or tuple(sorted(_classes(train)))


def _classes(examples: Sequence[Any]) -> set[str]:
    found: set[str] = set()
    for example in examples:
        held = example.tags if isinstance(example, TaggedExample) else getattr(example, "label", None)
        found.update((held,) if isinstance(held, str) else held if isinstance(held, tuple) else ())
    return found


def problem_type(task: Task, labels: Sequence[str]) -> str:
    """Say what a task of texts is in Hugging Face's words, by which its models choose their loss."""
    if not labels:
        return "regression"
    return "multi_label_classification" if "multilabel_f1" in task.metrics else "single_label_classification"


def make_features(
    task: Task, examples: Sequence[Example], tokenizer: Any, labels: Sequence[str], *, max_length: int, training: bool
) -> Features:
    """Tokenise examples of texts, tags or choices; `labels` are those of `labels_of`; a batch has them in training.

    Two texts are cut to `max_length` tokens from the longer one. A choice is "question, option" for each option. Of a
    word of several tokens the first one carries the tag. A word that no token stands for, beyond `max_length` or of
    control characters, has the prediction "", and counts neither in the loss nor in the score, as with the authors.

        words Low doses, tags O B    ->    tokens [CLS] low dose ##s [SEP], labels -100 1 0 -100 -100

    In training an example without a label, or with one that is not in `labels`, and a single class are ValueErrors.
    """
    if training:
        bare = [each.id for each in examples if (each.tags if task.kind == "tags" else each.label) is None]  # type: ignore
        if bare:
            raise ValueError(f"{task.name}: {len(bare)} examples have no label to train on, the first is {bare[0]}")
        held = _classes(examples) if labels else set()
        if strange := sorted(held - set(labels)):
            raise ValueError(f"{task.name}: the label {strange[0]!r} is none of {', '.join(labels)}")
        if len(held) == 1 and problem_type(task, labels) == "single_label_classification":
            raise ValueError(
                f"{task.name}: all of train ({len(examples)} examples) has the one label {min(held)!r}, from which "
                "nothing can be learnt: is the file whole, and fraction not too small?"
            )
    if not examples:  # a dev set that a task scored with another's model may lack
        return _encode([], tokenizer, max_length)
    make = {"text": _text_rows, "choice": _choice_rows, "tags": _tag_rows}[task.kind]
    return make(task, examples, tokenizer, labels, max_length, training)


def _text_rows(
    task: Task, examples: Sequence[Any], tokenizer: Any, labels: Sequence[str], max_length: int, training: bool
) -> Rows:
    pairs = any(example.b for example in examples)
    rows = _encode([(each.a, each.b) if pairs else each.a for each in examples], tokenizer, max_length)
    problem = problem_type(task, labels)
    if training:
        given = [example.label for example in examples]
        if problem == "single_label_classification":
            known = np.array([labels.index(label) for label in given])
        elif problem == "regression":
            known = np.array(given, dtype=np.float32)
        else:
            known = np.array([[label in held for label in labels] for held in given], dtype=np.float32)
    return replace(
        rows,
        decode=partial(DECODERS[problem], [example.id for example in examples], labels),
        labels=known if training else None,
    )


def _choice_rows(
    task: Task, examples: Sequence[Any], tokenizer: Any, _: Sequence[str], max_length: int, training: bool
) -> Rows:
    sizes = {len(example.options) for example in examples}
    if len(sizes) > 1:
        raise ValueError(f"{task.name}: questions of {min(sizes)} and of {max(sizes)} options cannot share a model")
    # A space, as the authors' empty header leaves one: a byte-level BPE tells "yes" from " yes".
    texts = [(example.question, f" {option}") for example in examples for option in example.options]
    return replace(
        _encode(texts, tokenizer, max_length),
        options=sizes.pop(),
        decode=partial(_decode_classes, [example.id for example in examples], range(len(examples[0].options))),
        labels=np.array([example.label for example in examples]) if training else None,
    )


def _tag_rows(
    _: Task, examples: Sequence[Any], tokenizer: Any, labels: Sequence[str], max_length: int, training: bool
) -> Rows:
    # A space, lest a byte-level BPE take every word for the rest of one.
    rows = _encode([[f" {word}" for word in each.words] for each in examples], tokenizer, max_length, words=True)
    sizes = np.array([len(example.words) for example in examples])
    first = rows.words >= 0
    places = (np.repeat(np.cumsum(sizes) - sizes, np.diff(rows.offsets)) + rows.words)[first]  # among all the words
    left, known = int(sizes.sum() - first.sum()), None
    if training:
        number = {tag: i for i, tag in enumerate(labels)}
        known = np.full(len(first), IGNORED)
        known[first] = np.array([number[tag] for example in examples for tag in example.tags])[places]
    return replace(
        rows,
        counts={**rows.counts, **({"words without a token": left} if left else {})},
        decode=partial(
            _decode_tags, [example.id for example in examples], labels, sizes, np.flatnonzero(first), places
        ),
        labels=known,
    )


def _encode(inputs: Sequence[Any], tokenizer: Any, max_length: int, *, words: bool = False) -> Rows:
    """Tokenise texts, pairs, or lists of words; without labels, and nothing to decode with."""
    if not tokenizer.is_fast:
        raise ValueError(f"{type(tokenizer).__name__} is not a fast tokenizer: its folder needs a tokenizer.json")
    rust = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    rust.no_padding()
    rust.enable_truncation(max_length, strategy="longest_first")
    none = np.zeros(0, dtype=np.int32)
    tokens, types, first, sizes, cut = [none], [none.astype(np.uint8)], [none], [0], 0
    for begin in range(0, len(inputs), AT_ONCE):
        for each in rust.encode_batch(inputs[begin : begin + AT_ONCE], is_pretokenized=words):
            tokens.append(np.array(each.ids, dtype=np.int32))
            types.append(np.array(each.type_ids, dtype=np.uint8))
            sizes.append(len(tokens[-1]))
            cut += bool(each.overflowing)
            if words:
                word = np.array([-1 if word is None else word for word in each.word_ids], dtype=np.int32)
                first.append(np.where(np.diff(word, prepend=-1) != 0, word, -1))
    return Rows(
        tokens=np.concatenate(tokens),
        types=np.concatenate(types) if "token_type_ids" in tokenizer.model_input_names else None,
        words=np.concatenate(first),
        offsets=np.cumsum(sizes),
        pad=tokenizer.pad_token_id,
        max_length=max_length,
        counts={f"texts cut to {max_length} tokens": cut} if cut else {},
    )


def _decode_classes(ids: Sequence[str], labels: Sequence[Any], outputs: Sequence[np.ndarray]) -> list[Prediction]:
    logits = np.stack(outputs)
    scores = np.round(softmax(logits, axis=1), DIGITS).tolist()
    best = logits.argmax(1).tolist()
    return [Prediction(i, labels[n], {"scores": each}) for i, n, each in zip(ids, best, scores, strict=True)]


def _decode_numbers(ids: Sequence[str], _: Sequence[str], outputs: Sequence[np.ndarray]) -> list[Prediction]:
    return [Prediction(i, float(output[0])) for i, output in zip(ids, outputs, strict=True)]


def _decode_labels(ids: Sequence[str], labels: Sequence[str], outputs: Sequence[np.ndarray]) -> list[Prediction]:
    logits = np.stack(outputs)
    scores = np.round(expit(logits), DIGITS).tolist()
    held = [tuple(label for label, value in zip(labels, row, strict=True) if value > 0) for row in logits]
    return [Prediction(i, value, {"scores": each}) for i, value, each in zip(ids, held, scores, strict=True)]


DECODERS: dict[str, Callable[[Sequence[str], Sequence[str], Sequence[np.ndarray]], list[Prediction]]] = {
    "single_label_classification": _decode_classes,
    "multi_label_classification": _decode_labels,
    "regression": _decode_numbers,
}


def _decode_tags(
    ids: Sequence[str],
    labels: Sequence[str],
    sizes: np.ndarray,
    tokens: np.ndarray,
    places: np.ndarray,
    outputs: Sequence[np.ndarray],
) -> list[Prediction]:
    """Tag an example's `sizes` words, of which those of numbers `places` have their first tokens at `tokens`, (W,)."""
    tags = np.full(sizes.sum(), "", dtype=object)
    tags[places] = np.array(labels, dtype=object)[np.concatenate(outputs).take(tokens, axis=0).argmax(1)]
    values, ends = tags.tolist(), np.cumsum(sizes).tolist()
    return [Prediction(i, tuple(values[a:b])) for i, a, b in zip(ids, [0, *ends], ends, strict=False)]
