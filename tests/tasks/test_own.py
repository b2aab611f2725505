"""One's own data without a table, and models whose head is of other labels."""

import gzip
import json
import math
import shutil
import zipfile
from collections import Counter
from itertools import product

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification, BertModel

import linkbert
from linkbert import cli
from linkbert.instances.vocabulary import SPECIAL, Vocabulary
from linkbert.tasks.examples import TextExample
from linkbert.tasks.finetune import fine_tune, load_model, open_folder
from linkbert.tasks.kinds import kind_of
from linkbert.tasks.own import _read_answers, _read_inputs, own_task
from linkbert.tasks.settings import FineTuneConfig
from linkbert.tasks.splits import SHOWN, read_splits
from linkbert.tasks.table import find_task, make_task

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
        ("a.jsonl", lines([{"q": "a", "o": {"1": "x", "2": "y"}, "r": "1"}] * 40), "q,o", "r", "choice", 0),  # by name
        (
            "a.jsonl",
            lines([{"q": "a", "o": {"text": ["x", "y"], "label": ["1", "2"]}, "r": "2"}] * 40),
            "q,o",
            "r",
            "choice",
            1,
        ),  # ARC's
        (
            "a.jsonl",  # as ARC, OpenBookQA and CommonsenseQA were published
            lines(
                [
                    {
                        "question": {
                            "stem": "a",
                            "choices": [{"label": "A", "text": "x"}, {"label": "B", "text": "y"}],
                        },
                        "answerKey": "B",
                    }
                ]
                * 40
            ),
            "question,choices",
            "answerKey",
            "choice",
            1,
        ),
        *(
            ("a.json", json.dumps(table, indent=indent), "t", "c", "text", "red")
            for table, indent in [
                ({"data": [{"t": "a", "c": "red"}] * 40}, None),
                ({"schema": {"fields": []}, "data": [{"t": "a", "c": "red"}] * 40}, None),
                ({"columns": ["t", "c"], "index": [*range(40)], "data": [["a", "red"]] * 40}, None),
                ({k: {str(i): v for i in range(40)} for k, v in (("t", "a"), ("c", "red"))}, None),
                ({"t": ["a"] * 40, "c": ["red"] * 40}, 1),
            ]
        ),  # pandas'
        ("a.csv", "q,x,y,r\n" + "a,b,c,B\n" * 40, "q,x,y", "r", "choice", 1),
        ("a.csv", "q,x,y,r\n" + "a,b,c,1\n" * 40, "q,x,y", "r", "choice", 1),  # a number from 0, as in JSON
        ("a.csv", "q,x,y,r\n" + "a,2,1,1\n" * 40, "q,x,y", "r", "choice", 1),  # the text of an option comes first
        ("a.csv", "t;c\n" + "a;red\n" * 40, "t", "c", "text", "red"),  # as spreadsheets of many countries write it
        ("a.jsonl", lines([{"t": None, "c": "red"}] * 40), "t", "c", "text", "red"),  # empty, and counted
        ("a.json", json.dumps(SQUAD), "", "", "question", ("cat",)),
        ("a.ndjson", lines([{"t": "a", "c": 1.0}] * 40), "t", "c", "text", "1"),
        ("a.jsonl", lines([{"t": "a", "c": {"x": 1, "y": 0, "z": True}}] * 40), "t", "c", "text", ("x", "z")),
        *(
            (
                "a.jsonl",
                lines([{"question": "Who?", "context": "A cat.", "answers": answers}] * 40),
                "question,context",
                "answers",
                "question",
                ("cat",),
            )
            for answers in ({"text": ["cat"], "answer_start": [2]}, ["cat"], [{"text": "cat"}], {"text": "cat"})
        ),
        (
            "a.jsonl",  # classes of a question and a context
            lines([{"question": "Is it?", "context": "A cat.", "answer": "yes"}] * 40),
            "question,context",
            "answer",
            "text",
            "yes",
        ),
    ],
)
def test_the_kind_of_a_file_follows_from_its_columns(tmp_path, name, content, text, label, kind, gold):
    (tmp_path / name).write_text(content)
    task, splits = made(tmp_path / name, text, label)
    assert task.kind == kind
    assert splits.dev[0].gold == gold
    assert [len(splits.train), len(splits.dev), len(splits.test)] == [32, 4, 4]


def test_tags_of_a_word_and_a_tag_a_line_need_no_columns(tmp_path):
    for name in ("a.tsv", "a.conll", "train.bio", ""):  # "": the folder, whose train set is the one before
        if name:
            (tmp_path / name).write_text("a\tO\nkite\tB-X\n\n" * 40)
        task, splits = made(tmp_path / name, kind="tags")
        assert (task.kind, task.format, splits.dev[0].words, splits.dev[0].tags) == (
            "tags", "tags", ("a", "kite"), ("O", "B-X")
        )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("0\tAnna\tB-PER\n1\tran\tO\n\n", ("Anna", "ran")),
        ("# sent_id 1\n# text = 1\t2\n1 Anna NNP B-PER\n2 ran VB O\n\n", ("Anna", "ran")),
        ("-DOCSTART- O\n\n1 Anna B-PER\n2 ran O\n\n", ("Anna", "ran")),
        ("1\tB-PER\n2\tO\n\n", ("1", "2")),
        ("1 CD B-PER\n3 CD O\n\n", ("1", "3")),
        ("1 CD B-PER\nran VB O\n\n", ("1", "ran")),
    ],
)
def test_numbers_of_words_are_no_words(tmp_path, text, words):
    (tmp_path / "a.conll").write_text(text * 40)
    task, splits = made(tmp_path / "a.conll", kind="tags")
    assert {(each.words, each.tags) for each in splits.train} == {(words, ("B-PER", "O"))}
    [example] = _read_inputs(task, write(tmp_path / "n.txt", text), Counter())
    assert example.words == words


def test_numbered_words_without_tags_are_words_and_columns_without_tags_none(tmp_path):
    (tmp_path / "a.conll").write_text("1\tI\tB-X\n2\tran\tO\n\n" * 40)
    task, _ = made(tmp_path / "a.conll", kind="tags")
    counts = Counter()
    [example] = _read_inputs(task, write(tmp_path / "n.txt", "1\tI\n2\tran\n"), counts)
    assert (example.words, +counts) == (("I", "ran"), Counter())
    examples = _read_inputs(task, write(tmp_path / "n.txt", "1\tI\n\n1\tAnna\n2\tran\n"), counts)
    assert [each.words for each in examples] == [("I",), ("Anna", "ran")]
    universal = "# text = I\n1\tI\tI\tPRON\t_\t_\t0\troot\t_\t_\n\n"
    with pytest.raises(ValueError, match=r"line 2: .* is not a word and a tag"):
        made(write(tmp_path / "b.conllu", universal), kind="tags")


def write(path, text):
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"t,c\na,red\nb,blue\n", "a: train is too small to be divided by id: \\w+ is empty; give more examples, or"),
        (b"t,c\n\xe4,red\n", "a.csv is not UTF-8: 'utf-8' codec"),
        (b"t,c,c\n" + b"a,red,blue\n" * 40, "a.csv has the column 'c' twice: rename one"),
    ],
)
def test_a_file_that_cannot_be_taken_says_what_to_do(tmp_path, content, said):
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(ValueError, match=said):
        made(tmp_path / "a.csv", "t", "c")


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


def test_no_text_is_on_both_sides_of_a_split_of_our_own(tmp_path):
    asked = [[ASKED | {"id": f"{number} {again}"} for again in range(5)] for number in range(60)]
    paragraphs = [{"context": f"A cat {number}.", "qas": each} for number, each in enumerate(asked)]
    (tmp_path / "a.json").write_text(json.dumps({"data": [{"title": "T", "paragraphs": paragraphs}]}))
    (tmp_path / "a.csv").write_text("t,c\n" + "".join(f"a {number % 60},{number % 2}\n" for number in range(180)))
    for name, columns in (("a.json", ()), ("a.csv", ("t", "c"))):
        _, splits = made(tmp_path / name, *columns)
        sets = [{each.passage for each in examples} for examples in (splits.train, splits.dev, splits.test)]
        assert all(sets)
        assert sum(map(len, sets)) == len(set().union(*sets)) == 60
        assert splits.notes == ("dev and test: a split of our own, of train, by a hash of its texts or contexts",)
        assert not [what for what in splits.counts if "that train has" in what]
    one = [ASKED | {"id": str(number)} for number in range(40)]  # of one context: there is no other way
    paragraph = {"context": "A cat.", "qas": one}
    (tmp_path / "b.json").write_text(json.dumps({"data": [{"title": "T", "paragraphs": [paragraph]}]}))
    _, splits = made(tmp_path / "b.json")
    assert splits.counts["dev: contexts that train has, too"] == len(splits.dev) > 0
    assert splits.notes == ("dev and test: a split of our own, of train, by a hash of its examples",)


def test_pairs_that_share_a_text_are_on_one_side_and_a_large_text_in_train(tmp_path):
    pairs = [(f"p{n}", f"q{n} {again}") for n in range(60) for again in range(2)]
    rows = [*pairs, *((b, a) for a, b in pairs)]
    (tmp_path / "a.csv").write_text("t,u,c\n" + "".join(f"{a},{b},{n % 2}\n" for n, (a, b) in enumerate(rows)))
    _, splits = made(tmp_path / "a.csv", "t,u", "c")
    sets = [{text for each in examples for text in each.texts} for examples in (splits.train, splits.dev, splits.test)]
    assert all(sets)
    assert sum(map(len, sets)) == len(set().union(*sets)) == 180
    texts = ["n/a"] * 60 + [""] * 40 + [f"a {n % 50}" for n in range(150)]
    (tmp_path / "b.csv").write_text("t,c\n" + "".join(f"{text},{n % 2}\n" for n, text in enumerate(texts)))
    _, splits = made(tmp_path / "b.csv", "t", "c")
    sets = [{each.a for each in examples} - {""} for examples in (splits.train, splits.dev, splits.test)]
    assert all(sets)
    assert sum(map(len, sets)) == len(set().union(*sets)) == 51
    assert "n/a" in sets[0]


def test_a_test_set_of_the_hub_s_minus_one_has_no_labels(tmp_path):
    (tmp_path / "train.csv").write_text("t,c\n" + "".join(f"a {i},{i % 2}\n" for i in range(40)))
    (tmp_path / "test.csv").write_text("t,c\nb,-1\nc,-1\n")
    _, splits = made(tmp_path, "t", "c")
    assert [each.label for each in splits.test] == [None, None]
    assert "the test set's labels are not public: scored on dev" in splits.notes
    (tmp_path / "train.csv").write_text("t,c\n" + "".join(f"a {i},{i % 2 - 1}\n" for i in range(40)))
    assert [each.label for each in made(tmp_path, "t", "c")[1].test] == ["-1", "-1"]


def test_no_number_without_end_makes_numbers_classes(tmp_path):
    (tmp_path / "a.csv").write_text("t,c\n" + "a,0.5\nb,1.25\nc,-inf\nd,\n" * 20)
    with pytest.raises(ValueError, match=r"a\.csv has '-inf' among the numbers of 'c': leave such rows out"):
        made(tmp_path / "a.csv", "t", "c")


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


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """Fine-tune a tiny encoder on `content` and keep it: the folder of results."""

    def fine_tune(name, content, *words):
        root = tmp_path_factory.mktemp("kept")
        encoder = root / "encoder"
        Vocabulary(SPECIAL + WORDS).save(encoder)
        config = BertConfig(vocab_size=len(SPECIAL + WORDS), hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
                            intermediate_size=16, max_position_embeddings=32)  # fmt: skip
        BertModel(config).save_pretrained(encoder)
        (root / name).write_text(content)
        rest = ["--to", str(root / "to"), "threads=1", "max_length=16", "stride=2", "num_train_epochs=1"]
        assert cli.main(["finetune", str(encoder), str(root / name), *words, *rest]) == 0
        return root / "to"

    return fine_tune


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "content", "words", "new", "inputs", "shown", "values"),
    [
        ("a.csv", "t,c\n" + "the red box,warm\nthe blue box,cold\n" * 20, ["--text", "t", "--label", "c"],
         "n.jsonl", lines([{"t": "a box"}, {"t": "red"}]), ["a box", "red"], {"warm", "cold"}),
        ("a.csv", "t,bad,rude\n" + "red,0,1\nblue,1,0\n" * 20, ["--text", "t", "--label", "bad,rude"],
         "n.json", json.dumps([{"t": "red"}]), ["red"], {(), ("bad",), ("rude",), ("bad", "rude")}),
        ("a.tsv", "t\tu\tn\n" + "red\tbox\t0.5\n" * 40, ["--text", "t,u", "--label", "n"],
         "n.csv", "t,u,n\nred,box,\n", ["red\nbox"], None),
        ("a.jsonl", lines([{"w": ["red", "box"], "n": ["B-X", "O"]}] * 40), ["--text", "w", "--label", "n"],
         "n.jsonl", lines([{"w": ["blue", "red"]}]), ["blue red"], {*product(("B-X", "O"), repeat=2)}),
        ("a.csv", "q,x,y,r\n" + "red,box,the,B\n" * 40, ["--text", "q,x,y", "--label", "r"],
         "n.csv", "q,x,y\nred,the,box\n", ["red"], {0, 1}),
        ("a.json", json.dumps(SQUAD), [], "n.csv", "question,context\nWho?,A cat.\n", ["Who?"], None),
    ],
)  # fmt: skip
def test_a_kept_model_answers_new_inputs(kept, tmp_path, capsys, name, content, words, new, inputs, shown, values):
    model = kept(name, content, *words)
    (tmp_path / new).write_text(inputs)
    capsys.readouterr()
    assert cli.main(["predict", str(model), str(tmp_path / new)]) == 0
    answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [each["input"] for each in answers] == shown
    found = {tuple(v) if isinstance(v := each["prediction"], list) else v for each in answers}
    assert values is None or found <= values
    assert {len(each.get("scores", ())) for each in answers} <= {0, 2}


def test_what_predict_refuses_and_says(kept, tmp_path, capsys, caplog):
    model = kept("a.csv", "t,c\n" + "the red box,warm\nthe blue box,cold\n" * 20, "--text", "t", "--label", "c")
    for words, said in [
        ((tmp_path, "n.csv"), "has no fine-tuned model; `linkbert finetune ... --keep-model` keeps them"),
        ((model, "none.csv"), "none.csv: no such file"),
        ((model, "n.csv"), "n.csv has nothing to answer"),
        ((model, "o.csv"), "o.csv has no column 't' but u"),
    ]:
        (tmp_path / "n.csv").write_text("t\n")
        (tmp_path / "o.csv").write_text("u\nred\n")
        assert cli.main(["predict", str(words[0]), str(tmp_path / words[1])]) == 1
        assert said in capsys.readouterr().err
    (tmp_path / "n.csv").write_text("t\n" + "red " * 30 + "\n")
    assert cli.main(["predict", str(model), *[str(tmp_path / "n.csv"), "--to"], str(tmp_path / "n.csv")]) == 1
    assert "n.csv is the file of the inputs: name another" in capsys.readouterr().err
    assert cli.main(["predict", str(model), str(tmp_path / "n.csv"), "--to", str(tmp_path / "to.jsonl")]) == 0
    assert "texts cut to 16 tokens: 1" in caplog.messages
    [answer] = [json.loads(line) for line in (tmp_path / "to.jsonl").read_text().splitlines()]
    assert answer["scores"].keys() == {"cold", "warm"}
    assert max(answer["scores"], key=answer["scores"].get) == answer["prediction"]
    [same] = linkbert.predict(model, [TextExample("x", ("red " * 30).strip())])
    assert same == answer | {"id": "x"}
    for wrong, said in (
        ("red", "inputs holds a str"),
        (TextExample(1, "red"), "the id or a text of 1 is not a string"),
    ):
        with pytest.raises(ValueError, match=said):
            linkbert.predict(model, [wrong])
    shutil.copytree(*model.glob("models/*"), model / "models" / "other")
    assert cli.main(["predict", str(model), str(tmp_path / "n.csv")]) == 1
    assert "has 2 fine-tuned models, name one: " in capsys.readouterr().err


TABLES = """
[class]
kind = "text"
format = "csv"
metrics = ["accuracy"]
options.columns = { id = "k", a = "t", label = "c" }
files = { train = ["train.csv"], dev = ["dev.csv"] }
[several]
like = "class"
format = "jsonl"
metrics = ["multilabel_f1"]
labels = ["x", "y", "z"]
files = { train = ["several.jsonl"], dev = ["several.jsonl"] }
[tagged]
kind = "tags"
format = "tags"
metrics = ["entity_f1"]
files = { train = ["a.conll"], dev = ["a.conll"] }
[picked]
kind = "choice"
format = "jsonl"
metrics = ["accuracy"]
options.columns = { id = "k", question = "t", options = "o", label = "c" }
files = { train = ["picked.jsonl"], dev = ["picked.jsonl"] }
[asked]
kind = "question"
format = "squad"
metrics = ["exact"]
files = { train = ["squad.json"], dev = ["squad.json"] }
[rated]
like = "class"
metrics = ["spearman"]
options = { columns = { id = "k", a = "t", label = "c" }, number = true }
files = { train = ["rated.csv"], dev = ["rated.csv"] }
"""


@pytest.fixture
def tables(tmp_path):
    for name, content in {
        "own.toml": TABLES, "train.csv": "k,t,c\nz,red,x\n", "dev.csv": "k,t,c\np,red,x\nq,blue,y\n",
        "rated.csv": "k,t,c\np,red,1\nq,blue,2\n", "a.conll": "red\tB-X\nbox\tO\n",
        "several.jsonl": lines([{"k": "p", "t": "a", "c": ["x", "y"]}, {"k": "q", "t": "a", "c": ["z"]}]),
        "picked.jsonl": lines([{"k": "p", "t": "a", "o": ["u", "v"], "c": 1}]), "squad.json": json.dumps(SQUAD),
    }.items():  # fmt: skip
        (tmp_path / name).write_text(content)
    return tmp_path


@pytest.mark.parametrize(
    ("task", "name", "answers", "score"),
    [
        ("class", "a.json", '{"p": "x", "q": "x", "other": "x"}', 0.5),
        ("class", "a.json", json.dumps({"p": "x", "q": "x"}, indent=1), 0.5),
        ("class", "a.jsonl", lines([{"id": "q", "prediction": "y"}, {"id": "p", "label": "x"}]), 1.0),
        ("class", "a.tsv", "index\tprediction\np\tx\nq\tx\n", 0.5),
        ("several", "a.json", '{"p": ["y", "x"], "q": []}', 0.8),
        ("several", "a.csv", "id,prediction\np,x|y\nq,z\n", 1.0),
        ("several", "a.json", '{"p": [1, 1, 0], "q": [0, 0, 1]}', 1.0),
        ("tagged", "a.json", '{"0": "B-X O"}', 1.0),
        ("tagged", "a.json", '{"0": ["S-X", "O"]}', 1.0),
        ("tagged", "a.json", '{"0": ["O", "O"]}', 0.0),
        ("picked", "a.json", '{"p": "B"}', 1.0),
        ("picked", "a.csv", "id,answer\np,1\n", 1.0),
        ("picked", "a.json", '{"p": "u"}', 0.0),
        ("asked", "a.json", json.dumps({str(n): "The cat!" for n in range(40)}), 1.0),
        ("rated", "a.json", '{"p": 5, "q": "7.5"}', 1.0),
        ("asked", "a.json", json.dumps({"answer": {str(n): "cat" for n in range(40)}, "sp": {"0": [["x", 1]]}}), 1.0),
        (
            "asked",
            "a.jsonl",
            lines(
                [
                    {
                        "id": str(n),
                        "predicted_answer": "cat",
                        "predicted_support_idxs": [0],
                        "predicted_answerable": n % 2 == 0,
                    }
                    for n in range(40)
                ]
            ),
            0.5,
        ),
    ],
)
def test_anybodys_answers_are_scored(tables, task, name, answers, score):
    (tables / name).write_text(answers)
    found = linkbert.score_answers(tables / name, f"{tables}/own.toml:{task}", data=tables)
    assert list(found["scores"].values()) == pytest.approx([score])
    assert found["counts"]["ids of other examples"] == ("other" in answers)


def test_a_table_is_named_in_its_file_or_next_to_it(tables, model, monkeypatch, capsys):
    asked = []
    monkeypatch.setattr(linkbert, "finetune", lambda _, tasks, **_options: asked.extend(tasks) or [])
    words = ["finetune", str(model), "--data", str(tables), "--to", str(tables / "to")]
    assert cli.main([*words, "tagged", "--tasks-file", f"{tables}/own.toml"]) == 0
    assert cli.main([*words, f"{tables}/own.toml:tagged"]) == 0
    assert [task.name for task in asked] == ["tagged", "tagged"]
    assert cli.main([*words, "taged", "--tasks-file", f"{tables}/own.toml"]) == 1
    assert "own.toml has no table 'taged'; did you mean 'tagged'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("task", "answers", "said"),
    [
        ("class", '{"p": "x"}', "answers 1 of 2 examples of dev not, as id q"),
        ("class", '{"p": 0, "q": 1}', "answers '0'; the labels of class are x, y"),
        ("class", '[{"id": "p"}]', "row 1: no id nor index nor qid, or no prediction"),
        ("class", '[{"id": "p", "label": "x"}, {"id": "p", "label": "x"}]', "row 2: the id p comes again"),
        ("class", '["x", "y"]', "row 1: no id"),
        ("class", "{}", "answers 2 of 2 examples of dev not"),
        ("class", "no", "a.json is damaged or not of this form (JSONDecodeError: Expecting value"),
        ("rated", '{"p": NaN, "q": 1}', "the answer to p: the label 'nan' is not a number"),
        ("tagged", '{"0": "O"}', "example 0 has 2 words and 1 predicted tags"),
        ("picked", '{"p": "w"}', "the answer 'w' is none of its 2 options"),
        (
            "asked",
            json.dumps({f"{n}": [{"text": "cat"}] for n in range(40)}),
            "the answer to 0 is \"[{'text': 'cat'}]\": g",
        ),
        ("rated", '{"p": [1], "q": [2]}', "the answer to p is '[1]': give one text, label or number"),
    ],
)
def test_answers_that_cannot_be_scored_are_refused(tables, capsys, task, answers, said):
    (tables / "a.json").write_text(answers)
    words = ["score-answers", str(tables / "a.json"), "--task", f"{tables}/own.toml:{task}", "--data", str(tables)]
    assert cli.main(words) == 1
    assert said in capsys.readouterr().err
    assert cli.main([*words[:3], "own", *words[4:]]) == 1


def test_parquet_and_a_folder_that_datasets_saved_are_ones_own_data(tmp_path):
    """The folder is TRAIN/data-*.arrow, streams of Arrow in shards, with dev under a name of its own."""
    table = pa.table({"t": ["a", "b"] * 20, "c": ["red", "blue"] * 20})
    pq.write_table(table, tmp_path / "a.parquet")
    assert [len(part) for part in made_sets(tmp_path / "a.parquet")] == [32, 4, 4]
    for split, shards in (("train", 2), ("validation", 1)):
        (tmp_path / "saved" / split).mkdir(parents=True)
        for shard in range(shards):
            path = tmp_path / "saved" / split / f"data-{shard:05}-of-{shards:05}.arrow"
            with pa.ipc.new_stream(path, table.schema) as writer:
                writer.write_table(table)
    assert [len(part) for part in made_sets(tmp_path / "saved")] == [72, 40, 8]


NAMED = {"_type": "ClassLabel", "names": ["cold", "warm"]}


@pytest.mark.parametrize("where", ["schema", "file"])
@pytest.mark.parametrize(
    ("column", "feature", "gold"),
    [
        ([1, 0] * 20, NAMED, {"warm", "cold"}),
        ([[1], [0, 1]] * 20, {"_type": "Sequence", "feature": NAMED}, {("warm",), ("cold", "warm")}),
        ([[1], [0, 1]] * 20, [NAMED], {("warm",), ("cold", "warm")}),
        ([1, 0, -1, 0] * 10, NAMED, {"warm", "cold"}),
    ],
)
def test_numbers_of_named_classes_are_their_names(tmp_path, where, column, feature, gold):
    info = {"features": {"t": {"_type": "Value", "dtype": "string"}, "c": feature}}
    table = pa.table({"t": [f"a {i}" for i in range(40)], "c": column})
    if where == "schema":
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": info})})
    else:
        (tmp_path / "dataset_info.json").write_text(json.dumps(info))
    pq.write_table(table, tmp_path / "train.parquet")
    with pa.ipc.new_stream(tmp_path / "data-00000-of-00001.arrow", table.schema) as writer:
        writer.write_table(table)
    for path in (tmp_path / "train.parquet", tmp_path / "data-00000-of-00001.arrow"):
        sets = made_sets(path)
        assert {each.gold for part in sets for each in part} == gold
        assert sum(map(len, sets)) == 30 + 10 * (-1 not in column)
    table = {"kind": "text", "metrics": ["f1"], "format": "parquet", "files": {"dev": ["train.parquet"]},
             "options": {"columns": {"a": "t", "label": "c"}, "labels": {"-1": ""}}}  # fmt: skip
    if feature == NAMED:  # a table that says what numbers mean keeps them
        assert {each.gold for each in read_splits(make_task("x", table, "x"), tmp_path, train=False).dev} == {"0", "1"}


def test_answers_are_scored_without_the_train_set_and_by_halves_of_dev(tmp_path, capsys):
    span = [{"char_spans": [[2, 4]]}]
    asked = [{"qid": f"q{n}", "question": "?", "answers": ["cat"], "detected_answers": span} for n in range(4)]
    (tmp_path / "dev").mkdir()
    rows = [{"header": {}}, *({"context": f"A cat {n}.", "qas": [each]} for n, each in enumerate(asked))]
    (tmp_path / "dev" / "SQuAD.jsonl").write_text(lines(rows))
    (tmp_path / "halves").mkdir()
    (tmp_path / "halves" / "inhouse_split_squad.json").write_text('{"dev": [0, 2], "test": [1, 3]}')
    (tmp_path / "a.json").write_text('{"q1": "cat", "q3": "dog"}')
    words = ["score-answers", str(tmp_path / "a.json"), "--task", "squad", "--data", str(tmp_path), "--json"]
    assert cli.main([*words, "--dev-split", str(tmp_path / "halves")]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["split"], found["scores"]["answer_f1"]) == ("test", 0.5)
    assert cli.main([*words[:3], "rte", "--data", str(tmp_path)]) == 1
    assert "no dev set: RTE/dev.tsv" in capsys.readouterr().err


def made_sets(path):
    _, splits = made(path, "t", "c")
    return splits.train, splits.dev, splits.test


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.jsonl", '{"text": "One.", "label": "x"}\n{"text": "\\ud800", "label": "y"}\n', "surrogates not allowed"),
        ("a.json", "[" * 100_000, "nested too deep"),
        ("a.json", "[" + "[], " * 3_000_000 + "0]", "more than 2,097,152 values"),
    ],
)
def test_json_that_no_tokenizer_takes_is_one_line(tmp_path, name, text, said):
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=rf"{name}.* is damaged or not of this form .*{said}"):
        own_task(tmp_path / name, "text", "label")


def test_labels_that_train_does_not_have_are_named_up_to_a_number(tmp_path):
    (tmp_path / "a.csv").write_text("t,c\n" + "".join(f"a {i},b {i}\n" for i in range(600)))
    notes = made(tmp_path / "a.csv", "t", "c", "classification")[1].notes
    assert len([note for note in notes if note.startswith("dev:")]) == SHOWN + 1
    assert any("more labels are not in train: is it the column of labels?" in note for note in notes)


NUMBERS = [f"{i / 4:.2f}" for i in range(30)]
CLASSES = ["cold", "warm"] * 15


def table(separator, labels, head="t{0}c"):
    rows = [f"a {i}{separator}{label}" for i, label in enumerate(labels)]
    return "\n".join([head.format(separator), *rows]) + "\n"


def other(labels, odd):
    """Write the third label otherwise."""
    return [odd if i == 2 else label for i, label in enumerate(labels)]


@pytest.mark.parametrize(
    ("name", "content", "kind", "golds", "without"),
    [
        ("a.csv", table(";", [each.replace(".", ",") for each in NUMBERS]), float, 30, 0),  # 0,25
        ("a.csv", table(",", other(NUMBERS, "NaN")), float, 29, 1),
        ("a.csv", table(",", other(NUMBERS, "NA")), float, 29, 1),
        ("a.jsonl", lines({"t": "a", "c": math.nan if i == 2 else i / 4} for i in range(30)), float, 29, 1),
        ("a.csv", table(",", other(["0.0", "1.0"] * 15, "")), str, 29, 1),  # whole numbers of pandas, with a hole
        ("a.csv", table(",", other(CLASSES, "nan")), str, 29, 1),
        ("a.csv", table(",", other(CLASSES, "NA")), str, 30, 0),  # may be a class
        ("a.csv", table(",", other(["-1", "1"] * 15, "NA")), str, 29, 1),
        ("a.csv", table("\t", CLASSES), str, 30, 0),
        ("a.csv", table("|", CLASSES), str, 30, 0),
        ("a.jsonl", lines({"t": "a", "c": "x"} if i else {"t": "a"} for i in range(30)), str, 29, 1),
        ("a.jsonl", lines({"d": {"data": 1}, "t": "a", "c": "x"} for i in range(30)), str, 30, 0),
    ],
)  # fmt: skip
def test_labels_are_numbers_or_classes_however_they_are_written(tmp_path, name, content, kind, golds, without):
    (tmp_path / name).write_text(content)
    task, splits = made(tmp_path / name, "t", "c")
    found = [*splits.train, *splits.dev, *splits.test]
    assert task.options["number"] == (kind is float)
    assert (len(found), {type(each.gold) for each in found}) == (golds, {kind})
    assert splits.counts.get("train: without a label", 0) == without


@pytest.mark.parametrize("code", ["utf-8-sig", "utf-16"])
@pytest.mark.parametrize("opener", [open, gzip.open])
def test_marks_of_byte_order_and_compression_are_read(tmp_path, code, opener):
    path = tmp_path / ("a.csv.gz" if opener is gzip.open else "a.csv")
    with opener(path, "wb") as file:
        file.write(table(",", CLASSES).replace("\n", "\r\n").encode(code))
    _, splits = made(path, "t", "c")
    assert {each.label for each in splits.train} == {"cold", "warm"}


@pytest.mark.parametrize(("name", "pack"), [("A.CSV", bytes), ("a.Csv.GZ", gzip.compress)])
def test_names_in_capitals_are_read_and_a_cut_file_is_one_line(tmp_path, name, pack):
    data = pack(table(",", CLASSES).encode())
    (tmp_path / name).write_bytes(data)
    _, splits = made(tmp_path / name, "t", "c")
    assert {each.label for each in splits.train} == {"cold", "warm"}
    (tmp_path / "folder").mkdir()
    for split in ("TRAIN", "Valid"):
        (tmp_path / "folder" / (split + name[1:])).write_bytes(data)
    task, where = own_task(tmp_path / "folder", "t", "c")
    assert [len(read_splits(task, where).dev), task.files["dev"][0][:6]] == [len(CLASSES), "Valid."]
    if pack is gzip.compress:
        (tmp_path / name).write_bytes(data[:-9])
        with pytest.raises(ValueError, match=r"a.Csv.GZ is cut off: .* at byte \d+; fetch it again$"):
            made(tmp_path / name, "t", "c")


@pytest.mark.parametrize("suffix", ["", ".gz", ".bz2", ".xz", ".zst"])
def test_a_long_text_is_read_however_it_is_compressed_and_a_bomb_is_not(tmp_path, suffix):
    with fsspec.open(tmp_path / f"a.csv{suffix}", "wb", compression="infer") as file:
        file.write(table(",", CLASSES).encode() + b"long " * 40_000 + b",warm\n")
    _, splits = made(tmp_path / f"a.csv{suffix}", "t", "c")
    assert max(len(each.a) for part in (splits.train, splits.dev, splits.test) for each in part) == 199_999
    if suffix == ".gz":
        (tmp_path / "b.csv.gz").write_bytes(gzip.compress(table(",", CLASSES).encode() + b" " * (65 << 20), 6))
        with pytest.raises(ValueError, match=r"b.csv.gz has [\d,]+ bytes and holds more than 67,"):
            made(tmp_path / "b.csv.gz", "t", "c")
        with zipfile.ZipFile(tmp_path / "RTE.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            for split in ("train", "dev"):
                archive.writestr(f"RTE/{split}.tsv", b" " * (65 << 20))
        with pytest.raises(ValueError, match=r"RTE.zip has [\d,]+ bytes and holds more than 68,"):
            read_splits(find_task("rte"), tmp_path)


@pytest.mark.parametrize(
    ("content", "text", "said"),
    [
        (table(",", [f"note {i}" for i in range(30)]), "t", "30 labels in 30 rows, .*is 'c' the column of labels"),
        (table(",", [str(i) for i in range(30)]), "t", "--kind regression"),
        (table(",", [f'"1,{i + 100}"' for i in range(30)]), "t", "--kind regression"),
        (table(",", CLASSES) + "a, b,warm\n", "t", "a.csv, line 32 has 3 cells for 2 columns"),
        (table(",", CLASSES), "c", "'c' is the text or the label, not both"),
        (table(",", ["\"['a', 'b']\"", "['a']"] * 9), "t", "write lists as JSON lines, or as a.b"),
    ],
)
def test_a_column_that_is_none_of_labels_and_a_row_that_a_comma_cuts_are_refused(tmp_path, content, text, said):
    (tmp_path / "a.csv").write_text(content)
    with pytest.raises(ValueError, match=said):
        made(tmp_path / "a.csv", text, "c")


def test_an_answer_that_a_comma_cuts_is_refused(tmp_path):
    (tmp_path / "a.csv").write_text("id,answer\n1,Paris, France\n")
    with pytest.raises(ValueError, match=r"a.csv, line 2 has 3 cells for 2 columns: put a text with commas"):
        _read_answers(tmp_path / "a.csv")


def test_lists_that_are_neither_labels_nor_tags_are_refused(tmp_path):
    spans = "the label .0, 3, 'X'. is neither a name nor a number"
    for label, said in (
        ([[0, 3, "X"]], spans),
        (["O", "B-X"], "must be the list of its words"),
        (
            [0.2, 0.9],
            "the label 0.2 is neither a name nor a number of a class: write names, or a 0 or 1 for each class",
        ),
        (
            {"name": "cold"},
            "a.jsonl, line 1: the label 'c' is an object of name, not of a 0 or 1 for each class: write",
        ),
    ):
        (tmp_path / "a.jsonl").write_text(lines([{"t": "a b", "c": label}] * 9))
        with pytest.raises(ValueError, match=said):
            made(tmp_path / "a.jsonl", "t", "c")


@pytest.mark.parametrize(
    ("row", "text", "label", "said"),
    [
        ({"text": {"body": "a"}, "c": "cold"}, "text", "c", "'text' is dict, no text: write texts as columns of their"),
        (
            {"question": "Who?", "context": ["a", "b"], "answer": "a"},
            "",
            "",
            r"line 1: .* one text, there is \['a', 'b",
        ),
        ({"question": "Who?", "context": None, "answer": "a"}, "", "", "line 1: a question needs .* there is None: is"),
    ],
)
def test_a_text_that_is_none_is_one_line(tmp_path, row, text, label, said):
    with pytest.raises(ValueError, match=said):
        made(write(tmp_path / "a.jsonl", lines([row] * 40)), text, label)


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.json"])
def test_questions_may_be_rows_whose_answers_are_texts(tmp_path, name):
    rows = [{"question": "who?", "context": f"Ann saw Bob {i}", "answer": "Bob" if i % 3 else ""} for i in range(30)]
    text = {"a.jsonl": lines(rows), "a.json": json.dumps(rows)}.get(name)
    text = text or "\n".join(["question,context,answer", *(",".join(each.values()) for each in rows)])
    (tmp_path / name).write_text(text)
    task, splits = made(tmp_path / name)
    assert task.kind == "question"
    assert {(each.answers, each.spans) for each in splits.train} == {(("Bob",), ((8, 11),)), ((), ())}


def test_a_folder_of_the_hub_is_ones_own_data_and_two_train_sets_are_one_too_many(tmp_path):
    for split, number in (("train", 0), ("train", 1), ("validation", 0)):
        path = tmp_path / "data" / f"{split}-0000{number}-of-0000{1 + (split == 'train')}.parquet"
        path.parent.mkdir(exist_ok=True)
        pq.write_table(pa.table({"t": [f"{split} {i}" for i in range(9)], "c": CLASSES[:9]}), path)
    _, splits = made(tmp_path, "t", "c")
    assert (len(splits.train) + len(splits.test), len(splits.dev)) == (18, 9)
    (tmp_path / "train.csv").write_text(table(",", CLASSES))
    with pytest.raises(ValueError, match=r"several train sets, train.csv and train-\*.parquet: name one"):
        made(tmp_path, "t", "c")


def test_an_id_column_names_examples_and_a_column_may_hold_a_comma(tmp_path):
    (tmp_path / "a.csv").write_text('id,"the, text",c\n' + "".join(f"n{i},a {i},{c}\n" for i, c in enumerate(CLASSES)))
    _, splits = made(tmp_path / "a.csv", "the, text", "c")
    assert {each.id for each in (*splits.train, *splits.dev, *splits.test)} == {f"n{i}" for i in range(30)}


def test_tags_are_read_past_comments_and_words_as_json(tmp_path):
    (tmp_path / "a.txt").write_text("".join(f"# id = {i}\nAnn W-P\nsaw O\n#  O\n\n" for i in range(30)))
    task, splits = made(tmp_path / "a.txt", kind="tags")
    assert splits.train[0].words == ("Ann", "saw", "#")
    assert splits.train[0].tags == ("B-P", "O", "O")
    (tmp_path / "n.jsonl").write_text(lines([{"tokens": ["Ann", "saw"]}]))
    counts = Counter()
    [example] = _read_inputs(task, tmp_path / "n.jsonl", counts)
    assert (example.words, +counts) == (("Ann", "saw"), Counter())
    (tmp_path / "n.txt").write_text("Ann saw Bob\n")
    [example] = _read_inputs(task, tmp_path / "n.txt", counts)
    assert (example.words, +counts) == (("Ann",), {"cells besides the words, not read": 2})


def test_a_choice_may_have_fewer_options(tmp_path, model):
    rows = [f"which {i}?,a,b,{'' if i % 2 else 'c'},{'AB'[i % 2]}" for i in range(30)]
    (tmp_path / "a.csv").write_text("\n".join(["q,A,B,C,label", *rows]))
    task, splits = made(tmp_path / "a.csv", "q,A,B,C", "label")
    assert {len(each.options) for each in splits.train} == {2, 3}
    found = fine_tune(task, splits, model, FineTuneConfig(num_train_epochs=1.0, batch_size=4, max_length=16))
    for example, said in zip(splits.test, found.predictions["test"], strict=True):
        assert len(said.details["scores"]) == len(example.options) > said.value
    whole = [*splits.train, *splits.dev, *splits.test]
    assert kind_of(task).baselines(whole, whole)["chance"]["accuracy"] == pytest.approx((15 / 2 + 15 / 3) / 30)
