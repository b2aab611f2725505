import dataclasses
import math
import random
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linkbert.tasks.examples import ChoiceExample, Prediction, QuestionExample, TaggedExample, TextExample
from linkbert.tasks.kinds import kind_of
from linkbert.tasks.metrics import (
    METRICS,
    group_scores,
    intervals,
    per_example,
    score,
    scores_by_type,
    suite_score,
    write_submission,
)
from linkbert.tasks.table import Task, suite, tasks


def texts(gold):
    return [TextExample(str(i), "", label=label) for i, label in enumerate(gold)]


def tagged(gold):
    return [TaggedExample(str(i), ("w",) * len(tags), tuple(tags)) for i, tags in enumerate(gold)]


def answers(values):
    return [Prediction(str(i), value) for i, value in enumerate(values)]


def made(kind, *metrics, **more):
    return Task(name="made", title="", kind=kind, format="", metrics=metrics, **({"suite": ""} | more))


laws = settings(deadline=None, max_examples=60)  # the first example imports the reference

CLASSES = st.lists(st.tuples(*[st.sampled_from("0123")] * 2), min_size=1, max_size=30)
TAGS = st.sampled_from(["O", "O", "B", "I", "B-INT", "I-INT", "B-PAR", "I-PAR"])
SENTENCE = st.lists(st.tuples(TAGS, TAGS), max_size=8)
NUMBERS = st.lists(st.tuples(*[st.integers(0, 20).map(lambda n: n / 4)] * 2), min_size=2, max_size=30)


@laws
@given(CLASSES)
def test_scores_of_classes_are_those_of_scikit_learn(pairs):
    from sklearn import metrics as reference

    gold, predicted = zip(*pairs, strict=True)
    found = score(["accuracy", "matthews", "f1", "relation_f1"], texts(gold), answers(predicted))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn's, of a single class
        expected = {
            "accuracy": reference.accuracy_score(gold, predicted),
            "matthews": reference.matthews_corrcoef(gold, predicted),
            "f1": reference.f1_score(gold, predicted, labels=["1"], average="micro", zero_division=0),
            "relation_f1": reference.f1_score(gold, predicted, labels=list("123"), average="micro", zero_division=0),
        }
    assert found == pytest.approx(expected, abs=1e-12)


@laws
@given(st.lists(st.tuples(*[st.sets(st.sampled_from("abc"))] * 2), min_size=1))
def test_several_labels_are_pooled(pairs):
    from sklearn.metrics import f1_score

    gold, predicted = ([tuple(sorted(held)) for held in each] for each in zip(*pairs, strict=True))
    marks = [np.array([[label in held for label in "abc"] for held in each]) for each in (gold, predicted)]
    expected = f1_score(*marks, average="micro", zero_division=0)
    assert score(["multilabel_f1"], texts(gold), answers(predicted))["multilabel_f1"] == pytest.approx(
        expected, abs=1e-12
    )


@laws
@given(NUMBERS)
def test_correlations_are_those_of_scipy(pairs):
    from scipy import stats

    gold, predicted = zip(*pairs, strict=True)
    found = score(["pearson", "spearman"], texts(gold), answers(predicted))
    if len(set(gold)) == 1 or len(set(predicted)) == 1:
        assert found == {"pearson": 0, "spearman": 0}
    else:
        expected = {"pearson": stats.pearsonr(gold, predicted)[0], "spearman": stats.spearmanr(gold, predicted)[0]}
        assert found == pytest.approx(expected, abs=1e-9)


@laws
@given(st.lists(SENTENCE, min_size=1, max_size=4))
def test_entities_are_those_of_seqeval(sentences):
    from seqeval.metrics import f1_score

    gold, predicted = ([[pair[side] for pair in sentence] for sentence in sentences] for side in (0, 1))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # seqeval's, where nothing is found
        expected = f1_score(gold, predicted, zero_division=0)
    found = score(["entity_f1"], tagged(gold), answers(map(tuple, predicted)))["entity_f1"]
    assert found == pytest.approx(expected, abs=1e-12)


@laws
@given(st.lists(st.lists(st.tuples(*[st.sampled_from(["O", "B-INT", "B-OUT", "B-PAR"])] * 2)), min_size=1, max_size=4))
def test_words_by_type_are_those_of_seqeval_where_every_word_is_an_entity(sentences):
    """EBM PICO as the paper's authors score it: I- is rewritten to B-, and seqeval averages the types."""
    from seqeval.metrics import f1_score

    gold, predicted = ([[pair[side] for pair in sentence] for sentence in sentences] for side in (0, 1))
    types = {tag for sentence in gold + predicted for tag in sentence} - {"O"}
    expected = f1_score(gold, predicted, average="macro", zero_division=0) if types else 0
    found = score(["token_macro_f1"], tagged(gold), answers(map(tuple, predicted)))["token_macro_f1"]
    assert found == pytest.approx(expected, abs=1e-12)


def test_entities_by_hand():
    """An I after O, or after another type, starts an entity; a sentence's end ends it; span and type must agree."""
    gold = [["I", "I", "O", "B"], ["I", "O", "B-INT", "I-PAR"]]
    predicted = [("B", "I", "O", "B"), ("B", "O", "B-INT", "I-INT")]  # right: 0-1, 3, the next 0; "INT" is too long
    counts = METRICS["entity_f1"].statistics(tagged(gold), answers(predicted))
    assert counts.tolist() == [[2, 2, 2], [1, 2, 3]]
    assert score(["entity_f1"], tagged(gold), answers(predicted)) == {"entity_f1": 6 / 9}


def test_words_that_were_not_read_do_not_count():
    gold, short = [["B", "I", "I", "O", "B"]], [("B", "I", "", "", "")]
    assert score(["entity_f1"], tagged(gold), answers(short)) == {"entity_f1": 1}
    assert score(["token_macro_f1"], tagged(gold), answers(short)) == {"token_macro_f1": 1}


def test_how_well_each_example_is_answered():
    right = texts(["0", "1", "1"]), answers(["0", "1", "0"])
    for name in ("accuracy", "matthews", "f1", "relation_f1"):
        assert per_example(name, *right).tolist() == [1, 1, 0], name
    several = texts([(), ("a", "b"), ()]), answers([(), ("a",), ("a",)])
    assert per_example("multilabel_f1", *several) == pytest.approx([1, 2 / 3, 0])
    sentences = tagged([["O"], ["B", "B"], ["O"]]), answers([("O",), ("B", "O"), ("B",)])
    assert per_example("entity_f1", *sentences) == pytest.approx([1, 2 / 3, 0])
    assert per_example("token_macro_f1", *sentences) == pytest.approx([1, 2 / 3, 0])
    assert per_example("spearman", texts([1.0, 3.0]), answers([1.5, 1.0])).tolist() == [-0.5, -2]


def test_intervals_hold_the_truth_as_often_as_they_say():
    """200 samples of 100 tosses of a coin that is right 7 times in 10: about 190 intervals of 95 % hold 0.7."""
    rng = np.random.default_rng(5)
    held = 0
    for _ in range(200):
        gold = ["1" if right else "0" for right in rng.random(100) < 0.7]
        low, high = intervals(["accuracy"], texts(gold), answers(["1"] * 100), samples=300)["accuracy"]
        held += low <= 0.7 <= high
    assert 180 <= held <= 198


def test_intervals_of_groups_are_wider_where_groups_are_alike():
    gold = [str(i // 25 % 2) for i in range(400)]  # sixteen documents of 25 sentences, all right or all wrong
    alone = texts(gold)
    grouped = [TextExample(each.id, "", label=each.label, group=f"d{i // 25}") for i, each in enumerate(alone)]
    names, said = ["accuracy", "matthews", "f1"], answers(["1"] * 400)
    one, many = intervals(names, alone, said), intervals(names, grouped, said)
    width = {name: [high - low for low, high in (one[name], many[name])] for name in names}
    assert width["accuracy"] == pytest.approx([2 * 1.96 * 0.025, 2 * 1.96 * 0.125], rel=0.12)
    assert width["matthews"] == [0, 0]


def test_questions_are_drawn_one_by_one():
    """Their group is a kind that is reported apart, not a document."""
    said = answers(["iron"] * 50 + ["zinc"] * 50)
    plain, kinds = (
        [QuestionExample(str(i), "", "", answers=("iron",), group=group(i)) for i in range(100)]
        for group in (lambda i: "", lambda i: f"{i // 50 + 1} hops")
    )
    assert intervals(["exact"], kinds, said) == intervals(["exact"], plain, said) != {"exact": (0, 1)}


def test_intervals_do_not_depend_on_how_many_are_drawn_at_once(monkeypatch):
    rng = np.random.default_rng(1)
    x = rng.normal(size=90)
    sample = texts(x.tolist()), answers((x + rng.normal(size=90)).tolist())
    whole = intervals(["pearson", "spearman"], *sample, samples=200)
    monkeypatch.setattr("linkbert.tasks.metrics.DRAWN", 1000)
    parts = intervals(["pearson", "spearman"], *sample, samples=200)
    assert [parts[name] == pytest.approx(each) for name, each in whole.items()] == [True, True]
    from scipy.stats import bootstrap, spearmanr

    gold, predicted = np.array([e.label for e in sample[0]]), np.array([p.value for p in sample[1]])
    ranked_anew = bootstrap(
        (gold, predicted),
        lambda a, b: spearmanr(a, b)[0],
        paired=True,
        vectorized=False,
        n_resamples=500,
        method="percentile",
    ).confidence_interval
    assert whole["spearman"] == pytest.approx(tuple(ranked_anew), abs=0.05)


# ---- suites: the scores that the paper gives, and the averages that it gives ----

BLURB = {
    "NER": [
        (93.33, 93.75, 94.04),
        (85.62, 86.10, 86.39),
        (87.82, 88.18, 88.76),
        (84.52, 84.90, 85.18),
        (80.06, 79.03, 80.06),
    ],
    "PICO": [(73.38, 73.97, 74.19)],
    "relation": [(77.24, 77.57, 79.98), (82.36, 82.72, 83.35), (82.34, 84.39, 84.90)],
    "similarity": [(92.30, 93.25, 93.63)],
    "classification": [(82.32, 84.35, 84.87)],
    "QA": [(55.84, 70.20, 72.18), (87.56, 91.43, 94.82)],
}
MRQA = {
    50.0: (49.8, 43.4, 50.2, 58.9, 41.3, 56.6), 54.1: (54.6, 50.0, 58.6, 60.3, 42.8, 58.0),
    75.2: (76.0, 70.3, 74.2, 76.5, 65.7, 88.7), 77.8: (78.2, 73.9, 76.8, 78.3, 69.3, 90.1),
    78.5: (78.1, 73.7, 78.3, 79.0, 70.9, 91.1), 81.0: (80.8, 78.2, 80.5, 81.0, 72.6, 92.7),
}  # fmt: skip


def test_the_blurb_score_is_the_paper_s():
    for model, average in enumerate((81.10, 83.39, 84.30)):
        scored = [
            (made("text", "one", "two", suite="blurb", group=group), {"one": scores[model], "two": 0.0})
            for group, found in BLURB.items()
            for scores in found
        ]
        assert f"{suite_score(scored):.2f}" == f"{average:.2f}"


def test_the_mrqa_average_is_the_paper_s():
    for average, found in MRQA.items():
        task = Task(name="", title="", kind="question", format="", metrics=("answer_f1", "exact"), suite="mrqa")
        scored = [
            (dataclasses.replace(task, name=str(i)), {"answer_f1": each, "exact": 1}) for i, each in enumerate(found)
        ]
        assert abs(suite_score(scored) - average) < 0.0501  # of rounded scores


def test_the_glue_average():
    """Eight tasks: two metrics of one and MNLI's two sets count as one."""
    tasks = {"cola": [40], "sst2": [90], "mrpc": [80, 90], "qqp": [70, 60], "stsb": [85, 83], "qnli": [88], "rte": [60]}
    scored = [
        (
            dataclasses.replace(made("text", *"ab"[: len(found)], suite="glue"), name=name),
            dict(zip("ab", found, strict=False)),
        )
        for name, found in tasks.items()
    ]
    for name, found in {"mnli-matched": 81, "mnli-mismatched": 83}.items():
        scored.append((dataclasses.replace(made("text", "a", suite="glue", group="MNLI"), name=name), {"a": found}))
    assert suite_score(scored) == (40 + 90 + 85 + 65 + 84 + 88 + 60 + 82) / 8


# ---- without a model ----


def test_the_commonest_label_of_train_and_a_guess():
    relation = made("text", "relation_f1", "accuracy")
    train, test = texts("0010020"), texts("0122")
    found = kind_of(relation).baselines(train, test)
    assert found["majority"] == {"relation_f1": 0, "accuracy": 0.25}
    # A guess among three classes is right in 1 of 3; of four guesses 8 / 3 are no "0", of three gold ones 1 is met.
    assert found["chance"] == pytest.approx({"relation_f1": 2 * 1 / (8 / 3 + 3), "accuracy": 1 / 3})
    assert kind_of(relation).baselines([], test)["majority"]["accuracy"] == 0.5  # without train, of test


@pytest.mark.parametrize(
    ("task", "train", "test", "majority_score", "chance"),
    [
        (
            made("choice", "accuracy"),
            [],
            [ChoiceExample(str(i), "", ("a",) * 4, i % 3) for i in range(7)],
            3 / 7,
            1 / 4,
        ),
        (made("text", "matthews"), texts("110"), texts("10011"), 0, 0),
        (made("text", "pearson"), texts([1.0, 4.0]), texts([1.0, 2.0]), 0, 0),
        (made("text", "multilabel_f1"), texts([("a",), ("a",), ()]), texts([("a",), ("a", "b")]), 0.8, 2 / 4),
        (made("tags", "entity_f1"), tagged([["B", "O"]]), tagged([["O", "O"], ["B"]]), 0, 2 / 5),
    ],
)
def test_baselines_of_each_kind(task, train, test, majority_score, chance):
    found = kind_of(task).baselines(train, test)
    assert [found[name][task.metrics[0]] for name in ("majority", "chance")] == pytest.approx([majority_score, chance])


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "share"), [("pubmedqa", 0.552), ("bioasq", 94 / 140), ("ebm-pico", 0), ("jnlpba", 0), ("hoc", 0)]
)
def test_what_the_commonest_label_scores_on_real_data(data, name, share):
    from linkbert.tasks.splits import read_splits
    from linkbert.tasks.table import find_task

    task = find_task(name)
    splits = read_splits(task, data / "tasks")
    found = kind_of(task).baselines(splits.train, splits.test or splits.dev)
    assert found["majority"][task.metrics[0]] == pytest.approx(share)
    if task.metrics == ("accuracy",):
        assert found["chance"]["accuracy"] == pytest.approx(1 / len({example.label for example in splits.train}))


def test_a_submission_is_in_glue_s_form(tmp_path):
    rte = dataclasses.replace(made("text", "accuracy"), submission="RTE")
    path = write_submission(rte, answers(["entailment", "not_entailment"]), tmp_path)
    assert (path.name, path.read_text()) == ("RTE.tsv", "index\tprediction\n0\tentailment\n1\tnot_entailment\n")
    path = write_submission(rte, answers([2.71828, 5.2, -0.1]), tmp_path)
    assert path.read_text() == "index\tprediction\n0\t2.718\n1\t5.000\n2\t0.000\n"
    submitted = {task.name for task in tasks().values() if task.submission}
    assert submitted == {"wnli", "glue-diagnostic"} | {task.name for task in suite("glue")}


def test_what_cannot_be_scored_is_said():
    with pytest.raises(ValueError, match="example 0 has no label: its split can be predicted, not scored"):
        score(["accuracy"], texts([None]), answers(["0"]))
    with pytest.raises(ValueError, match="1 predictions are not those of the 2 examples"):
        score(["accuracy"], texts("01"), answers(["0"]))
    with pytest.raises(ValueError, match="example 0 has 2 words and 1 predicted tags"):
        score(["entity_f1"], tagged([["O", "O"]]), answers([("O",)]))
    with pytest.raises(ValueError, match="the tag 'S-X' is none of O, B, I, B-TYPE and I-TYPE"):
        score(["entity_f1"], tagged([["S-X"]]), answers([("O",)]))


def test_a_prediction_that_is_not_a_number_is_an_error():
    examples = [TextExample(str(i), "a", label=float(i)) for i in range(4)]
    for bad in (math.nan, math.inf):
        with pytest.raises(ValueError, match=r"1 of 4 predictions are not numbers: the first is .*, of example 1"):
            score(["pearson", "spearman"], examples, answers([0.1, bad, 2.0, 3.0]))
    with pytest.raises(ValueError, match=r"1 of 2 labels are not numbers: the first is nan, of example 1"):
        score(["pearson"], texts([1.0, math.nan]), answers([1.0, 2.0]))


def test_precision_recall_and_f1_by_type_are_seqeval_s():
    from seqeval.metrics import classification_report

    rng = random.Random(3)
    tags = ["O", "B-INT", "I-INT", "B-PAR", "I-PAR"]
    gold, said = ([tuple(rng.choices(tags, k=6)) for _ in range(30)] for _ in range(2))
    examples = [TaggedExample(str(i), ("w",) * 6, each) for i, each in enumerate(gold)]
    found = scores_by_type("entity_f1", examples, answers(said))
    known = classification_report([list(g) for g in gold], [list(p) for p in said], output_dict=True)
    assert list(found) == ["INT", "PAR"]
    for kind, row in found.items():
        theirs = known[kind]
        assert [row[key] for key in ("precision", "recall", "f1", "gold")] == pytest.approx(
            [theirs[key] for key in ("precision", "recall", "f1-score", "support")]
        )


def test_precision_and_recall_of_labels_leave_out_the_class_of_no_relation():
    examples = [TextExample(str(i), "a", label=label) for i, label in enumerate(["0", "CPR:3", "CPR:3", "CPR:4"])]
    found = scores_by_type("relation_f1", examples, answers(["CPR:3", "CPR:3", "0", "CPR:3"]))
    assert found["CPR:3"] == {"precision": 1 / 3, "recall": 1 / 2, "f1": 2 / 5, "gold": 2, "found": 3}
    assert found["CPR:4"] == {"precision": 0, "recall": 0, "f1": 0, "gold": 1, "found": 0}
    assert list(found) == ["CPR:3", "CPR:4"]
    several = [TextExample("0", "a", label=("x", "y")), TextExample("1", "a", label=())]
    assert scores_by_type("multilabel_f1", several, answers([("x",), ("y",)]))["y"]["precision"] == 0
    assert scores_by_type("pearson", [TextExample("0", "a", label=1.0)], answers([1.0])) == {}


def test_groups_are_scored_as_parts_of_the_whole():
    """SQuAD 2.0's script takes "the" for no answer wherever some question has none; a group alone would not know."""
    examples = [QuestionExample("0", "?", "", ("the",)), QuestionExample("1", "?", "")]
    found = group_scores(["exact"], examples, answers(["a", ""]), {"HasAns": [0], "NoAns": [1]})
    assert found == {"HasAns": {"exact": 1.0}, "NoAns": {"exact": 1.0}}
