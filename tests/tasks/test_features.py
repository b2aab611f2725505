import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from linkbert.instances.vocabulary import SPECIAL, Vocabulary
from linkbert.tasks.examples import ChoiceExample, TaggedExample, TextExample
from linkbert.tasks.kinds import RowForm, kind_of
from linkbert.tasks.table import Task

WORDS = ("low", "dose", "##s", "of", "iron", "is", "it", "?", "yes", "no", "help", "##ing", "a", "b")
PAD, UNK, CLS, SEP, _, LOW, DOSE, S, OF, IRON, IS, IT, ASK, YES, NO, HELP, ING, A, B = range(len(SPECIAL) + len(WORDS))


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    folder = tmp_path_factory.mktemp("features") / "vocabulary"
    Vocabulary(SPECIAL + WORDS).save(folder)
    return AutoTokenizer.from_pretrained(folder)


@pytest.fixture(scope="module")
def pieces(other_vocabulary):
    """A byte-level BPE and Unigram pieces, as fast tokenizers of Hugging Face."""

    def load(kind):
        vocabulary = other_vocabulary(kind)
        names = {f"{name[1:-1].lower()}_token": token for name, token in zip(SPECIAL, vocabulary.special, strict=True)}
        from tokenizers import Tokenizer

        return PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(vocabulary.definition), **names)

    return load


def task(kind, *metrics, labels=()):
    return Task(name="made", title="", kind=kind, format="", metrics=metrics, suite="", labels=labels)


def make_rows(task, examples, tokenizer, labels, *, max_length, training):
    return kind_of(task).rows(examples, RowForm(tokenizer, max_length, labels=labels), training=training)


def labels_of(task, examples):
    return kind_of(task).labels(examples)


def decode(task, rows, outputs):
    return kind_of(task).decode(rows, outputs)


def same(batch, **expected):
    assert {name: values.tolist() for name, values in batch.items()} == expected


def test_two_texts(tokenizer):
    examples = [
        TextExample("1", "Low doses of iron", "is it helping?", "yes"),
        TextExample("2", "iron", "it is", "no"),
        TextExample("3", "is it", "", "yes"),
    ]
    pair = task("text", "accuracy")
    rows = make_rows(pair, examples, tokenizer, labels_of(pair, examples), max_length=9, training=True)
    same(
        rows.batch(
            [0, 1]
        ),  # nine tokens hold three of each, cut from the longer one; the width is 8 at least, 9 at most
        input_ids=[[CLS, LOW, DOSE, S, SEP, IS, IT, HELP, SEP], [CLS, IRON, SEP, IT, IS, SEP, PAD, PAD, PAD]],
        attention_mask=[[1] * 9, [1] * 6 + [0] * 3],
        token_type_ids=[[0] * 5 + [1] * 4, [0] * 3 + [1] * 3 + [0] * 3],
        labels=[1, 0],
    )
    assert rows.batch([2, 1])["input_ids"].tolist() == [
        [CLS, IS, IT, SEP, SEP, 0, 0, 0],
        [CLS, IRON, SEP, IT, IS, SEP, 0, 0],
    ]
    assert rows.lengths.tolist() == [9, 6, 5]
    assert rows.counts == {"texts cut to 9 tokens": 1}
    found = decode(pair, rows, [np.log(np.array(p, dtype=np.float32)) for p in ([0.25, 0.75], [0.6, 0.4], [0.5, 0.5])])
    assert [(each.id, each.value) for each in found] == [("1", "yes"), ("2", "no"), ("3", "no")]
    assert found[0].details == {"scores": [0.25, 0.75]}


def test_numbers_to_regress_on(tokenizer):
    likeness = task("text", "pearson")
    examples = [TextExample("1", "a", "b", 3.5), TextExample("2", "b", "b", 4.0)]
    assert labels_of(likeness, examples) == ()
    assert kind_of(likeness).problem(()) == "regression"
    rows = make_rows(likeness, examples, tokenizer, (), max_length=16, training=True)
    labels = rows.batch([1, 0])["labels"]
    assert (labels.dtype, labels.tolist()) == (np.float32, [4.0, 3.5])
    assert [each.value for each in decode(likeness, rows, [np.array([0.5]), np.array([-1.0])])] == [0.5, -1.0]


def test_several_labels(tokenizer):
    marks = task("text", "multilabel_f1")
    examples = [
        TextExample("1", "a", label=("0", "2")),
        TextExample("2", "b", label=()),
        TextExample("3", "b", label=("1",)),
    ]
    labels = labels_of(marks, examples)
    assert (labels, kind_of(marks).problem(labels)) == (("0", "1", "2"), "multi_label_classification")
    rows = make_rows(marks, examples, tokenizer, labels, max_length=16, training=True)
    known = rows.batch([0, 1])["labels"]
    assert (known.dtype, known.tolist()) == (np.float32, [[1, 0, 1], [0, 0, 0]])
    found = decode(marks, rows, [np.array(logits) for logits in ([0.1, -0.1, 0.0], [-1, -1, -1], [9, 9, 9])])
    assert [each.value for each in found] == [("0",), (), ("0", "1", "2")]  # positive when the logit is above 0


def test_tags_stand_on_the_first_token_of_a_word(tokenizer):
    tagging = task("tags", "entity_f1")
    examples = [
        TaggedExample("1", ("Low", "doses", "\u200d", "of", "iron", "helping"), ("O", "B", "O", "O", "I", "B")),
        TaggedExample("2", (), ()),
        TaggedExample("3", ("it",), ("O",)),
    ]
    labels = labels_of(tagging, examples)
    assert labels == ("B", "I", "O")
    rows = make_rows(tagging, examples, tokenizer, labels, max_length=7, training=True)
    same(
        rows.batch([0, 1]),  # the third word has no token; the last is beyond seven tokens
        input_ids=[[CLS, LOW, DOSE, S, OF, IRON, SEP], [CLS, SEP, PAD, PAD, PAD, PAD, PAD]],
        attention_mask=[[1] * 7, [1, 1, 0, 0, 0, 0, 0]],
        token_type_ids=[[0] * 7] * 2,
        labels=[[-100, 2, 0, -100, 2, 1, -100], [-100] * 7],
    )
    assert rows.counts == {"texts cut to 7 tokens": 1, "words without a token": 2}
    logits = np.eye(3)[[1, 1, 0, 2, 2, 1, 1]]  # of every token, also of those that carry no tag
    found = decode(tagging, rows, [logits, np.zeros((2, 3)), np.eye(3)[[0, 2, 0]]])
    assert [each.value for each in found] == [("I", "B", "", "O", "I", ""), (), ("O",)]


def test_a_choice_is_a_row_for_each_option(tokenizer):
    choice = task("choice", "accuracy")
    examples = [
        ChoiceExample("1", "is it iron?", ("yes", "no", "a b"), 2),
        ChoiceExample("2", "is it?", ("a", "b", "no"), 0),
    ]
    rows = make_rows(choice, examples, tokenizer, labels_of(choice, examples), max_length=32, training=True)
    batch = rows.batch([1])
    assert batch["input_ids"].tolist() == [[[CLS, IS, IT, ASK, SEP, x, SEP, PAD] for x in (A, B, NO)]]
    assert batch["token_type_ids"].tolist() == [[[0, 0, 0, 0, 0, 1, 1, 0]] * 3]
    assert rows.batch([0, 1])["input_ids"].shape == (2, 3, 16)
    assert rows.batch([0, 1])["input_ids"][0, 2].tolist() == [CLS, IS, IT, IRON, ASK, SEP, A, B, SEP] + [PAD] * 7
    assert rows.batch([0, 1])["labels"].tolist() == [2, 0]
    assert rows.lengths.tolist() == [9, 7]
    assert [each.value for each in decode(choice, rows, [np.array([0, 2, 1.0]), np.array([0, 0, 0.5])])] == [1, 2]


def test_without_training_there_are_no_labels_and_none_are_needed(tokenizer):
    rows = make_rows(task("text", "accuracy"), [TextExample("1", "a")], tokenizer, ("x",), max_length=8, training=False)
    assert set(rows.batch([0])) == {"input_ids", "attention_mask", "token_type_ids"}


@pytest.mark.parametrize("kind", ["text", "tags", "choice"])
def test_no_examples_are_no_rows(tokenizer, kind):
    rows = make_rows(task(kind, "accuracy"), [], tokenizer, ("x",), max_length=8, training=False)
    assert rows.lengths.tolist() == []


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
def test_other_tokenizers(pieces, kind):
    """RoBERTa's and DeBERTa's kinds: every word begins a word, and the tags line up with what was said of words."""
    tokenizer = pieces(kind)
    words = ("A", "quick", "fox", "isn't", "Café")
    rows = make_rows(
        task("tags", "entity_f1"), [TaggedExample("1", words)], tokenizer, ("B", "O"), max_length=99, training=False
    )
    first = rows.tokens[rows.words >= 0]
    begins = "Ġ" if kind == "bpe" else "▁"
    assert all(tokenizer.convert_ids_to_tokens(int(token)).startswith(begins) for token in first)
    assert rows.words[rows.words >= 0].tolist() == [0, 1, 2, 3, 4]
    pair = make_rows(
        task("text", "accuracy"),
        [TextExample("1", "A fox", "isn't it")],
        tokenizer,
        ("0",),
        max_length=99,
        training=False,
    )
    assert pair.batch([0])["input_ids"][0, : pair.lengths[0]].tolist() == tokenizer("A fox", "isn't it")["input_ids"]


TEXT = st.lists(st.sampled_from(["low", "doses", "helping", "iron", "zinc", "?"]), max_size=12).map(" ".join)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=6), st.integers(4, 24), st.data())
def test_batches_are_those_of_the_tokenizer_itself(tokenizer, texts, max_length, data):
    """The reference is Hugging Face's own call, padded to a multiple of eight."""
    examples = [TextExample(str(i), a, b) for i, (a, b) in enumerate(texts)]
    rows = make_rows(task("text", "accuracy"), examples, tokenizer, ("0",), max_length=max_length, training=False)
    chosen = data.draw(st.lists(st.integers(0, len(texts) - 1), min_size=1))
    pairs = any(b for _, b in texts)
    a, b = [texts[i][0] for i in chosen], [texts[i][1] for i in chosen] if pairs else None
    reference = tokenizer(a, b, truncation="longest_first", max_length=max_length)
    width = min(-(-max(map(len, reference["input_ids"])) // 8) * 8, max_length)
    padded = tokenizer.pad(reference, padding="max_length", max_length=width)
    same(rows.batch(chosen), **padded)


def test_what_cannot_be_trained_on_is_said(tokenizer):
    def make(made, examples, labels=("yes",), reader=tokenizer):
        make_rows(made, examples, reader, labels, max_length=8, training=True)

    with pytest.raises(ValueError, match="made: 1 examples have no label to train on, the first is 7"):
        make(task("text", "accuracy"), [TextExample("7", "a")])
    with pytest.raises(ValueError, match="made: the label 'no' is none of yes"):
        make(task("text", "accuracy"), [TextExample("7", "a", label="no")])
    with pytest.raises(ValueError, match="all 2 examples of train have the label 'yes'"):
        make(task("text", "accuracy"), [TextExample("7", "a", label="yes")] * 2, ("no", "yes"))
    assert labels_of(task("text", "accuracy", labels=("x", "y")), []) == ("x", "y")
