import dataclasses
import json
import math
import shutil

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertModel,
    DistilBertConfig,
    DistilBertForMaskedLM,
    ModernBertConfig,
    ModernBertForMaskedLM,
    RobertaConfig,
    RobertaForMaskedLM,
)

from linkbert.instances.vocabulary import SPECIAL, Vocabulary
from linkbert.model.optimizer import learning_rate
from linkbert.tasks.examples import ChoiceExample, QuestionExample, Splits, TaggedExample, TextExample
from linkbert.tasks.finetune import batches_of_epoch, cut, fine_tune, load_model, open_folder, predict, train_model
from linkbert.tasks.kinds import RowForm, kind_of
from linkbert.tasks.metrics import score
from linkbert.tasks.settings import FineTuneConfig
from linkbert.tasks.table import Task

WORDS = ("red", "blue", "green", "big", "small", "old", "new", "what", "colour", "is", "it", "the", "box", "no", "yes")
FAST = FineTuneConfig(learning_rate=3e-3, batch_size=4, num_train_epochs=30, hidden_dropout_prob=0.0, precision="fp32",
               max_length=24, stride=4,
                threads=1, device="cpu", micro_batch_size=1_024)  # fmt: skip

SIZE = {"vocab_size": len(SPECIAL + WORDS), "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2,
        "intermediate_size": 64, "max_position_embeddings": 40}  # fmt: skip
MARKS = ("pad_token_id", "bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id")


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    """A folder with a random BERT of two layers; it has no pooler."""
    folder = tmp_path_factory.mktemp("finetune") / "encoder"
    Vocabulary(SPECIAL + WORDS).save(folder)
    torch.manual_seed(1)
    config = BertConfig(vocab_size=len(SPECIAL + WORDS), hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
                        intermediate_size=64, max_position_embeddings=40, initializer_range=0.2)  # fmt: skip
    BertModel(config, add_pooling_layer=False).save_pretrained(folder)
    return folder


def task(kind, *metrics, **more):
    return Task(name="made", title="Made", kind=kind, format="", metrics=metrics, suite="", **more)


COLOURS = ("red", "blue", "green")
SIZES = ("big", "small")
TEXTS = [TextExample(f"{c}{s}", f"the {c} box", f"is {s}", c) for c in COLOURS for s in SIZES]
KINDS = {
    "classes": (task("text", "accuracy"), TEXTS),
    "numbers": (
        task("text", "pearson"),
        [dataclasses.replace(each, label=float(COLOURS.index(each.label))) for each in TEXTS],
    ),
    "labels": (
        task("text", "multilabel_f1"),
        [dataclasses.replace(each, label=tuple(sorted({each.label, each.b[3:]} - {"green"}))) for each in TEXTS],
    ),
    "tags": (
        task("tags", "entity_f1"),
        [TaggedExample(f"{c}{s}", (s, c, "box"), ("O", "B", "I")) for c in COLOURS for s in SIZES]
        + [TaggedExample(f"no {c}", ("no", c, "it"), ("O", "O", "O")) for c in COLOURS],
    ),
    "choice": (
        task("choice", "accuracy"),
        [ChoiceExample(f"{c}{i}", f"is it {c}", ("no", c)[:: 1 - 2 * i], 1 - i) for c in COLOURS for i in (0, 1)],
    ),
    "question": (
        task("question", "answer_f1", "exact"),
        [
            QuestionExample(f"{c}{s}", "what colour", f"the {s} box is {c}", (c,), ((12 + len(s), 12 + len(s + c)),))
            for c in COLOURS
            for s in SIZES
        ]
        + [QuestionExample(f"none {s}", "what colour", f"the {s} box is old") for s in SIZES],
    ),
}


@pytest.mark.parametrize("name", KINDS)
def test_a_small_set_is_learnt_by_heart(encoder, name):
    made, examples = KINDS[name]
    result = fine_tune(made, Splits(examples, examples, examples[:2]), encoder, FAST)
    scores = score(made.metrics, examples, result.predictions["dev"])
    assert min(scores.values()) > 0.95
    assert [each.id for each in result.predictions["test"]] == [each.id for each in examples[:2]]
    assert result.epochs[-1]["loss"] < result.epochs[0]["loss"] / 2
    assert result.epochs[0]["rows"] == len(examples)
    assert ("the pooler starts from scratch: the encoder has none" in result.notes) == (made.kind in ("text", "choice"))
    assert any("chosen on dev" in note for note in result.notes) == (name == "question")


def test_the_same_seed_gives_the_same_answers_and_another_one_others(encoder):
    made, examples = KINDS["classes"]
    settings = FAST.replace(epochs=2, dropout=0.1, precision="bf16")
    first, again, other = (
        fine_tune(made, Splits(examples, examples, ()), encoder, settings.replace(seed=seed)) for seed in (0, 0, 1)
    )
    assert first.predictions == again.predictions
    assert first.epochs == again.epochs
    assert first.epochs != other.epochs


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tags", "choice", "question"])
def test_a_batch_that_is_cut_gives_the_same_update(encoder, name):
    made, examples = KINDS[name]
    weights = []
    for most in (16_384, 1):  # all at once, and a row at a time
        settings = FAST.replace(
            num_train_epochs=1, batch_size=6, micro_batch_size=most, adam_epsilon=1e-3
        )  # of no weight 0/0
        result = fine_tune(made, Splits(examples, examples, ()), encoder, settings)
        weights.append(result.model.state_dict())
    for key, value in weights[0].items():
        torch.testing.assert_close(value, weights[1][key], atol=2e-5, rtol=1e-3, msg=key)


def test_a_padded_row_is_answered_as_alone(encoder):
    made, examples = KINDS["tags"]
    examples = [*examples, TaggedExample("long", ("the", "big", "red", "box", "is", "it"), ("O",) * 6)]
    tokenizer, config = open_folder(encoder)
    model, _ = load_model(kind_of(made), encoder, config, ("B", "I", "O"), FAST)
    rows = kind_of(made).rows(examples, RowForm(tokenizer, 24, labels=("B", "I", "O")), training=False)
    together = predict(model, rows, FAST)
    alone = predict(model, rows, FAST.replace(micro_batch_size=1))
    for i, (a, b) in enumerate(zip(together, alone, strict=True)):
        assert a.shape == (rows.lengths[i], 3)
        np.testing.assert_allclose(a, b, atol=1e-5)


@given(st.lists(st.integers(3, 60), min_size=1, max_size=500), st.integers(1, 9), st.integers(0, 3))
def test_an_epoch_has_every_row_once_in_batches_of_like_length(lengths, size, epoch):
    lengths = np.array(lengths)
    batches = batches_of_epoch(lengths, size, seed=5, epoch=epoch)
    assert sorted(np.concatenate(batches).tolist()) == list(range(len(lengths)))
    assert sum(len(each) < size for each in batches) <= 1
    for batch in batches:
        assert (np.diff(lengths[batch]) <= 0).all()
        parts = list(cut(batch, lengths, 64))
        assert np.concatenate(parts).tolist() == batch.tolist()
        assert all(len(part) == 1 or len(part) * -(-lengths[part].max() // 8) * 8 <= 64 for part in parts)


def test_early_stop_takes_the_best_epoch(encoder):
    made, examples = KINDS["classes"]
    tokenizer, config = open_folder(encoder)
    model, _ = load_model(kind_of(made), encoder, config, COLOURS, FAST)
    rows = kind_of(made).rows(examples, RowForm(tokenizer, 24, labels=COLOURS), training=True)
    kept, dev = [], iter((0.5, 0.9, 0.7, 0.8, 0.99))

    def evaluate():
        kept.append({key: value.clone() for key, value in model.state_dict().items()})
        return next(dev)

    settings = FAST.replace(early_stop=2)
    _, _, epochs = train_model(model, rows, settings, evaluate=evaluate)
    assert [each["dev"] for each in epochs] == [0.5, 0.9, 0.7, 0.8], "two epochs without gain"
    assert all(torch.equal(value, kept[1][key]) for key, value in model.state_dict().items())


def test_early_stop_counts_questions_without_an_answer(encoder):
    made, examples = KINDS["question"]
    splits = Splits(examples, [each for each in examples if not each.answers], ())
    result = fine_tune(made, splits, encoder, FAST.replace(num_train_epochs=2, early_stop=2))
    assert [each["dev"] for each in result.epochs] == [1.0, 1.0]


def test_words_that_no_token_stands_for_have_no_loss(encoder):
    made, examples = KINDS["tags"]
    examples = [*examples, TaggedExample("nothing", ("\u200b",), ("O",))]
    result = fine_tune(made, Splits(examples, (), ()), encoder, FAST.replace(num_train_epochs=1, batch_size=1))
    assert np.isfinite(result.epochs[0]["loss"])


def test_the_schedule_ends_with_the_budget(encoder, monkeypatch):
    made, examples = KINDS["classes"]
    ticks, rates = iter(range(10_000)), []
    monkeypatch.setattr("linkbert.tasks.finetune.time.perf_counter", lambda: float(next(ticks)))
    scheduled = lambda *given: rates.append(learning_rate(*given)) or rates[-1]  # noqa: E731
    monkeypatch.setattr("linkbert.tasks.finetune.learning_rate", scheduled)
    settings = FAST.replace(epochs=1000, budget="20s", early_stop=0)
    result = fine_tune(made, Splits(examples, examples, ()), encoder, settings)
    assert result.steps < 25
    assert rates[0] == FAST.learning_rate
    assert rates[-1] < 0.15 * FAST.learning_rate


def test_a_folder_that_cannot_be_fine_tuned_says_why(encoder, tmp_path):
    made, examples = KINDS["classes"]
    splits = Splits(examples, examples, ())
    without = shutil.copytree(encoder, tmp_path / "without")
    for path in without.glob("*vocab*"):
        path.unlink()
    for path in without.glob("tokenizer*"):
        path.unlink()
    with pytest.raises(ValueError, match="holds no vocabulary"):
        fine_tune(made, splits, without, FAST)
    other = shutil.copytree(encoder, tmp_path / "other")
    (other / "vocab.txt").write_text("\n".join([*SPECIAL, *WORDS, *(f"word{i}" for i in range(300))]))
    with pytest.raises(ValueError, match=f"a tokenizer of {len(SPECIAL + WORDS) + 300} tokens and an encoder of 20"):
        fine_tune(made, splits, other, FAST)
    cut_off = shutil.copytree(encoder, tmp_path / "cut")
    config = json.loads((cut_off / "config.json").read_text()) | {"num_hidden_layers": 3}
    (cut_off / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=r"says num_hidden_layers=3, the weights end at layer.1"):
        fine_tune(made, splits, cut_off, FAST)
    (cut_off / "model.safetensors").rename(cut_off / "pytorch_model.bin")
    with pytest.raises(ValueError, match=r"pytorch_model.bin cannot be read as pickle"):
        fine_tune(made, splits, cut_off, FAST)


@pytest.mark.parametrize(
    ("architecture", "config"),
    [
        (BertForMaskedLM, BertConfig(**SIZE, type_vocab_size=1)),
        (RobertaForMaskedLM, RobertaConfig(**SIZE, type_vocab_size=1, pad_token_id=0)),
        (DistilBertForMaskedLM, DistilBertConfig(**SIZE | {"n_layers": 1, "n_heads": 2, "dim": 32, "hidden_dim": 64})),
        (ModernBertForMaskedLM, ModernBertConfig(**SIZE, **dict.fromkeys(MARKS, 0))),
    ],
)
def test_pairs_of_an_encoder_without_token_types_and_a_head_that_was_never_there(tmp_path, architecture, config):
    Vocabulary(SPECIAL + WORDS).save(tmp_path / "m")
    theirs = architecture(config)
    theirs.save_pretrained(tmp_path / "m")
    made, examples = KINDS["classes"]
    found = fine_tune(made, Splits(examples, examples, ()), tmp_path / "m", FAST.replace(num_train_epochs=0.1))
    assert len(found.predictions["dev"]) == len(examples)
    assert [note for note in found.notes if "computed" not in note and "pooler" not in note] == []
    if architecture is ModernBertForMaskedLM:  # its own layer before the classes is kept whatever their names are
        for labels in (("0", "1"), ("x", "y", "z")):
            model, _ = load_model(kind_of(made), tmp_path / "m", open_folder(tmp_path / "m")[1], labels, FAST)
            assert torch.equal(model.head.dense.weight, theirs.head.dense.weight)


def test_a_question_that_leaves_no_room_is_refused(encoder):
    made, examples = KINDS["question"]
    long = dataclasses.replace(examples[0], question="what " * 20, context="the big box is red " * 9)
    with pytest.raises(ValueError, match="raise max_length or lower stride"):
        fine_tune(made, Splits([long], [long], ()), encoder, FAST)


def test_a_loss_that_is_no_number_stops_the_run(encoder, monkeypatch):
    made, examples = KINDS["classes"]
    monkeypatch.setattr("linkbert.tasks.finetune.clip_gradients", lambda *_: math.nan)
    with pytest.raises(ValueError, match="the gradient of step 1 is not a number"):
        fine_tune(made, Splits(examples, examples, ()), encoder, FAST)


def test_a_row_is_no_longer_than_the_encoder_reads(encoder):
    made, examples = KINDS["classes"]
    settings = FAST.replace(num_train_epochs=1, max_length=500)
    result = fine_tune(made, Splits(examples, examples, ()), encoder, settings)
    assert "rows of at most 40 tokens: the encoder reads no more" in result.notes


def test_words_become_settings_over_those_of_the_task():
    settings = FineTuneConfig.from_words(["num_train_epochs=2", "precision=fp32"], base={"epochs": 30, "warmup": 100})
    assert (settings.num_train_epochs, settings.warmup_steps, settings.precision) == (2.0, 100.0, "fp32")
    with pytest.raises(ValueError, match="unknown setting 'epoch'; did you mean 'num_train_epochs'"):
        FineTuneConfig.from_words(["epoch=2"])
    with pytest.raises(ValueError, match="precision must be auto, bf16, fp32 or fp16"):
        FineTuneConfig.from_words(["precision=int8"])
