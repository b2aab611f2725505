"""Examples as rows of tokens, for any fast tokenizer of Hugging Face: its Rust half encodes, cuts and makes windows.

All rows lie in flat arrays with offsets; a batch is padded when it is asked for. A kind of task (kinds.py) has its
texts, pairs or words encoded here (`encode`), its questions in windows (`windows`).

A question's row is `[CLS] question [SEP] window of the context [SEP]`; a context that does not fit is read in windows
of which two neighbours share `stride` tokens, as in the paper's scripts (384 and 128; Hugging Face's `stride`). BERT's
own windows *start* 128 tokens apart: those read a long context almost twice as often.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, cast

import numpy as np
from tokenizers import Encoding, Tokenizer

from linkbert.instances.vocabulary import ask
from linkbert.records import IGNORED
from linkbert.tasks.examples import Example, QuestionExample

AT_ONCE = 2048  # texts given to the tokenizer at a time: its answers take far more memory than the arrays
SOURCE = "the encoder's tokenizer"
MULTIPLE = 8  # a batch's width is a multiple of this
MAX_QUESTION = 64  # tokens of a question that are read, as in BERT's script


@dataclass(frozen=True)
class RowForm:
    """How examples become rows: by a fast tokenizer, with the model's classes, of at most so many tokens."""

    tokenizer: Any
    max_length: int
    stride: int = 0  # tokens that two windows of a context share
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Rows of tokens of some examples; a row is one sequence, or (`options`) as many as an example has options."""

    examples: Sequence[Any]
    classes: tuple[str, ...] = ()  # in the order of the model's outputs
    tokens: np.ndarray  # (T,) int32, all sequences one after the other
    types: np.ndarray | None  # (T,) uint8: 1 in the second text; None where the model takes no token_type_ids
    words: Any = None  # (T,) int32: the number, among all words of all rows, that a token is the first of, else -1
    offsets: np.ndarray  # (S + 1,) int64
    pad: int
    max_length: int
    counts: Mapping[str, int] = field(default_factory=dict)  # what was odd about the examples, by name
    options: np.ndarray | None = None  # (R,) int64, sequences of each row; None: one, and arrays without that dimension
    labels: Mapping[str, np.ndarray] = field(default_factory=dict)  # of training, (R, ...), by Hugging Face's name
    token_labels: np.ndarray | None = None  # of training, (T,) int64

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each row, (R,) int64; a choice has the longest of its options."""
        sizes = np.diff(self.offsets)
        return sizes if self.options is None else np.maximum.reduceat(sizes, self.firsts)

    @cached_property
    def sizes(self) -> np.ndarray:
        """Tokens of each row as a forward pass pads them, (R,) int64: of a choice those of all its options."""
        return self.lengths * (1 if self.options is None else self.options)

    @cached_property
    def firsts(self) -> np.ndarray:
        """Return the first sequence of each row that has options, (R,) int64."""
        options = cast(np.ndarray, self.options)
        return np.cumsum(options) - options

    def batch(self, rows: Sequence[int] | np.ndarray) -> dict[str, np.ndarray]:
        """Return the arrays that a Hugging Face model takes, padded; labels as they are in training.

        input_ids, attention_mask, token_type_ids are int64 (B, T), or (B, options, T); T is the longest row, rounded
        up to a multiple of 8, at most `max_length`.
        """
        sequences = chosen = np.asarray(rows, dtype=np.int64)
        shape: tuple[int, ...] = (len(chosen), -1)
        if self.options is not None:
            shape = (len(chosen), int(self.options[chosen[0]]), -1)
            sequences = (self.firsts[chosen, None] + np.arange(shape[1])).ravel()
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
        if self.token_labels is not None:
            batch["labels"] = padded(self.token_labels, IGNORED)
        return batch | {name: values[chosen] for name, values in self.labels.items()}


@dataclass(frozen=True, kw_only=True)
class Windows(Rows):
    """The windows of some questions."""

    example: np.ndarray  # (R,) int64, the number of each row's example
    first: np.ndarray  # (R,) int64, the column of its first token of the context
    sizes: np.ndarray  # (R,) int64, how many it has of the context
    begins: np.ndarray  # (R,) int64, where those stand in `chars`
    chars: np.ndarray  # (N, 2) int32, the characters of its context for which a token stands
    cls: int  # the column of [CLS]


def encode(inputs: Sequence[Any], examples: Sequence[Example], form: RowForm, *, words: bool = False) -> Rows:
    """Tokenise texts, pairs (cut to `max_length` tokens from the longer one), or lists of words; without labels."""
    rust = _rust_half(form.tokenizer)
    rust.enable_truncation(form.max_length, strategy="longest_first")
    none = np.zeros(0, dtype=np.int32)
    tokens, types, first, cut, before = [none], [none.astype(np.uint8)], [none], 0, 0
    for begin in range(0, len(inputs), AT_ONCE):
        part = inputs[begin : begin + AT_ONCE]
        for text, each in zip(part, ask(SOURCE, rust.encode_batch, part, is_pretokenized=words), strict=True):
            tokens.append(np.array(each.ids, dtype=np.int32))
            types.append(np.array(each.type_ids, dtype=np.uint8))
            cut += bool(each.overflowing)
            if words:
                word = np.array([-1 if word is None else before + word for word in each.word_ids], dtype=np.int32)
                first.append(np.where(np.diff(word, prepend=-1) != 0, word, -1))
                before += len(text)
    arrays = _arrays(form, tokens, types) | ({"words": np.concatenate(first)} if words else {})
    counts = {f"texts cut to {form.max_length} tokens": cut} if cut else {}
    return Rows(**arrays, examples=examples, classes=form.labels, counts=counts)


def _arrays(form: RowForm, tokens: Sequence[np.ndarray], types: Sequence[np.ndarray]) -> dict[str, Any]:
    """Join the tokens of sequences, the first of which is empty."""
    typed, offsets = "token_type_ids" in form.tokenizer.model_input_names, np.cumsum([len(each) for each in tokens])
    return {"tokens": np.concatenate(tokens), "types": np.concatenate(types) if typed else None, "offsets": offsets,
            "pad": form.tokenizer.pad_token_id, "max_length": form.max_length}  # fmt: skip


def windows(examples: Sequence[QuestionExample], form: RowForm, *, training: bool) -> Windows:
    """Cut questions with their contexts into windows of at most `max_length` tokens, special ones included.

    In training an answer is its first span; a window in which it does not stand as a whole, and every window of a
    question without an answer, points to [CLS]. Questions whose answer is not in their context, and empty contexts,
    are left out of training and counted. ValueError for a question that leaves no room for a second window.

    A context of 5 tokens, where 3 have room and 1 is shared, has the windows (0 1 2) and (2 3 4).
    """
    tokenizer, max_length, stride = form.tokenizer, form.max_length, form.stride
    plain, framed = _rust_half(tokenizer), _rust_half(tokenizer)
    if stride >= max_length - (special := plain.num_special_tokens_to_add(True)):
        raise ValueError(f"stride={stride} leaves no room in max_length={max_length}: lower it, or raise max_length")
    framed.enable_truncation(max_length, stride=stride, strategy="only_second")
    [pair] = ask(SOURCE, plain.encode_batch, [("a", "a")])
    if tokenizer.cls_token_id not in pair.ids[: pair.sequence_ids.index(0)]:
        raise ValueError("the tokenizer puts no [CLS] before a question: an encoder of BERT's kind is needed")
    cls, end = pair.ids.index(tokenizer.cls_token_id), pair.sequence_ids[::-1].index(1)
    counts = {"answers not in their context": sum(bool(e.answers) and not e.spans for e in examples)}
    counts["empty contexts"] = sum(not e.context.strip() for e in examples)
    if training:
        examples = [e for e in examples if bool(e.answers) == bool(e.spans) and e.context.strip()]
    long, without, known = 0, 0, 0
    tokens, types, chars = [np.zeros(0, np.int32)], [np.zeros(0, np.uint8)], [np.zeros((0, 2), np.int32)]
    rows: list[tuple[int, ...]] = []  # example, first, size, begin in chars, first and last token of the answer
    places: dict[str, tuple[int, np.ndarray]] = {}  # by context, where its tokens begin in chars, and its part
    for number, (example, question, context) in enumerate(_questions(plain, examples)):
        if len(question) > MAX_QUESTION:
            text = example.question[: question.offsets[MAX_QUESTION - 1][1]]
            [question], long = ask(SOURCE, plain.encode_batch, [text], add_special_tokens=False), long + 1
        room, count = max_length - special - len(question), len(context)
        if count > room and room <= stride:
            left = f"its {len(question)} tokens leave {max(0, room)} of max_length={max_length} to a context of {count}"
            shared = f"stride={stride} of them are shared; raise max_length or lower stride"
            raise ValueError(f"question {example.id}: {left}, and {shared}")
        if example.context not in places:
            chars.append(np.array(context.offsets, np.int32).reshape(-1, 2))
            places[example.context], known = (known, chars[-1]), known + count
        begin, own = places[example.context]
        answer = (1, 0)
        if training and example.spans:
            first_char, stop_char = example.spans[0]  # its tokens are those that share a character with it
            answer = int(own[:, 1].searchsorted(first_char, "right")), int(own[:, 0].searchsorted(stop_char)) - 1
            without += answer[0] > answer[1]
        whole = framed.post_process(question, context)
        first = len(whole) - end - min(room, count)
        for turn, row in enumerate([whole, *whole.overflowing]):
            start, size = turn * (room - stride), len(row) - first - end
            tokens.append(np.array(row.ids, np.int32))
            types.append(np.array(whole.type_ids[:first] + whole.type_ids[-1:] * (size + end), np.uint8))
            here = start <= answer[0] <= answer[1] < start + size
            shown = (first + answer[0] - start, first + answer[1] - start) if here else (cls, cls)
            rows.append((number, first, size, begin + start, *shown))
    counts |= {f"questions cut to {MAX_QUESTION} tokens": long, "answers without a token": without}
    table = np.array(rows, np.int64).reshape(-1, 6).T
    columns: dict[str, Any] = dict(zip(("example", "first", "sizes", "begins"), table, strict=False))
    columns |= _arrays(form, tokens, types) | {"chars": np.concatenate(chars)}
    labels = {"start_positions": table[4], "end_positions": table[5]} if training else {}
    counts = {name: count for name, count in counts.items() if count}
    return Windows(**columns, examples=examples, cls=cls, labels=labels, counts=counts)


def _questions(rust: Tokenizer, examples: Sequence[Any]) -> Iterator[tuple[QuestionExample, Encoding, Encoding]]:
    """Tokenise questions, and each context once however many questions are asked about it."""
    for begin in range(0, len(examples), AT_ONCE):
        part = examples[begin : begin + AT_ONCE]
        contexts = list(dict.fromkeys(each.context for each in part))
        texts = contexts + [each.question for each in part]
        encoded = ask(SOURCE, rust.encode_batch, texts, add_special_tokens=False)
        found, questions = dict(zip(contexts, encoded, strict=False)), encoded[len(contexts) :]
        yield from ((each, question, found[each.context]) for each, question in zip(part, questions, strict=True))


def _rust_half(tokenizer: Any) -> Tokenizer:
    """Copy what does the work in a fast tokenizer, so that its settings here are nobody else's."""
    if not tokenizer.is_fast:
        raise ValueError(f"{type(tokenizer).__name__} is not a fast tokenizer: its folder needs a tokenizer.json")
    rust = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    rust.no_padding()
    rust.no_truncation()
    return rust
