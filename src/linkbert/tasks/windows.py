"""Questions and their contexts as rows of tokens, and a model's scores of tokens back as answers.

A row is `[CLS] question [SEP] window of the context [SEP]`; a context that does not fit is read in windows of which two
neighbours share `stride` tokens. That is what the paper's scripts do (384 and 128; Hugging Face's `stride`), and not
what BERT's own did, whose windows *start* 128 tokens apart: those read a long context almost twice as often.

A context is tokenised once, however many questions are asked about it, and a window is a start and a size: rows of
tokens exist only in a batch. So a set is read about as fast as its distinct texts can be tokenised.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np

from linkbert.tasks.examples import Prediction, QuestionExample

MAX_QUESTION = 64  # tokens of a question that are read, as in BERT's script
MAX_ANSWER = 30  # tokens of an answer, likewise
N_BEST = 20  # starts and ends that are tried with each other in a window, likewise
KEPT = 5  # answers of a question that are written down
AT_ONCE = 2048  # texts given to the tokenizer, and rows decoded, in one go


@dataclass(frozen=True)
class _Tokens:
    """Texts one behind the other: text i has the tokens offsets[i] to offsets[i + 1]."""

    ids: np.ndarray  # (N,) int32
    chars: np.ndarray  # (N, 2) int32, the characters of its text for which a token stands
    offsets: np.ndarray  # (texts + 1,) int64

    @property
    def sizes(self) -> np.ndarray:
        return np.diff(self.offsets)


@dataclass(frozen=True)
class QuestionFeatures:
    """The windows of some questions: row r is `sizes[r]` tokens of a context, from its token `starts[r]` on."""

    examples: Sequence[QuestionExample]
    counts: dict[str, int]  # what was odd about them
    questions: _Tokens
    contexts: _Tokens  # distinct ones
    context: np.ndarray  # (examples,) int64, the context of each
    example: np.ndarray  # (R,) int64
    starts: np.ndarray  # (R,) int64
    sizes: np.ndarray  # (R,) int64
    labels: np.ndarray | None  # (R, 2) int64, the columns of the answer's first and last token, or twice that of [CLS]
    special: tuple[np.ndarray, ...]  # ids and types of the tokens before the question, behind it and behind the window
    types: tuple[int, int]  # of the question and of the window
    names: frozenset[str]  # of the arrays that the model takes
    pad: int
    cls: int  # its column
    max_length: int

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each row, (R,) int64."""
        return self._first + self.sizes + self.special[2].shape[1]

    @property
    def _first(self) -> np.ndarray:
        """The column at which each row's window begins, (R,) int64."""
        before = self.special[0].shape[1] + self.special[1].shape[1]
        return self.questions.sizes[self.example] + before

    def batch(self, rows: Sequence[int] | np.ndarray) -> dict[str, np.ndarray]:
        """Give int64 arrays (rows, T): `input_ids`, `attention_mask`, `token_type_ids` where the tokenizer has them.

        T is the longest row, rounded up to a multiple of 8, at most `max_length`. Training rows come with
        `start_positions` and `end_positions`, (rows,).
        """
        rows = np.asarray(rows, np.int64)
        lengths, example, first = self.lengths[rows], self.example[rows], self._first[rows]
        width = min(-int(lengths.max()) // 8 * -8, self.max_length)
        ids = np.full((len(rows), width), self.pad, np.int64)
        types = np.zeros_like(ids)
        begin = np.arange(len(rows)) * width
        before, behind, end = self.special
        question = self.questions.sizes[example]

        def put(column: np.ndarray, size: np.ndarray, tokens: np.ndarray, kinds: np.ndarray | int) -> None:
            to = _runs(begin + column, size)
            ids.reshape(-1)[to], types.reshape(-1)[to] = tokens, kinds

        for tokens, column in ((before, 0 * first), (behind, first - behind.shape[1]), (end, lengths - end.shape[1])):
            put(column, np.full(len(rows), tokens.shape[1]), *np.tile(tokens, len(rows)))
        column = np.full(len(rows), before.shape[1])
        put(column, question, self.questions.ids[_runs(self.questions.offsets[example], question)], self.types[0])
        window = _runs(self.contexts.offsets[self.context[example]] + self.starts[rows], self.sizes[rows])
        put(first, self.sizes[rows], self.contexts.ids[window], self.types[1])
        made = {"input_ids": ids, "attention_mask": (np.arange(width) < lengths[:, None]).astype(np.int64)}
        if "token_type_ids" in self.names:
            made["token_type_ids"] = types
        if self.labels is not None:
            made |= {"start_positions": self.labels[rows, 0], "end_positions": self.labels[rows, 1]}
        return made

    def decode(self, outputs: Sequence[np.ndarray]) -> list[Prediction]:
        """Turn the scores of all rows, each (2, at least its tokens) for start and end, into an answer per example.

        An answer is the best pair of a start and an end over the windows of its question, `context[start:end]`; it is
        "" only where no window has a token. details: its `score` (the sum of two logits), `null` (the score of having
        no answer, the lowest of the windows' at [CLS], minus `score`) and `nbest`, [text, score] of the best KEPT.
        """
        null = np.full(len(self.examples), np.inf)
        scores = np.stack([output[:, self.cls].sum() for output in outputs]) if len(outputs) else np.zeros(0)
        np.minimum.at(null, self.example, scores)
        found = [self._spans(rows, outputs) for rows in _chunks(len(self.example))]
        empty = (np.zeros(0, np.int64),) * 4
        example, first, last, score = (np.concatenate(each) for each in zip(empty, *found, strict=True))
        order = np.lexsort((-score, example))
        begin = np.searchsorted(example[order], np.arange(len(self.examples) + 1))
        predictions = []
        for number, item in enumerate(self.examples):
            best: dict[str, float] = {}
            for i in order[begin[number] : begin[number + 1]]:
                text = item.context[self.contexts.chars[first[i], 0] : self.contexts.chars[last[i], 1]]
                best.setdefault(text, round(float(score[i]), 4))
                if len(best) == KEPT:
                    break
            text, top = next(iter(best.items()), ("", 0.0))
            nbest = [list(each) for each in best.items()]
            details = {"score": top, "null": round(float(null[number]) - top, 4), "nbest": nbest}
            predictions.append(Prediction(item.id, text, details))
        return predictions

    def _spans(self, rows: np.ndarray, outputs: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
        """Give the N_BEST best spans of each row: their example, first and last token of `contexts`, and score."""
        width = max(int(self.sizes[rows].max()), 1)
        logits = np.full((2, len(rows), width), -np.inf, np.float32)
        for i, (row, column) in enumerate(zip(rows.tolist(), self._first[rows].tolist(), strict=True)):
            size = self.sizes[row]
            logits[:, i, :size] = outputs[row][:, column : column + size]
        some = min(N_BEST, width)
        top = np.argpartition(-logits, some - 1, axis=2)[..., :some]  # (2, rows, some)
        value = np.take_along_axis(logits, top, axis=2)
        length = top[1][:, None, :] - top[0][:, :, None]  # (rows, starts, ends)
        score = np.where((length >= 0) & (length < MAX_ANSWER), value[0][:, :, None] + value[1][:, None, :], -np.inf)
        score = score.reshape(len(rows), -1)
        best = np.argpartition(-score, min(N_BEST, score.shape[1]) - 1, axis=1)[:, :N_BEST]
        row, kept = np.repeat(np.arange(len(rows)), best.shape[1]), best.reshape(-1)
        row, kept = (each[np.isfinite(score[row, kept])] for each in (row, kept))
        example = self.example[rows[row]]
        token = self.contexts.offsets[self.context[example]] + self.starts[rows[row]]
        return example, token + top[0][row, kept // some], token + top[1][row, kept % some], score[row, kept]


def question_features(
    examples: Sequence[QuestionExample], tokenizer: Any, *, max_length: int = 384, stride: int = 128, training: bool
) -> QuestionFeatures:
    """Cut questions with their contexts into windows of at most `max_length` tokens, special ones included.

    `tokenizer` is any fast one of Hugging Face. In training an answer is its first span; a window in which it does not
    stand as a whole, and every window of a question without an answer, points to [CLS]. Questions whose answer is not
    in their context, and empty contexts, are left out of training and counted. ValueError for a question that leaves
    no room for a window that goes on.

    A context of 5 tokens, where 3 have room and 1 is shared, has the windows (0 1 2) and (2 3 4).
    """
    counts = {"answers not in their context": sum(bool(e.answers) and not e.spans for e in examples)}
    counts["empty contexts"] = sum(not e.context.strip() for e in examples)
    if training:
        examples = [e for e in examples if bool(e.answers) == bool(e.spans) and e.context.strip()]
    number = {text: i for i, text in enumerate(dict.fromkeys(e.context for e in examples))}
    context = np.array([number[e.context] for e in examples], np.int64)
    questions, contexts = (_tokenize(tokenizer, texts) for texts in ([e.question for e in examples], list(number)))
    counts[f"questions cut to {MAX_QUESTION} tokens"] = int((questions.sizes > MAX_QUESTION).sum())
    special, types = _frame(tokenizer)
    if tokenizer.cls_token_id not in special[0][0]:
        raise ValueError("the tokenizer puts no [CLS] before a question: an encoder of BERT's kind is needed")
    kept = np.minimum(questions.sizes, MAX_QUESTION)
    questions = _Tokens(
        questions.ids[_runs(questions.offsets[:-1], kept)], questions.chars[:0], np.append(0, np.cumsum(kept))
    )
    room, tokens = max_length - sum(each.shape[1] for each in special) - kept, contexts.sizes[context]
    tight = np.flatnonzero((tokens > room) & (room <= stride))
    if len(tight):
        one, left = tight[0], max(0, room[tight[0]])
        raise ValueError(
            f"question {examples[one].id}: its {kept[one]} tokens leave {left} of max_length={max_length} to a context "
            f"of {tokens[one]}, and stride={stride} of them are shared; raise max_length or lower stride"
        )
    step = np.maximum(room - stride, 1)
    windows = 1 + np.maximum(0, -((room - tokens) // step))
    example = np.repeat(np.arange(len(examples)), windows)
    starts = _runs(np.zeros(len(examples), np.int64), windows) * step[example]
    sizes = np.minimum(room[example], tokens[example] - starts)
    cls, labels = special[0][0].tolist().index(tokenizer.cls_token_id), None
    if training:
        first, last = _answer_tokens(examples, contexts, context)
        counts["answers without a token"] = int(((first > last) & (first >= 0)).sum())
        here = (first[example] >= starts) & (last[example] < starts + sizes) & (first <= last)[example]
        column = kept[example] + special[0].shape[1] + special[1].shape[1] - starts
        labels = np.where(here, np.stack([first, last])[:, example] + column, cls).T
    return QuestionFeatures(
        examples,
        {name: count for name, count in counts.items() if count},
        questions,
        contexts,
        context,
        example,
        starts,
        sizes,
        labels,
        special,
        types,
        frozenset(tokenizer.model_input_names),
        tokenizer.pad_token_id,
        cls,
        max_length,
    )


def _answer_tokens(
    examples: Sequence[QuestionExample], contexts: _Tokens, context: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Give the first and last token of each example's first span, counted from its context's start; -1 if it has none.

    A token belongs to a span if it shares a character with it.
    """
    spans = np.array([e.spans[0] if e.spans else (-1, -1) for e in examples], np.int64).reshape(-1, 2)
    far = 1 + int(max(contexts.chars.max(initial=0), spans.max(initial=0)))  # texts one behind the other, as keys
    place = np.repeat(np.arange(len(contexts.sizes)), contexts.sizes) * far
    first = np.searchsorted(place + contexts.chars[:, 1], context * far + spans[:, 0], side="right")
    last = np.searchsorted(place + contexts.chars[:, 0], context * far + spans[:, 1]) - 1
    first, last = first - contexts.offsets[context], last - contexts.offsets[context]
    none = spans[:, 0] < 0
    return np.where(none, -1, first), np.where(none, -2, last)


def _frame(tokenizer: Any) -> tuple[tuple[np.ndarray, ...], tuple[int, int]]:
    """Find the ids and types (2, n) that a tokenizer puts before, between and behind two texts; the texts' types."""
    pair = tokenizer.backend_tokenizer.encode("a", "a")
    side = np.array([-1 if each is None else each for each in pair.sequence_ids])
    both, one, two = np.array([pair.ids, pair.type_ids]), np.flatnonzero(side == 0), np.flatnonzero(side == 1)
    special = (both[:, : one[0]], both[:, one[-1] + 1 : two[0]], both[:, two[-1] + 1 :])
    return special, (pair.type_ids[one[0]], pair.type_ids[two[0]])


def _tokenize(tokenizer: Any, texts: Sequence[str]) -> _Tokens:
    """Tokenise texts without special tokens; where words do not depend on each other (BERT's), each word only once."""
    backend = tokenizer.backend_tokenizer
    backend.no_truncation()
    backend.no_padding()
    rules = (type(backend.normalizer).__name__, type(backend.pre_tokenizer).__name__)
    encode = _encode_words if rules == ("BertNormalizer", "BertPreTokenizer") else _encode
    made = [encode(backend, texts[i : i + AT_ONCE]) for i in range(0, len(texts), AT_ONCE)] or [_encode(backend, [])]
    ids, chars, sizes = (np.concatenate(each) for each in zip(*((m.ids, m.chars, m.sizes) for m in made), strict=True))
    return _Tokens(ids, chars, np.append(0, np.cumsum(sizes)))


def _encode(backend: Any, texts: Sequence[str]) -> _Tokens:
    encoded = backend.encode_batch(texts, add_special_tokens=False)
    sizes = np.fromiter(map(len, encoded), np.int64, len(encoded))
    ids = np.fromiter(chain.from_iterable(each.ids for each in encoded), np.int32, sizes.sum())
    places = chain.from_iterable(chain.from_iterable(each.offsets for each in encoded))
    return _Tokens(ids, np.fromiter(places, np.int32, 2 * sizes.sum()).reshape(-1, 2), np.append(0, np.cumsum(sizes)))


def _encode_words(backend: Any, texts: Sequence[str]) -> _Tokens:
    words = " ".join(texts).replace("\n", " ").replace("\r", " ").replace("\t", " ").split(" ")
    number = {word: i for i, word in enumerate(dict.fromkeys(words))}
    distinct, lengths = list(number), np.fromiter(map(len, number), np.int64, len(number)) + 1
    lines = [" ".join(distinct[i : i + AT_ONCE]) for i in range(0, len(distinct), AT_ONCE)]
    once, begin = _encode(backend, lines), np.cumsum(lengths) - lengths  # in the joined lines
    places = once.chars + np.repeat(begin[::AT_ONCE], once.sizes)[:, None]
    owner = np.searchsorted(begin, places[:, 0], side="right") - 1
    places, counts = places - begin[owner, None], np.bincount(owner, minlength=len(distinct))
    word = np.fromiter(map(number.__getitem__, words), np.int64, len(words))
    runs = _runs((np.cumsum(counts) - counts)[word], counts[word])
    ends = np.cumsum(np.fromiter(map(len, texts), np.int64, len(texts)) + 1)
    begin = np.cumsum(lengths[word]) - lengths[word]  # in the joined texts
    text = np.searchsorted(ends, begin, side="right")
    places = places[runs] + np.repeat(begin - np.append(0, ends)[text], counts[word])[:, None]
    offsets = np.append(0, np.cumsum(np.bincount(text, counts[word], len(texts)).astype(np.int64)))
    return _Tokens(once.ids[runs], places.astype(np.int32), offsets)


def _runs(starts: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Write runs of whole numbers out: starts (5, 9) and sizes (2, 1) give 5 6 9."""
    return np.repeat(starts - np.cumsum(sizes) + sizes, sizes) + np.arange(sizes.sum())


def _chunks(count: int) -> list[np.ndarray]:
    return [np.arange(i, min(i + AT_ONCE, count)) for i in range(0, count, AT_ONCE)]
