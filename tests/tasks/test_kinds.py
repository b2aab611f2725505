"""Doors: a kind of task of one's own, tables of one's own and of installed packages, and fine-tuning from Python."""

import json
import re
from dataclasses import replace
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from linkbert import cli, registry
from linkbert.instances.vocabulary import SPECIAL, Vocabulary
from linkbert.tasks import table
from linkbert.tasks.examples import ChoiceExample, Prediction, TaggedExample, TextExample
from linkbert.tasks.features import RowForm
from linkbert.tasks.finetune import open_folder
from linkbert.tasks.kinds import Kind, kind_of
from linkbert.tasks.metrics import own_metric
from linkbert.tasks.results import choose_scores, read_folders
from linkbert.tasks.splits import read_splits
from linkbert.tasks.suite import finetune
from linkbert.tasks.table import Task, find_tasks, make_task

HERE = Path(__file__).parent
DOCS = HERE.parents[1] / "docs" / "finetuning.md"
WORDS = ("bad", "good", "fine", "the", "soup", "red", "hot", "blue", "still", "as", "a", "fire", "ice")
QUICK = {"batch_size": 4, "max_length": 16, "threads": 1, "precision": "fp32", "hidden_dropout_prob": 0.0}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Enter a folder with a random encoder and a dataset of stars."""
    import torch
    from transformers import BertConfig, BertModel

    monkeypatch.syspath_prepend(HERE)
    monkeypatch.chdir(tmp_path)
    for seed, name in enumerate(("encoder", "other")):
        Vocabulary(SPECIAL + WORDS).save(tmp_path / name)
        torch.manual_seed(seed)
        config = BertConfig(vocab_size=len(SPECIAL + WORDS), hidden_size=32, num_hidden_layers=1, num_attention_heads=2,
                            intermediate_size=64, max_position_embeddings=32, initializer_range=0.2)  # fmt: skip
        BertModel(config).save_pretrained(tmp_path / name)
    rows = [
        f"{i}\tthe soup is {word}\t{stars}" for i, (word, stars) in enumerate((("bad", 1), ("fine", 3), ("good", 5)))
    ]
    (tmp_path / "data").mkdir()
    for name in ("train", "dev"):
        (tmp_path / "data" / f"{name}.tsv").write_text("\n".join(["id\ttext\tstars", *rows]) + "\n")
    return tmp_path


@pytest.mark.slow
def test_a_kind_of_one_s_own_is_fine_tuned_scored_reported_and_compared(folder, capsys):
    words = ["--data", "data", "--to", "results", *(f"{key}={value}" for key, value in QUICK.items())]
    for model in ("encoder", "other"):
        assert cli.main(["finetune", model, f"{HERE}/own_tables.toml:stars", *words]) == 0
    out = capsys.readouterr().out
    assert "Stars, dev, 1 run of encoder\n  closeness       100.00" in out
    assert "majority 50.00, chance 55.56" in out  # 6 stars off in three answers of 1; 16 in nine guesses
    record = json.loads((folder / "results" / "results.jsonl").read_text().splitlines()[0])
    assert (record["task"], record["table"]["kind"], record["labels"]) == ("stars", "own_kind:Stars", ["1", "3", "5"])
    assert record["scores"]["dev"] == {"closeness": 1.0, "accuracy": 1.0}
    assert cli.main(["report", "results"]) == 0
    assert "Stars" in capsys.readouterr().out
    assert cli.main(["compare", "results:encoder", "results:other", "--task", "stars", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["both_right"] == 3


def test_a_package_adds_datasets_and_a_kind_by_entry_points(monkeypatch):
    monkeypatch.syspath_prepend(HERE)
    points = [
        EntryPoint("mine", "own_kind:tables", "linkbert.tasks"),
        EntryPoint("stars", "own_kind:Stars", "linkbert.tasks"),
    ]
    for name in ("references", "usable"):
        monkeypatch.setattr(registry, name, getattr(registry, name).__wrapped__)
    monkeypatch.setattr(registry, "entry_points", lambda group: points if group == "linkbert.tasks" else [])
    table.tasks.cache_clear()
    try:
        assert find_tasks("stars,rte")[0].title == "Stars"
        made = make_task("made", {"kind": "stars", "metrics": ["closeness"]}, "here")
        assert type(kind_of(made)).__name__ == "Stars"
    finally:
        table.tasks.cache_clear()


def test_a_table_names_a_metric_of_one_s_own(monkeypatch):
    monkeypatch.syspath_prepend(HERE)
    made = make_task("made", {"kind": "text", "metrics": ["accuracy", "own_kind:low"]}, "here")
    examples = [TextExample("1", "a", label="1"), TextExample("2", "b", label="2")]
    answers = [Prediction("1", "1"), Prediction("2", "1")]
    assert kind_of(made).score(examples, answers) == {"accuracy": 0.5, "own_kind:low": 1.0}
    with pytest.raises(ValueError, match=r"m gave \(1,\), not \(2,\): a number for each example"):
        own_metric("m", lambda *_: [1.0]).statistics(examples, answers)
    own = r"did you mean 'accuracy'\?; one of your own is 'package.module:function'"
    for name, message in (("own_kind:no", "own_kind:no cannot be imported"), ("acuracy", own)):
        with pytest.raises(ValueError, match=message):
            kind_of(replace(made, metrics=(name,)))
    with pytest.raises(TypeError, match=r"metrics of Wrong are objects of .*Metric, got 'low'"):
        type("Wrong", (Kind,), {"metrics": ("low",)})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[rte]\nkind = 'text'", r"own.toml: \[rte\] has the name of one of linkbert's datasets"),
        ("[a]\nkind = 'txt'\nmetrics = ['accuracy']", r"own.toml: \[a\] has kind 'txt'; did you mean 'text'"),
        ("[a]\nlike = 'rtee'", r"own.toml: \[a\] is like 'rtee'; did you mean 'rte'"),
        ("[a]\nkind = 'text'", r"own.toml: \[a\] has no metrics"),
        ("[a]\nkinds = 'text'", r"own.toml: \[a\] has an unknown key 'kinds'; did you mean 'kind'"),
        ("a = 1", "own.toml: a is not a table"),
        ("[a", "own.toml is not a TOML file"),
    ],
)
def test_a_table_that_cannot_be_is_one_line(tmp_path, text, message):
    (tmp_path / "own.toml").write_text(text)
    with pytest.raises(ValueError, match=message):
        find_tasks(str(tmp_path / "own.toml"))


def test_tables_are_found_by_file_and_name(tmp_path):
    path = tmp_path / "own.toml"
    path.write_text("[a]\nlike = 'rte'\ntitle = 'A'\n\n[b]\nlike = 'a'\n")
    assert [task.name for task in find_tasks(f"mrpc,{path}")] == ["mrpc", "a", "b"]
    (found,) = find_tasks(f"{path}:b")
    assert (found.title, found.kind, found.metrics) == ("A", "text", ("accuracy",))
    with pytest.raises(ValueError, match="has no table 'c'"):
        find_tasks(f"{path}:c")
    with pytest.raises(ValueError, match="math:sqrt of x is not a kind of task"):
        kind_of(Task("x", "", "math:sqrt", "", ("accuracy",), ""))


@pytest.mark.slow
def test_examples_are_fine_tuned_on_from_python_as_the_documentation_says(folder):
    (code,) = re.findall(r"```python\n(.*?)```", DOCS.read_text(encoding="utf-8"), flags=re.DOTALL)
    names = {}
    exec(compile(code, str(DOCS), "exec"), names)
    assert [record["seed"] for record in names["records"]] == [0, 1]
    first = names["records"][0]
    assert first["scores"]["dev"]["accuracy"] == 1.0
    assert list(first["hashes"]) == ["dev", "train"]
    more = [TextExample("5", "red fire", label="warm"), TextExample("6", "blue", label="cold")]
    data = names["data"] | {"test": more}
    records = finetune("encoder", names["table"], data=data, to="results", settings=names["settings"])
    assert records[0]["key"] != first["key"]  # another set of examples is another run
    with pytest.raises(ValueError, match="unknown setting 'epoch'"):
        finetune("encoder", names["table"], data=data, to="results", settings={"epoch": 3})


def test_metrics_and_examples_of_another_kind_are_one_line():
    with pytest.raises(ValueError, match=r"x has metric 'acuracy'; did you mean 'accuracy'"):
        kind_of(Task("x", "", "text", "", ("acuracy",), ""))
    own = Task("x", "x", "text", "", ("accuracy",), "")
    with pytest.raises(ValueError, match="train holds a dict; examples are TextExample and others of"):
        read_splits(own, {"train": [{"id": "1", "text": "red", "label": "w"}]})
    with pytest.raises(ValueError, match="train: the id or a text of 7 is not a string"):
        read_splits(own, {"train": [TextExample(7, "red", label="w")]})


@pytest.mark.parametrize(
    ("metric", "labels", "message"),
    [
        ("accuracy", (0, 1), "made: accuracy cannot score the label 0 of example 0: a class is a text, several"),
        ("accuracy", (["a"], ["b"]), r"cannot score the label \['a'\] of example 0"),
        ("accuracy", ("a", ("a", "b")), r"cannot score the label \('a', 'b'\) of example 1"),
        ("f1", ("1", "0", 0), "cannot score the label 0 of example 2"),
        ("f1", ("pos", "neg"), "made: f1 is that of '1' of two classes, here they are neg, pos: take accuracy"),
        ("f1", ("0", "1", "2"), "made: f1 is that of '1' of two classes, here they are 0, 1, 2: take"),
        ("relation_f1", ("x", "y"), "made: relation_f1 is of all classes but '0', here they are x, y: take accuracy"),
        ("multilabel_f1", (("a",), 1.5), r"cannot score the label 1.5 of example 1"),
    ],
)
def test_labels_that_no_metric_of_the_task_scores_are_refused_before_training(metric, labels, message):
    kind = kind_of(Task("made", "", "text", "", (metric,), ""))
    examples = [TextExample(str(i), "red", label=label) for i, label in enumerate(labels)]
    with pytest.raises(ValueError, match=message):
        kind.check_labels(examples, kind.labels(examples))


def test_one_label_of_several_is_no_part_of_a_word(folder):
    kind, (tokenizer, _) = (
        kind_of(Task("made", "", "text", "", ("multilabel_f1",), "")),
        open_folder(folder / "encoder"),
    )
    examples = [TextExample("0", "red", label="10"), TextExample("1", "hot", label=("0", "1"))]
    rows = kind.rows(examples, RowForm(tokenizer, 16, labels=("0", "1", "10")), training=True)
    assert rows.labels["labels"].tolist() == [[0, 0, 1], [1, 1, 0]]


def test_labels_that_do_not_fit_their_example_are_refused_where_it_is_made():
    assert ChoiceExample("0", "which", ("a", "b"), 1).gold == 1
    for label in (2, -1, "b"):
        with pytest.raises(ValueError, match=f"example 0: the label {label!r} is not the number of one of its options"):
            ChoiceExample("0", "which", ("a", "b"), label)
    with pytest.raises(ValueError, match="example 0 has 2 words and 1 tags"):
        TaggedExample("0", ("low", "dose"), ("O",))


def test_sets_of_other_names_and_missing_ones_are_refused_before_any_run(folder):
    table, examples = {"kind": "text", "metrics": ["accuracy"]}, [TextExample("0", "red", label="a")]
    for data, more, message in (
        ({"train": examples, "validation": examples}, {}, "data has a set 'validation'; known are dev, test, train"),
        ({"train": examples}, {}, "data has no dev set to score on"),
        ({"train": examples, "test": examples}, {"grid": "seed=1"}, "data has no dev set to choose settings on"),
        ({"train": examples, "test": examples}, {"settings": {"early_stop": 1}}, "early_stop=1 needs a dev set"),
        ({"train": examples, "dev": examples}, {"tasks": table | {"metrics": ["acc"]}}, "made has metric 'acc'"),
    ):
        with pytest.raises(ValueError, match=message):
            finetune("encoder", **({"tasks": table, "data": data, "to": "results"} | more))
    assert not (folder / "results" / "results.jsonl").exists()


def test_runs_of_a_table_that_has_changed_are_not_mixed_with_those_before(folder):
    def run(metrics, **options):
        words = [f"{key}={value}" for key, value in QUICK.items()]
        examples = [TextExample(str(i), word, label="01"[i]) for i, word in enumerate(("red", "blue"))]
        table = {"kind": "text", "metrics": metrics}
        finetune("encoder", table, data={"train": examples, "dev": examples}, to="results", settings=words, **options)

    run(["accuracy"], seeds=2)
    run(["f1"])
    (score,) = choose_scores(read_folders([folder / "results"]))
    assert (score.column.task.metrics, len(score.runs), len(score.values)) == (("f1",), 1, 1)
