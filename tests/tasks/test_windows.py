"""Windows of questions: by hand, against the fast tokenizer's own, as laws; answers against a search of every span."""

import itertools

import hypothesis
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from linkbert.instances.vocabulary import SPECIAL, Vocabulary
from linkbert.tasks import kinds
from linkbert.tasks.examples import QuestionExample
from linkbert.tasks.kinds import RowForm, kind_of
from linkbert.tasks.table import Task

WORDS = ("who", "fell", "?", "rome", "in", "four", "seven", "six", "e", "##s", "##e", "-", "日", "a", "##b")
PAD, UNK, CLS, SEP, _, WHO, FELL, ASK, ROME, IN, FOUR, SEVEN, SIX = range(13)
TEXTS = st.text(st.sampled_from("aAbés-- \n\t\x1c\u0301日 \xa0\u200bromein?"), max_size=40)


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory, other_vocabulary):
    folder = tmp_path_factory.mktemp("windows") / "vocabulary"
    Vocabulary(SPECIAL + WORDS).save(folder)
    bpe = other_vocabulary("bpe")
    names = {f"{name[1:-1].lower()}_token": token for name, token in zip(SPECIAL, bpe.special, strict=True)}
    inputs = {"model_input_names": ["input_ids", "attention_mask"]}
    other = PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(bpe.definition), **names, **inputs)
    return {"bert": AutoTokenizer.from_pretrained(folder), "bpe": other}


TASK = Task(name="made", title="", kind="question", format="", metrics=("answer_f1",), suite="")


def make_rows(examples, tokenizer, *, max_length=384, stride=128, training):
    return kind_of(TASK).rows(examples, RowForm(tokenizer, max_length, stride), training=training)


def rome(answer="four seven", **fields):
    context = "Rome fell in four seven six"
    spans = () if answer not in context else ((context.index(answer), context.index(answer) + len(answer)),)
    return QuestionExample("1", "Who fell?", context, (answer,), spans, **fields)


def test_windows_by_hand(tokenizers):
    # 10 tokens, 3 special ones and 3 of the question leave 4, of which a window shares 1 with the one before it.
    features = make_rows([rome()], tokenizers["bert"], max_length=10, stride=1, training=True)
    assert {name: values.tolist() for name, values in features.batch([0, 1]).items()} == {
        "input_ids": [
            [CLS, WHO, FELL, ASK, SEP, ROME, FELL, IN, FOUR, SEP],
            [CLS, WHO, FELL, ASK, SEP, FOUR, SEVEN, SIX, SEP, PAD],
        ],
        "attention_mask": [[1] * 10, [1] * 9 + [0]],
        "token_type_ids": [[0] * 5 + [1] * 5, [0] * 5 + [1] * 4 + [0]],
        "start_positions": [0, 5],  # "four seven" does not stand in the first window as a whole
        "end_positions": [0, 6],
    }
    assert features.lengths.tolist() == [10, 9]


def decode(features, logits):
    rows = [np.float32(each)[:, :length] for each, length in zip(logits, features.lengths, strict=True)]
    return kind_of(TASK).decode(features, rows)


def test_an_answer_by_hand(tokenizers):
    features = make_rows([rome()], tokenizers["bert"], max_length=10, stride=1, training=False)
    logits = np.zeros((2, 2, 10))
    logits[0, :, 0] = 2, 1  # [CLS]: no answer, 3 in the first window and 1 in the second
    logits[1, :, 0] = 1, 0
    logits[0, 0, 8] = 2  # begins with "four", and in the second window
    logits[1, 0, 5] = logits[1, 1, 6] = 3  # from "four" to "seven"
    (found,) = decode(features, logits)
    assert (found.id, found.value) == ("1", "four seven")
    assert found.details["score"] == 6
    assert found.details["null"] == 1 - 6
    assert found.details["nbest"][0] == ["four seven", 6]


def test_what_training_leaves_out_is_scored(tokenizers):
    examples = [
        rome("Attila"),
        QuestionExample("2", "Who fell?", " \n"),
        QuestionExample("3", "Who fell?", "Rome", (), ()),
        QuestionExample("4", "who " * 80, "Rome", ("Rome",), ((0, 4),)),
    ]
    training = make_rows(examples, tokenizers["bert"], training=True)
    assert [each.id for each in training.examples] == ["3", "4"]
    assert training.counts == {
        "answers not in their context": 1, "empty contexts": 1, "questions cut to 64 tokens": 1,
    }  # fmt: skip
    assert training.lengths.tolist() == [3 + 3 + 1, 64 + 3 + 1]
    assert [each.tolist() for each in training.labels.values()] == [[0, 66], [0, 66]]
    scored = make_rows(examples, tokenizers["bert"], training=False)
    values = [each.value for each in decode(scored, np.zeros((4, 2, 80)))]
    assert values[1:] == ["", "Rome", "Rome"]
    assert decode(make_rows([], tokenizers["bert"], training=False), []) == []


def test_a_window_that_cannot_hold_the_question(tokenizers):
    message = r"question 1: its 3 tokens leave 2 of max_length=8 .* stride=2 .* raise max_length"
    with pytest.raises(ValueError, match=message):
        make_rows([rome()], tokenizers["bert"], max_length=8, stride=2, training=False)
    plain = PreTrainedTokenizerFast(tokenizer_object=tokenizers["bert"].backend_tokenizer, cls_token="who")
    with pytest.raises(ValueError, match=r"no \[CLS\] before a question"):
        make_rows([rome()], plain, training=False)


@st.composite
def questions(draw):
    context = draw(TEXTS)
    begin = draw(st.integers(0, len(context)))
    end = draw(st.integers(begin, len(context)))
    has = begin < end and not context[begin:end].isspace() and draw(st.booleans())
    answers, spans = ((context[begin:end],), ((begin, end),)) if has else ((), ())
    return QuestionExample(str(draw(st.integers())), draw(TEXTS)[:12], context, answers, spans)


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(st.lists(questions(), min_size=1, max_size=4), st.sampled_from(["bert", "bpe"]), st.integers(0, 8))
@hypothesis.example([QuestionExample("0", "???\u200b", "?" * 14 + "\xa0" + "\u200b" * 4 + " ??")], "bpe", 2)
def test_rows_are_the_fast_tokenizers_own(tokenizers, examples, kind, stride):
    tokenizer = tokenizers[kind]
    features = make_rows(examples, tokenizer, max_length=40, stride=stride, training=False)
    theirs = tokenizer(
        [each.question for each in examples],
        [each.context for each in examples],
        truncation="only_second",
        max_length=40,
        stride=stride,
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
    )
    assert theirs["overflow_to_sample_mapping"] == features.example.tolist()
    for row, ids in enumerate(theirs["input_ids"]):
        made = features.batch([row])
        assert made.keys() == set(tokenizer.model_input_names)
        for name, values in made.items():
            assert values[0, : len(ids)].tolist() == theirs[name][row]
        first = features.begins[row]
        places = [
            place
            for place, side in zip(theirs["offset_mapping"][row], theirs.sequence_ids(row), strict=True)
            if side == 1
        ]
        text = features.examples[features.example[row]].context  # theirs keep the space before a window's first token
        ours, theirs_ = (
            [[i for i in range(*place) if text[i] != " "] for place in each]
            for each in (features.chars[first : first + features.sizes[row]].tolist(), places)
        )
        assert ours == theirs_


@settings(max_examples=60, deadline=None)
@given(st.lists(questions(), min_size=1, max_size=4), st.sampled_from(["bert", "bpe"]), st.integers(0, 8))
def test_windows_cover_every_token_and_answers_map_back(tokenizers, examples, kind, stride):
    features = make_rows(examples, tokenizers[kind], max_length=40, stride=stride, training=True)
    for number, example in enumerate(features.examples):
        rows = np.flatnonzero(features.example == number)
        seen = {t for r in rows for t in range(features.begins[r], features.begins[r] + features.sizes[r])}
        inside = features.chars[sorted(seen)]
        encoding = tokenizers[kind](example.context, add_special_tokens=False)["input_ids"]
        assert len(seen) == len(inside) == len(encoding)
        starts, ends = features.labels.values()
        for row, first, last in zip(rows, starts[rows], ends[rows], strict=True):
            if last == features.cls:
                continue
            chars = features.chars[np.array([first, last]) + features.begins[row] - features.first[row]]
            begin, end = example.spans[0]
            # The tokens hold every character of the answer that a token stands for, and each shares one with it.
            assert chars[0, 0] < end
            assert chars[1, 1] > begin
            shared = inside[(inside[:, 0] < end) & (inside[:, 1] > begin)]
            assert shared[[0, -1]].tolist() == chars.tolist()
        begin, end = example.spans[0] if example.spans else (0, 0)
        whole = (inside[:, 0] < end) & (inside[:, 1] > begin)
        if 0 < whole.sum() <= stride:  # what two windows share, one of them has as a whole
            assert (ends[rows] != features.cls).any()


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_the_answer_is_the_best_of_all_spans(tokenizers, data):
    words = data.draw(st.lists(st.sampled_from(WORDS[3:8]), min_size=1, max_size=30))
    example = QuestionExample("1", "Who?", " ".join(words))
    features = make_rows([example], tokenizers["bert"], max_length=14, stride=3, training=False)
    seed = data.draw(st.integers(0, 1000))
    logits = np.random.default_rng(seed).normal(size=(len(features.sizes), 2, 14)).astype(np.float32)
    scores = {}
    for row, size in enumerate(features.sizes):
        for a, b in itertools.combinations_with_replacement(range(size), 2):
            at, column = features.begins[row], features.first[row]
            text = " ".join(words[at + a : at + b + 1])
            score = logits[row, 0, column + a] + logits[row, 1, column + b]
            scores[text] = max(score, scores.get(text, -np.inf))
    best = sorted(scores.values(), reverse=True)
    assume(len(best) == 1 or best[0] - best[1] > 1e-3)
    (found,) = decode(features, logits)
    assert found.value == max(scores, key=scores.__getitem__)
    assert found.details["score"] == pytest.approx(best[0], abs=1e-4)
    null = logits[:, :, 0].sum(1).min() - best[0]
    assert found.details["null"] == pytest.approx(null, abs=1e-3)
    assert [text for text, _ in found.details["nbest"]] == sorted(scores, key=scores.__getitem__)[
        : -kinds.KEPT - 1 : -1
    ]


def test_an_answer_has_at_most_thirty_tokens(tokenizers):
    example = QuestionExample("1", "Who?", " ".join(["rome"] * 40))
    features = make_rows([example], tokenizers["bert"], training=False)
    logits = np.zeros((1, 2, 50))
    first = features.first[0]
    logits[0, 0, first], logits[0, 1, first + 30], logits[0, 1, first + 29] = 9, 9, 5
    assert decode(features, logits)[0].value == " ".join(["rome"] * 30)
