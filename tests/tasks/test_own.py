"""One's own data without a table, and models whose head is of other labels."""

import json

import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification

from linkbert import cli
from linkbert.instances.vocabulary import SPECIAL, Vocabulary
from linkbert.tasks.finetune import load_model, open_folder
from linkbert.tasks.kinds import kind_of
from linkbert.tasks.own import own_task
from linkbert.tasks.settings import FineTuneConfig
from linkbert.tasks.splits import read_splits
from linkbert.tasks.table import find_task

WORDS = ("red", "blue", "the", "box")
ASKED = {"question": "Who?", "answers": [{"text": "cat", "answer_start": 2}]}
PARAGRAPHS = [{"context": "A cat.", "qas": [ASKED | {"id": f"{number}"}]} for number in range(40)]
SQUAD = {"data": [{"title": each["qas"][0]["id"], "paragraphs": [each]} for each in PARAGRAPHS]}


def made(path, text="", label="", kind="", dev=None, test=None, seed=0):
    task, folder = own_task(path, text, label, kind, dev, test, seed)
    return task, read_splits(task, folder)


def lines(rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


@pytest.mark.parametrize(
    ("name", "content", "text", "label", "kind", "gold"),
    [
        ("a.csv", "t,c\n" + '"a, b",red\n' * 40, "t", "c", "text", "red"),
        ("a.csv", "t,c\n" + "a,1\n" * 40, "t", "c", "text", "1"),
        ("a.tsv", "t\tu\tn\n" + 'a "\tb\t0.5\n' * 40, "t,u", "n", "text", 0.5),
        ("a.csv", "t,bad,rude\n" + "a,0,1\n" * 40, "t", "bad,rude", "text", ("rude",)),
        ("a.jsonl", lines([{"t": "a", "c": ["y", "x"]}] * 40), "t", "c", "text", ("x", "y")),
        ("a.jsonl", lines([{"w": ["a", "b"], "n": ["S-X", "O"]}] * 40), "w", "n", "tags", ("B-X", "O")),
        ("a.json", json.dumps([{"q": "a", "o": ["x", "y"], "r": 1}] * 40), "q,o", "r", "choice", 1),
        ("a.csv", "q,x,y,r\n" + "a,b,c,B\n" * 40, "q,x,y", "r", "choice", 1),
        ("a.json", json.dumps(SQUAD), "", "", "question", ("cat",)),
    ],
)
def test_the_kind_of_a_file_follows_from_its_columns(tmp_path, name, content, text, label, kind, gold):
    (tmp_path / name).write_text(content)
    task, splits = made(tmp_path / name, text, label)
    assert task.kind == kind
    assert splits.dev[0].gold == gold
    assert [len(splits.train), len(splits.dev), len(splits.test)] == [32, 4, 4]


def test_another_seed_divides_a_file_otherwise_and_sets_that_are_there_are_taken(tmp_path):
    (tmp_path / "train.csv").write_text("t,c\n" + "".join(f"a {i},red\n" for i in range(40)))
    first, other = ([each.id for each in made(tmp_path / "train.csv", "t", "c", seed=s)[1].dev] for s in (0, 1))
    assert first != other
    (tmp_path / "valid.csv").write_text("t,c\nb,red\n")
    _, splits = made(tmp_path, "t", "c")
    assert [each.a for each in splits.dev] == ["b"]
    (tmp_path / "aside").mkdir()
    held = tmp_path / "aside" / "held.csv"
    held.write_text("t,c\nheld,red\n")
    assert [each.a for each in made(tmp_path / "train.csv", "t", "c", test=held)[1].test] == ["held"]


@pytest.mark.parametrize(
    ("text", "label", "said"),
    [
        ("", "", "a.csv: name its columns by --text and --label; it has note, colour"),
        ("nite", "colour", "a.csv has no column 'nite'; did you mean 'note'"),
    ],
)
def test_columns_that_are_missing_are_named(tmp_path, text, label, said):
    (tmp_path / "a.csv").write_text("note,colour\na,red\n")
    with pytest.raises(ValueError, match=said):
        made(tmp_path / "a.csv", text, label)


@pytest.fixture
def model(tmp_path):
    """A classifier of three labels that always answers the first, `entailment`."""
    folder = tmp_path / "model"
    Vocabulary(SPECIAL + WORDS).save(folder)
    names = dict(enumerate(("entailment", "neutral", "contradiction")))
    config = BertConfig(vocab_size=len(SPECIAL + WORDS), hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
                        intermediate_size=16, max_position_embeddings=32, id2label=names,
                        label2id={name: i for i, name in names.items()})  # fmt: skip
    model = BertForSequenceClassification(config)
    with torch.no_grad():
        model.classifier.weight.zero_()
        model.classifier.bias.copy_(torch.tensor([9.0, 1.0, 2.0]))
    model.save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    ("labels", "bias", "note"),
    [
        (("entailment", "neutral", "contradiction"), [9.0, 1.0, 2.0], None),
        (("contradiction", "Entailment", "neutral"), [2.0, 9.0, 1.0], "moved to the order of the labels, by name"),
        (("yes", "no"), None, "a new head of 2 outputs: that of the model was trained on entailment, neutral"),
        (("x", "y", "z"), None, "a new head of 3 outputs"),
        ((), None, "a new head of 1 outputs"),
    ],
)
def test_a_head_of_other_labels_is_moved_by_name_or_new_and_said(model, labels, bias, note):
    kind, (_, config) = kind_of(find_task("stsb" if not labels else "mnli-matched")), open_folder(model)
    found, notes = load_model(kind, model, config, labels, FineTuneConfig())
    assert [*notes] == [] if note is None else note in notes[0]
    assert found.config.id2label == dict(enumerate(labels or ["LABEL_0"]))
    if bias:
        assert found.classifier.bias.tolist() == bias


def test_a_model_is_scored_as_it_is(model, tmp_path, capsys):
    rows = "".join(f"the {w} box,{c}\n" for w, c in [("red", "entailment"), ("blue", "neutral")] * 20)
    (tmp_path / "a.csv").write_text("t,c\n" + rows)
    words = ["finetune", str(model), str(tmp_path / "a.csv"), "--text", "t", "--to", str(tmp_path / "to")]
    assert cli.main([*words, "--label", "c", "--score-only", "--json", "threads=1"]) == 0
    (record,) = json.loads(capsys.readouterr().out)
    answers = [json.loads(line) for line in (tmp_path / "to" / record["predictions"]["dev"]).read_text().splitlines()]
    assert {each["prediction"] for each in answers} == {"entailment"}
    assert record["steps"] == 0
    (tmp_path / "a.csv").write_text("t,c\n" + rows.replace("entailment", "p").replace("neutral", "q"))
    assert cli.main([*words, "--label", "c", "--score-only"]) == 1
    assert "answers entailment, neutral, contradiction; the labels of the data are p, q" in capsys.readouterr().err
