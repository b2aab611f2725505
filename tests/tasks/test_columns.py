"""What a value stands for is decided by its whole column; what is missing is left out and counted; names are unique."""

import json
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
from sklearn.metrics import matthews_corrcoef

from linkbert.tasks.examples import ChoiceExample, Prediction, TextExample
from linkbert.tasks.formats import read_label, read_squad
from linkbert.tasks.metrics import METRICS
from linkbert.tasks.own import own_task, score_answers
from linkbert.tasks.results import add_result, choose_scores, write_predictions
from linkbert.tasks.splits import Source, check_examples, hash_files, read_splits
from linkbert.tasks.suite import read_grid, refuse_other_data
from linkbert.tasks.table import find_tasks, models_of


def lines(rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


def gold(folder, name, content, text, label, kind=""):
    """Return the right answers of a file in its order, and what was counted."""
    (folder / name).write_text(content)
    task, where = own_task(folder / name, text, label, kind)
    splits = read_splits(task, where)
    found = {example.id: example.gold for part in (splits.train, splits.dev, splits.test) for example in part}
    return [found[key] for key in sorted(found, key=int)], splits


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([[0], [1], [0, 1], [1, 0], [2, 3]], [("0",), ("1",), ("0", "1"), ("0", "1"), ("2", "3")]),
        ([[0, 1, 1], [1, 0, 0]], [("1", "2"), ("0",)]),
        (["x", "y", "x|y"], [("x",), ("y",), ("x", "y")]),
        (["0|1", "1|1"], [("1",), ("0", "1")]),
        ([[0], [1]], [("0",), ("1",)]),
    ],
)  # fmt: skip
def test_lists_are_flags_only_where_the_whole_column_is(tmp_path, values, expected):
    rows = [{"t": f"a {number}", "c": values[number % len(values)]} for number in range(60)]
    found, _ = gold(tmp_path, "a.jsonl", lines(rows), "t", "c", "multilabel")
    assert found == [expected[number % len(values)] for number in range(60)]
    if isinstance(values[0], str):  # CSV says the same
        text = "t,c\n" + "".join(f"{row['t']},{row['c']}\n" for row in rows)
        assert gold(tmp_path, "a.csv", text, "t", "c", "multilabel")[0] == found


def test_digits_are_texts_of_options_only_where_all_are(tmp_path):
    numbers = "q,A,B,C,D,l\n" + "what,10,20,30,40,2\nhow,1,2,3,4,2\n" * 30
    assert {*gold(tmp_path, "a.csv", numbers, "q,A,B,C,D", "l")[0]} == {2}
    texts = "q,A,B,C,D,l\n" + "what,10,20,30,40,20\nhow,1,2,3,4,2\n" * 30
    assert {*gold(tmp_path, "b.csv", texts, "q,A,B,C,D", "l")[0]} == {1}
    for name, answers in (("n.csv", "id,answer\n0,2\n1,2\n"), ("n.json", '{"0": 2, "1": 2}')):
        (tmp_path / "test.jsonl").write_text(lines(
            {"q": "a", "o": each, "l": 2} for each in (["10", "20", "30"], ["1", "2", "3"])))  # fmt: skip
        (tmp_path / "own.toml").write_text(
            '[own]\nkind = "choice"\nformat = "jsonl"\nmetrics = ["accuracy"]\nfiles = { train = ["no.jsonl"],'
            ' test = ["test.jsonl"] }\noptions.columns = { question = "q", options = "o", label = "l" }\n'
        )
        (tmp_path / name).write_text(answers)
        scored = score_answers(tmp_path / name, f"{tmp_path}/own.toml", data=tmp_path)
        assert scored["scores"] == {"accuracy": 1.0}
    for none in ('{"0": 2, "1": ""}', '{"0": 2, "1": -1}', '{"0": 2, "1": null}'):
        (tmp_path / "n.json").write_text(none)
        with pytest.raises(ValueError, match="answers 1 of 2 examples of test not, as id 1"):
            score_answers(tmp_path / "n.json", f"{tmp_path}/own.toml", data=tmp_path)
    (tmp_path / "n.json").write_text('{"0": 2, "1": 2, "0": 1}')
    with pytest.raises(ValueError, match="row 3: the id 0 comes again"):
        score_answers(tmp_path / "n.json", f"{tmp_path}/own.toml", data=tmp_path)


@pytest.mark.parametrize("indent", [None, 1])
def test_lists_of_one_length_by_id_are_no_columns(tmp_path, indent):
    (tmp_path / "test.jsonl").write_text(
        lines([{"id": "p", "t": "a", "c": [1, 0]}, {"id": "q", "t": "b", "c": [0, 1]}])
    )
    (tmp_path / "own.toml").write_text(
        '[own]\nkind = "text"\nformat = "jsonl"\nmetrics = ["multilabel_f1"]\nfiles = { train = ["no.jsonl"],'
        ' test = ["test.jsonl"] }\noptions = { columns = { id = "id", a = "t", label = "c" }, classes = ["x", "y"] }\n'
        'labels = ["x", "y"]\n'
    )
    (tmp_path / "a.json").write_text(json.dumps({"p": [1, 0], "q": [0, 1]}, indent=indent))
    assert score_answers(tmp_path / "a.json", f"{tmp_path}/own.toml", data=tmp_path)["scores"] == {"multilabel_f1": 1.0}


@pytest.mark.parametrize(
    ("values", "expected"),
    [([1, 1.0, "1.00", 0], "1110"), ([True, "true", "True"], ["true"] * 3), (["1.0", "x", "-2.0"], ["1", "x", "-2"])],
)
def test_a_class_has_one_spelling(tmp_path, values, expected):
    rows = lines({"t": f"a {number}", "c": values[number % len(values)]} for number in range(60))
    assert gold(tmp_path, "a.jsonl", rows, "t", "c")[0] == [*expected] * (60 // len(values))
    several = lines({"t": f"a {number}", "c": [values[number % len(values)], "z"]} for number in range(60))
    found = gold(tmp_path, "b.jsonl", several, "t", "c", "multilabel")[0]
    assert found == [tuple(sorted((each, "z"))) for each in expected] * (60 // len(values))


def test_a_class_keeps_the_spelling_of_a_table():
    assert read_label("True", {"classes": ("True", "False")}, "here") == "True"
    assert read_label(1.0, {"labels": {"1": "yes"}}, "here") == read_label(1, {"labels": {"1": "yes"}}, "here") == "yes"
    assert read_label("1.0", {"labels": {"1.0": "yes"}}, "here") == "yes"
    assert read_label("1.0", {"number": True}, "here") == 1.0


@pytest.mark.parametrize(
    ("text", "label", "kind", "row", "without"),
    [
        ("t", "x,y", "", {"t": "a", "x": 1, "y": 0}, {"t": "c", "x": None, "y": None}),
        ("t", "c", "multilabel", {"t": "a", "c": ["x", "y"]}, {"t": "c", "c": ["x", None]}),
        ("t", "c", "multilabel", {"t": "a", "c": "x|y"}, {"t": "c", "c": "nan"}),
        ("q,o", "l", "", {"q": "a", "o": ["u", "v"], "l": "1.0"}, {"q": "b", "o": ["u", "v"], "l": "nan"}),
        ("q,o", "l", "", {"q": "a", "o": ["u", "v"], "l": 1.0}, {"q": "b", "o": ["u", "v"], "l": None}),
    ],
)
def test_rows_whose_label_is_missing_are_left_out_and_counted(tmp_path, text, label, kind, row, without):
    found, splits = gold(tmp_path, "a.jsonl", lines([row] * 50 + [without] * 6), text, label, kind)
    assert len(found) == 50
    assert splits.counts["train: without a label"] == 6


def test_an_option_that_is_null_is_none(tmp_path):
    rows = [{"q": "a", "o": ["x", "y", None], "l": 1}] * 40
    _, splits = gold(tmp_path, "a.jsonl", lines(rows), "q,o", "l")
    assert {each.options for each in splits.train} == {("x", "y")}


@pytest.mark.parametrize("answers", [{"text": [""], "answer_start": [-1]}, [{"text": "", "answer_start": 0}], [""], []])
def test_an_empty_answer_is_none(answers, tmp_path):
    (tmp_path / "a.jsonl").write_text(lines([{"id": 1, "question": "Who?", "context": "A cat.", "answers": answers}]))
    with (tmp_path / "a.jsonl").open() as stream:
        counts = Counter()
        (found,) = read_squad([Source("a.jsonl", stream)], {}, counts)
    assert (found.answers, found.spans) == ((), ())
    assert not +counts


def test_a_file_may_begin_with_an_empty_line(tmp_path):
    assert gold(tmp_path, "a.jsonl", "\n \n" + lines([{"t": "a", "c": "x"}] * 40), "t", "c")[0] == ["x"] * 40


def test_the_names_of_classes_are_part_of_the_data(tmp_path):
    path = tmp_path / "saved" / "train" / "data-00000-of-00001.arrow"
    path.parent.mkdir(parents=True)
    table, found = pa.table({"t": ["a", "b"] * 30, "c": [0, 1] * 30}), []
    with pa.ipc.new_stream(path, table.schema) as writer:
        writer.write_table(table)
    for names in (["neg", "pos"], ["pos", "neg"]):
        info = {"features": {"c": {"_type": "ClassLabel", "names": names}}}
        path.with_name("dataset_info.json").write_text(json.dumps(info))
        task, where = own_task(tmp_path / "saved", "t", "c")
        assert read_splits(task, where).train[0].gold in names
        found.append(hash_files(task, where))
    assert found[0] != found[1]


def test_ids_that_come_again_get_names_that_are_free():
    examples = [TextExample(name, "a", label="x") for name in ("a", "a", "a#2", "a")]
    from linkbert.tasks.splits import _checked

    assert len({each.id for each in _checked(examples, Counter(), "here", bare=False)}) == 4
    assert check_examples({"dev": examples}, choosing=True)


def test_numpys_numbers_are_written_as_they_are(tmp_path):
    examples = [
        ChoiceExample("c", "which", ("this", "that"), np.int64(1)),
        TextExample("t", "one", label=np.float32(0.5)),
    ]
    write_predictions(
        tmp_path / "p.jsonl", examples, [Prediction("c", np.int64(0)), Prediction("t", 0.25)], [0.0, None]
    )
    found = [json.loads(line) for line in (tmp_path / "p.jsonl").read_text().splitlines()]
    assert [(each["gold"], each["prediction"]) for each in found] == [(1, 0), (0.5, 0.25)]


def test_a_model_as_it_was_given_is_no_seed_of_those_that_were_trained(tmp_path):
    common = {"task": "rte", "model": "m", "model_hash": "1", "settings": {}, "hashes": {}, "predictions": {}}
    results = [
        common | {"seed": seed, "key": str(seed), "source": "", "scores": {"dev": {"accuracy": 1.0}}}
        for seed in range(3)
    ]
    given = common | {"seed": 0, "key": "g", "source": "the model as given", "scores": {"dev": {"accuracy": 0.0}}}
    for order in ([*results, given], [given, *results]):
        (score,) = choose_scores(order)
        assert [run["key"] for run in score.runs] == ["0", "1", "2"]
        assert score.others == 1


def test_other_data_of_the_same_name_are_refused(tmp_path):
    from types import SimpleNamespace

    record = {
        "key": "a",
        "task": "train",
        "table": {"file": str(tmp_path / "reviews" / "train.csv")},
        "hashes": {"train.csv": "1"},
    }
    add_result(tmp_path, record)
    task = SimpleNamespace(name="train", file=str(tmp_path / "topics" / "train.csv"))
    with pytest.raises(ValueError, match=r"has results of .*reviews/train.csv, which is called 'train', too"):
        refuse_other_data(SimpleNamespace(to=tmp_path, task=task, hashes=(("train.csv", "2"),)))
    refuse_other_data(SimpleNamespace(to=tmp_path, task=task, hashes=(("train.csv", "1"),)))  # moved


def test_a_task_of_the_current_folder_is_named_by_it_and_versions_differ(tmp_path, monkeypatch):
    names = []
    for name in ("data.v1", "data.v2"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "train.csv").write_text("t,c\n" + "a,x\n" * 40)
        names.append(own_task(tmp_path / name, "t", "c")[0].name)
    monkeypatch.chdir(tmp_path / "data.v1")
    from pathlib import Path

    assert [*names, own_task(Path(), "t", "c")[0].name] == ["data.v1", "data.v2", "data.v1"]


def test_a_point_of_a_grid_is_tried_once():
    from linkbert.tasks.table import find_task

    assert read_grid("learning_rate=1e-4,0.0001,2e-4", find_task("rte"), 768) == [
        {"learning_rate": 1e-4},
        {"learning_rate": 2e-4},
    ]


def test_matthews_of_many_classes_needs_little_memory():
    rng = np.random.default_rng(0)
    right, said = rng.integers(0, 77, (2, 3080))
    said = np.where(rng.random(3080) < 0.5, right, said)
    examples = [TextExample(str(i), "a", label=str(label)) for i, label in enumerate(right)]
    answers = [Prediction(str(i), str(label)) for i, label in enumerate(said)]
    rows = METRICS["matthews"].statistics(examples, answers)
    assert rows.nbytes < 5e6
    assert METRICS["matthews"].value(rows.sum(0)) == pytest.approx(matthews_corrcoef(right, said))
    assert METRICS["matthews"].each(rows).mean() == pytest.approx((right == said).mean())


def test_a_space_that_does_not_break_is_part_of_a_word(tmp_path):
    (tmp_path / "a.conll").write_text("10\u00a0mg B-X\nof O\n\n" * 40)
    task, where = own_task(tmp_path / "a.conll", "", "", "tags")
    assert {each.words for each in read_splits(task, where).train} == {("10\u00a0mg", "of")}


def test_a_task_whose_model_is_its_own_is_refused(tmp_path):
    (tmp_path / "own.toml").write_text(
        '[own]\nkind = "text"\nformat = "csv"\nmetrics = ["accuracy"]\nmodel_of = ["own"]\n'
        'files = { test = ["a.csv"] }\n'
    )
    with pytest.raises(ValueError, match="own: model_of names own, which is scored by another's model itself"):
        models_of(find_tasks(f"{tmp_path}/own.toml")[0])
