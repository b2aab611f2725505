"""Suites from the command line: runs done once, grids on dev alone, models of other tasks, several processes, kills."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from linkbert import cli
from linkbert.files import UMASK, locked
from linkbert.instances.vocabulary import SPECIAL, Vocabulary
from linkbert.tasks import splits, suite, table
from linkbert.tasks.examples import Prediction, QuestionExample, Splits
from linkbert.tasks.results import choose_scores, gather_submission, read_results, summary
from linkbert.tasks.settings import FineTuneConfig
from linkbert.tasks.table import Task, find_task

WORDS = ("red", "blue", "the", "box", "is", "not")
QUICK = ["batch_size=8", "max_length=16", "threads=1", "precision=fp32", "learning_rate=5e-3", "hidden_dropout_prob=0"]


def tables():
    """Two tasks of texts, the second scored with the first one's models."""
    shared = {"kind": "text", "format": "tsv", "metrics": ("accuracy",), "suite": "further",
              "options": {"columns": {"id": "id", "a": "a", "label": "label"}}}  # fmt: skip
    files = {split: (f"{split}.tsv",) for split in ("train", "dev", "test")}
    return {
        "colour": Task("colour", "Colour", files=files, settings={"epochs": 3}, **shared),
        "shade": Task("shade", "Shade", files={"test": ("shade.tsv",)}, model_of=("colour",), **shared),
    }


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with a random encoder and the files of two tasks."""
    import torch  # here, since a test shows that a finished suite needs none
    from transformers import BertConfig, BertModel

    monkeypatch.setattr(table, "tasks", tables)
    Vocabulary(SPECIAL + WORDS).save(tmp_path / "encoder")
    torch.manual_seed(0)
    config = BertConfig(vocab_size=len(SPECIAL + WORDS), hidden_size=32, num_hidden_layers=1, num_attention_heads=2,
                        intermediate_size=64, max_position_embeddings=32, initializer_range=0.2)  # fmt: skip
    BertModel(config).save_pretrained(tmp_path / "encoder")
    for name, size in (("train", 24), ("dev", 8), ("test", 8), ("shade", 6)):
        rows = [f"{name}{i}\tthe box is{' not' * (i % 3)} {WORDS[i % 2]}\t{WORDS[i % 2]}" for i in range(size)]
        (tmp_path / "data").mkdir(exist_ok=True)
        (tmp_path / "data" / f"{name}.tsv").write_text("\n".join(["id\ta\tlabel", *rows]) + "\n")
    return tmp_path


def run(folder, *words, tasks="colour"):
    quick = [word for word in QUICK if "--grid" not in words or "learning_rate" not in word]
    command = ["evaluate", str(folder / "encoder"), "--tasks", tasks, "--data", str(folder / "data"),
               "--to", str(folder / "to"), *quick, *words]  # fmt: skip
    return cli.main(command)


def test_runs_are_scored_kept_and_not_done_again(folder, capsys, monkeypatch):
    assert run(folder, "--seeds", "2", "num_train_epochs=40") == 0
    out = capsys.readouterr().out
    assert "Colour, test, 2 runs of" in out
    assert "majority 50.00, chance 50.00" in out
    records = list(read_results(folder / "to").values())
    assert [record["seed"] for record in records] == [0, 1]
    first = records[0]
    assert first["scores"]["dev"] == {"accuracy": 1.0}
    assert first["labels"] == ["blue", "red"]
    assert first["settings"]["num_train_epochs"] == 40
    assert set(first["hashes"]) == {"train.tsv", "dev.tsv", "test.tsv"}
    assert first["intervals"]["test"] == {"accuracy": [1.0, 1.0]}
    lines = (folder / "to" / first["predictions"]["test"]).read_text().splitlines()
    assert json.loads(lines[1])["gold"] == json.loads(lines[1])["prediction"] == "blue"

    reads = []
    monkeypatch.setattr(suite, "read_results", lambda *at, **of: reads.append(of["grid"]) or read_results(*at, **of))
    monkeypatch.setattr(suite, "do_run", None)  # nothing is left to do
    assert run(folder, "--seeds", "2", "num_train_epochs=40", "threads=2") == 0
    assert capsys.readouterr().out == out
    assert reads == [False, False]  # the file is read once a stage, not once a run, and not that of grids without one


def test_a_dataset_of_the_hub_is_fetched_and_is_the_same_as_its_copy(folder, monkeypatch):
    asked = []

    def snapshot_download(name, **options):
        asked.append((name, options))
        return str(folder / "snapshot")

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    (folder / "snapshot").mkdir()
    for path in (folder / "data").iterdir():  # as in Hugging Face's cache
        (folder / "snapshot" / path.name).symlink_to(path)
    assert run(folder, "--data", "me/colours", tasks="shade") == 0
    [(name, options)] = asked
    assert (name, options["repo_type"], options["token"]) == ("me/colours", "dataset", False)
    patterns = options["allow_patterns"]
    assert {"shade.tsv", "further/shade.tsv.gz", "train.tsv"} <= set(patterns)  # and those of the model's task
    assert {Path(each).name.partition(".")[0] for each in patterns} == {"shade", "train", "dev", "test"}
    monkeypatch.setattr(suite, "do_run", None)
    assert run(folder, tasks="shade") == 0  # from its copy: nothing is left to do
    assert len(asked) == 1


def test_of_a_suite_what_the_hubs_dataset_is_known_to_hold_is_fetched(tmp_path, capsys, monkeypatch):
    asked = []

    def offline(_name, *, allow_patterns, **_):
        asked.extend(allow_patterns)
        raise OSError("offline")

    monkeypatch.setattr("huggingface_hub.snapshot_download", offline)
    words = ["--suite", "further", "--data", "rajpurkar/squad", "--to", str(tmp_path / "to")]
    (tmp_path / "config.json").write_text("{}")
    assert cli.main(["evaluate", str(tmp_path), *words]) == 1
    assert capsys.readouterr().err.startswith("linkbert evaluate: --data rajpurkar/squad: no such folder")
    assert "plain_text/train-*.parquet" in asked
    assert not [each for each in asked if "snli" in each]  # its files have the same names
    asked.clear()
    assert cli.main(["tasks", "--data", "cais/mmlu", "--json"]) == 0  # told without a look
    listed = json.loads(capsys.readouterr().out)
    assert {each["name"] for each in listed if each["files"]} == {each for each in table.tasks() if "mmlu" in each}
    assert not asked


def test_another_setting_seed_or_file_is_another_run(folder):
    assert run(folder, "num_train_epochs=1") == 0
    assert run(folder, "num_train_epochs=2") == 0
    assert run(folder, "num_train_epochs=2", "seed=5") == 0
    with (folder / "data" / "train.tsv").open("a") as file:
        file.write("more\tred\tred\n")
    splits._sha256.cache_clear()
    suite._read.cache_clear()
    assert run(folder, "num_train_epochs=2", "seed=5") == 0
    assert [(r["settings"]["num_train_epochs"], r["seed"]) for r in read_results(folder / "to").values()] == [
        (1, 0),
        (2, 0),
        (2, 5),
        (2, 5),
    ]


@pytest.mark.slow
def test_a_grid_is_chosen_on_dev_and_never_reads_test(folder, capsys, monkeypatch):
    asked = []
    done = suite.do_run

    def watched(run, progress):
        asked.append((run.grid, run.settings.learning_rate, run.settings.seed))
        done(run, progress)

    monkeypatch.setattr(suite, "do_run", watched)
    assert run(folder, "--grid", "learning_rate=1e-9,5e-3;epochs=40", "--seeds", "2") == 0
    assert asked == [(True, 1e-9, 0), (True, 5e-3, 0), (False, 5e-3, 0), (False, 5e-3, 1)]
    tried = list(read_results(folder / "to", grid=True).values())
    assert [list(record["scores"]) for record in tried] == [["dev"], ["dev"]]
    assert not list((folder / "to" / "predictions").glob(f"{tried[0]['key']}-test*"))
    assert "settings chosen on dev among 2: learning_rate=0.005 num_train_epochs=40" in capsys.readouterr().out


@pytest.mark.slow
def test_a_run_that_another_process_is_at_is_refused(folder, capsys):
    assert run(folder, "num_train_epochs=1") == 0
    (record,) = read_results(folder / "to").values()
    (folder / "to" / "results.jsonl").unlink()
    with locked(folder / "to" / "predictions" / record["key"]):
        assert run(folder, "num_train_epochs=1") == 1
    assert "another process is writing" in capsys.readouterr().err
    assert run(folder, "num_train_epochs=1") == 0


def test_dev_examples_that_are_too_few_for_a_grid_are_named(folder, capsys):
    assert run(folder, "--grid", "learning_rate=1e-9,2e-9;epochs=1") == 0
    said = "2 of them lie within the best one's 95 % interval: 8 dev examples do not tell them apart"
    assert said in capsys.readouterr().out


@pytest.mark.slow
def test_a_task_without_a_model_of_its_own_takes_the_other_ones(folder):
    assert run(folder, "num_train_epochs=40", tasks="shade") == 0
    trained, scored = read_results(folder / "to").values()
    assert (trained["task"], scored["task"], scored["source"]) == ("colour", "shade", trained["key"])
    assert scored["scores"] == {"test": {"accuracy": 1.0}}
    assert (folder / "to" / "models" / trained["key"] / "model.safetensors").is_file()
    assert scored["steps"] == 0
    assert scored["settings"] == trained["settings"]  # the model's, where its table has others
    assert scored["hashes"] == trained["hashes"] | {"shade.tsv": scored["hashes"]["shade.tsv"]}


def test_the_papers_grids_are_those_of_suite_and_size():
    tiny, base, large = (
        suite.read_grid("paper", Task("", "", "question", "", (), "mrqa"), h) for h in (128, 768, 1024)
    )
    assert (len(tiny), len(base), len(large)) == (18, 8, 8)
    assert base[0] == {"learning_rate": 2e-5, "batch_size": 12, "num_train_epochs": 2}
    assert {point["batch_size"] for point in large} == {16, 32}
    some = suite.read_grid("paper", Task("", "", "question", "", (), "mrqa"), 768, {"learning_rate"})
    assert (len(some), {"learning_rate"} & {*some[0]}) == (4, set())  # what is given is not chosen
    choice = suite.read_grid("paper", Task("", "", "choice", "", (), "further"), 768)
    assert {point["learning_rate"] for point in choice} == {1e-5, 2e-5, 3e-5}


def test_large_encoders_have_the_settings_of_the_authors_large_scripts():
    large, base = (suite.own_settings(find_task("medqa"), width) for width in (1024, 768))
    assert [large[key] for key in ("batch_size", "num_train_epochs", "warmup_steps", "max_length")] == [64, 6, 500, 512]
    assert (base["batch_size"], base["warmup_steps"]) == (32, 100)
    scripts = suite.read_grids()["scripts"]["large"]
    named = [each.name for name in ("mrqa", "blurb", "medqa") for each in table.suite(name)]
    assert sorted(scripts) == sorted(named)
    for settings in scripts.values():
        FineTuneConfig().replace(**settings)  # known names, allowed values
    point = suite.read_grid("paper", find_task("pubmedqa"), 1024)[0]
    assert (point["num_train_epochs"], point["warmup_steps"]) == (23, 0.5)
    assert suite.read_grid("paper", find_task("pubmedqa"), 768, {"warmup_steps"})[0].keys() == {
        "learning_rate", "batch_size", "num_train_epochs"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--grid", "learning_rat=1,2"], "unknown setting 'learning_rat'; did you mean 'learning_rate'?"),
        (["--grid", "learning_rate"], "--grid 'learning_rate' cannot be read"),
        (["--grid", ""], "--grid '' cannot be read"),
        (
            ["--grid", "num_train_epochs=1,2;seed=1,2"],
            "seed is a setting of all runs (more seeds: --seeds N); leave it out",
        ),
        (
            ["--grid", "num_train_epochs=1,2", "num_train_epochs=3"],
            "epochs is a setting of all runs (more seeds: --seeds N); leave it out",
        ),
        (["epoch=3"], "unknown setting 'epoch'; did you mean 'num_train_epochs'?"),
        (["--seeds", "0"], "--seeds and --parallel take 1 or more"),
    ],
)
def test_a_wrong_word_is_said_before_any_run(folder, capsys, words, message):
    assert run(folder, *words) == 1
    assert message in capsys.readouterr().err
    assert not (folder / "to").exists()


def test_what_is_odd_about_a_set_is_printed(folder, capsys):
    with (folder / "data" / "dev.tsv").open("a") as file:
        file.write("dev0\t\tred\ndev9\tthe box is red\t\n")
    assert run(folder, "num_train_epochs=1") == 0
    line = capsys.readouterr().out.splitlines()[-1]
    assert line == "  counted: dev: empty texts 1; dev: ids that come again 1; dev: texts that train has, too 8; " + (
        "dev: without a label 1; test: texts that train has, too 8"
    )


def test_a_file_that_is_not_there_is_said_before_any_run(folder, capsys):
    (folder / "data" / "dev.tsv").unlink()
    assert run(folder) == 1
    assert "no dev set: dev.tsv" in capsys.readouterr().err


def test_a_folder_that_cannot_be_written_is_said_before_any_run(folder, capsys, monkeypatch):
    monkeypatch.setattr("linkbert.tasks.finetune.fine_tune", None)
    (folder / "to").mkdir()
    (folder / "to" / "predictions").write_text("")
    assert run(folder) == 1
    assert "predictions: file exists; check the path" in capsys.readouterr().err


def test_kept_models_are_named_and_anyone_s_to_read(folder, capsys):
    assert run(folder, "num_train_epochs=1", "early_stop=1", "--keep-model") == 0
    (record,) = read_results(folder / "to").values()
    out = capsys.readouterr().out
    assert f"  kept: models/{record['key']}" in out
    assert "the model of epoch 1 of 1, the best on dev" in out
    mode = (folder / "to" / record["kept"] / "model.safetensors").stat().st_mode
    assert mode & 0o777 == 0o666 & ~UMASK


def test_a_file_in_place_of_the_results_is_said_before_any_run(folder, capsys):
    (folder / "to").write_text("")
    assert run(folder) == 1
    assert "to: file exists; check the path" in capsys.readouterr().err


SCRIPT = """
import sys, time
sys.path.insert(0, {here!r})
import test_suite
from linkbert import cli
from linkbert.tasks import metrics, suite, table
table.tasks = test_suite.tables
if __name__ == "__main__":
    done = suite.do_run
    def slow(run, **more):
        done(run, **more)
        print("done", flush=True)
        time.sleep(60 * (run.settings.seed == 1))
    if "slow" in sys.argv:
        suite.do_run = slow
    sys.exit(cli.main([word for word in sys.argv[1:] if word != "slow"]))
"""


@pytest.mark.slow
def test_a_kill_loses_at_most_the_run_in_progress(folder):
    script = folder / "script.py"
    script.write_text(SCRIPT.format(here=os.path.dirname(__file__)))
    words = ["evaluate", "encoder", "--tasks", "colour", "--data", "data", "--to", "to", *QUICK, "num_train_epochs=1"]
    process = subprocess.Popen([sys.executable, str(script), "slow", *words, "--seeds", "3"], cwd=folder,
                               stdout=subprocess.PIPE, text=True)  # fmt: skip
    assert [process.stdout.readline(), process.stdout.readline()] == ["done\n", "done\n"]
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    before = list(read_results(folder / "to").values())
    assert [record["seed"] for record in before] == [0, 1]
    done = subprocess.run([sys.executable, str(script), *words, "--seeds", "3"], cwd=folder, check=True)
    assert done.returncode == 0
    assert list(read_results(folder / "to").values())[:2] == before
    assert [record["seed"] for record in read_results(folder / "to").values()] == [0, 1, 2]


@pytest.mark.slow
def test_a_finished_suite_is_shown_without_torch(folder):
    assert run(folder, "num_train_epochs=1") == 0
    script = folder / "script.py"
    last = (
        "    status = cli.main(sys.argv[1:])\n    print([m for m in ('torch', 'transformers') if m in sys.modules])\n"
    )
    script.write_text(SCRIPT.partition("    done =")[0].format(here=os.path.dirname(__file__)) + last)
    words = ["evaluate", "encoder", "--tasks", "colour", "--data", "data", "--to", "to", *QUICK, "num_train_epochs=1"]
    done = subprocess.run([sys.executable, str(script), *words], cwd=folder, check=True, capture_output=True, text=True)
    assert "Colour, test, 1 run of" in done.stdout
    assert done.stdout.endswith("[]\n")


@pytest.mark.slow
def test_runs_side_by_side_give_what_they_give_one_after_the_other(folder):
    script = folder / "script.py"
    script.write_text(SCRIPT.format(here=os.path.dirname(__file__)))
    words = ["evaluate", "encoder", "--tasks", "colour", "--data", "data", *QUICK, "num_train_epochs=2", "--seeds", "2"]
    for to, parallel in (("one", "1"), ("two", "2")):
        command = [sys.executable, str(script), *words, "--to", to, "--parallel", parallel]
        subprocess.run(command, cwd=folder, check=True, timeout=240)
    one, two = ({r["key"]: r["scores"] for r in read_results(folder / name).values()} for name in ("one", "two"))
    assert one == two
    assert len(one) == 2


@pytest.mark.slow
def test_a_test_set_without_labels_becomes_a_file_for_glue_s_server(folder, monkeypatch, caplog):
    colour = dataclasses.replace(tables()["colour"], submission="Colour")
    wnli, ax = (dataclasses.replace(colour, name=n, submission=s) for n, s in (("wnli", "WNLI"), ("ax", "AX")))
    monkeypatch.setattr(table, "tasks", lambda: {"colour": colour, "wnli": wnli, "ax": ax})
    monkeypatch.setattr("linkbert.tasks.results.tasks", table.tasks)
    (folder / "data" / "test.tsv").write_text("id\ta\n0\tthe box is red\n1\tthe box is not blue\n")
    assert run(folder, "num_train_epochs=40") == 0
    record = next(iter(read_results(folder / "to").values()))
    assert "test" not in record["scores"]
    written = folder / "to" / "submission" / "Colour.tsv"
    assert written.read_text() == "index\tprediction\n0\tred\n1\tblue\n"
    (folder / "to" / "submission" / "RTE.tsv").touch()  # of another model: an archive is of one
    assert run(folder, "num_train_epochs=1") == 0  # worse on dev
    assert [path.name for path in written.parent.iterdir()] == ["Colour.tsv"]
    assert written.read_text() == "index\tprediction\n0\tred\n1\tblue\n"
    assert "submission is not whole, as GLUE's server wants it: run --tasks wnli,ax" in caplog.text
    answers = folder / "to" / record["predictions"]["test"]
    answers.write_text(answers.read_text()[:-10])
    with pytest.raises(ValueError, match=r"holds 1 of 2 answers: remove its line in results\.jsonl"):
        gather_submission(folder / "to", record["model_hash"])
    assert written.read_text() == "index\tprediction\n0\tred\n1\tblue\n"
    only = record | {"scores": {}}  # of a task without sets of its own but this one
    assert "  not scored: its labels are not public" in list(summary([only]))
    assert choose_scores([only]) == []


def scored(task, examples, answers):
    """Score answers as a run does; return its record."""
    splits = Splits(examples, examples, examples)
    run = suite.Run(task, "m", Path(), "", FineTuneConfig(), {}, Path(), ())
    record = {key: {} for key in ("scores", "groups", "types", "intervals", "baselines", "predictions")} | {"notes": []}
    predictions = [Prediction(each.id, answer) for each, answer in zip(examples, answers, strict=True)]
    suite._score(run, splits, "test", predictions, record)
    return record


def test_questions_with_and_without_an_answer_are_scored_apart(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    examples = [QuestionExample("0", "?", "a cat sat", ("cat",)), QuestionExample("1", "?", "a cat sat")]
    record = scored(find_task("squad2"), examples, ["cat sat", ""])
    assert record["groups"]["test"] == {
        "HasAns": {"examples": 1, "answer_f1": pytest.approx(2 / 3), "exact": 0.0},
        "NoAns": {"examples": 1, "answer_f1": 1.0, "exact": 1.0},
    }


def test_of_mrqa_both_kinds_of_answers_are_scored(tmp_path, monkeypatch):
    """The file says "the cat", and "cat" is what was found in the context; where both agree there is one score."""
    monkeypatch.chdir(tmp_path)
    examples = [QuestionExample("0", "?", "a cat sat", ("cat sat",), ((2, 5),))]
    record = scored(find_task("newsqa"), examples, ["cat"])
    assert record["scores"]["test"] == {"answer_f1": pytest.approx(2 / 3), "exact": 0.0}
    assert record["groups"]["test"] == {"detected_answers": {"examples": 1, "answer_f1": 1.0, "exact": 1.0}}
    assert record["notes"][0].startswith("F1 of every answer, as MRQA's script scores")
    record = scored(find_task("newsqa"), [dataclasses.replace(examples[0], answers=("cat",))], ["cat"])
    assert (record["groups"], len(record["notes"])) == ({}, 1)
