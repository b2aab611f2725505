"""What a study's file asks is what is done, under a name of its own; what cannot be is refused before training."""

import contextlib
import json
import re
import shutil
import subprocess
import sys
import zipfile

import numpy as np
import pytest

from linkbert import cli
from linkbert.files import write_json
from linkbert.tasks.compare import groups_of
from linkbert.tasks.results import run_key
from linkbert.trials.arms import Question, read_study
from linkbert.trials.differences import interval, measures_of
from linkbert.trials.study import (
    Run,
    ask_probe,
    device_of,
    expand,
    lacking,
    once_each,
    prepare,
    run_study,
    tokens_per_second,
    unusual,
)


@pytest.mark.parametrize("words", ["held_out = 0.4", "alpha = 0.0", 'anchors = "usable"', "held_out_links = 0.5"])
def test_settings_of_the_one_store_are_settings_of_its_runs(study_file, tmp_path, words):
    plain, own = (
        expand(read_study(study_file(after=after)), tmp_path) for after in ("", f"[stores.toys.settings]\n{words}")
    )
    key, _, value = words.partition(" = ")
    assert str(getattr(own[0].config, key)) == value.strip('"')
    assert not {run.key for run in plain} & {run.key for run in own}


def test_the_word_of_an_arm_is_the_last(study_file):
    file = study_file(after='[arms.half]\nlike = "bert"\nshares = [0.7, 0.3, 0.0]')
    file.write_text(file.read_text().replace("[settings]", "[settings]\nshares = [0.4, 0.4, 0.2]"))
    study = read_study(file)
    assert study.config(study.read_arms["half"])[0].shares == (0.7, 0.3, 0.0)
    assert study.config(study.read_arms["linkbert"])[0].shares == (0.4, 0.4, 0.2)
    for word in ("none", "mlm"):  # what it was called before
        other = file.with_name("other.toml")
        other.write_text(file.read_text().replace("[settings]", f'[settings]\nobjective = "{word}"'))
        with pytest.raises(
            ValueError, match=f"arm bert has baseline=bert, which overrules objective={word}: say it in"
        ):
            read_study(other)


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("seeds = [0, 0]", "", "seed 0 is named twice"),
        ("seeds = [0, 1]", "[arms.bert2]\nlike = 'bert'\nseeds = [1, 1]", "seed 1 is named twice"),
        ('compare = [["bert", "bert"]]', "", "bert is compared with itself"),
        ("", "[arms.long]\nmax_steps = 500", "long: max_steps is not for a study: it takes budget.steps instead"),
        ("", "[arms.other]\nseed = 3", "other: seed is not for a study: it takes seeds instead"),
        ("", "[arms.other]\nmax_time = '5m'", "it takes budget.time instead"),
        ("", "[arms.b2]\nlike = 'bert'\nbatch_size = 4\ntitle = 'BERT'", "has the title of another, 'BERT'"),
        ("", "[arms.far]\nheld_out = 0.4", "arm far has held_out of its own: probes ask all arms alike"),
        ("", '[stores.""]\npath = "x"', "stores"),
        ("", "[stores.b]\npath = 'b'\nweight = 0", "weight"),
        ("", "[stores.b]\npath = 'b'\nweight = nan", "weight"),
        ("", "[probes.reading]", "probe reading: give data = FOLDER"),
        ("", "[probes.reading]\ndata = 'd'\nlearning_rat = 1", "unknown setting 'learning_rat'"),
        ("", "[tasks.squad]\ngrid = 'learning_rte=1'", "learning_rte"),
    ],
)
def test_what_would_not_hold_is_refused(study_file, tmp_path, capsys, before, after, said):
    assert cli.main(["study", str(study_file(before, after)), "--to", str(tmp_path / "made")]) == 1
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert not (tmp_path / "made").exists()


def test_a_store_is_to_be_trained_on_and_a_loop_of_files_ends(study_file, tmp_path):
    file = study_file()
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "loop.toml").write_text('like = "../in/loop.toml"')
    with pytest.raises(ValueError, match="is like itself"):
        read_study(tmp_path / "in" / "loop.toml")
    file.write_text(file.read_text().replace("[stores.toys]", "[stores.toys]\ntrain = false"))
    with pytest.raises(ValueError, match="no store is trained on"):
        read_study(file)


def test_the_graph_of_a_probe_is_made_with_those_of_arms(study_file):
    study = read_study(study_file(after='[probes.link-gain]\ngraph = "random"'))
    assert [name for name, _ in lacking(study)] == ["toys's graph random"]


def test_data_in_an_archive_name_an_answer_and_a_task_of_ones_own_is_found_from_anywhere(
    study_file, toys, tmp_path, monkeypatch
):
    names, table = set(), (toys.parent / "sides.toml").read_text()
    (tmp_path / "own.toml").write_text(re.sub(r'"(\w+\.tsv)"', r'"sides/\1"', table))
    for text in ("", "99\tword10 .\tlow\n"):
        with zipfile.ZipFile(tmp_path / "sides.zip", "w") as archive:
            for name in ("train.tsv", "dev.tsv", "test.tsv"):
                archive.writestr(f"sides/{name}", (toys.parent / name).read_text() + text * (name == "dev.tsv"))
        file = study_file(after=f'[tasks.sides]\nname = "{tmp_path}/own.toml"\ndata = "{tmp_path}/sides.zip"')
        run = expand(read_study(file), tmp_path)[0]
        names.add(run.answer(run.study.questions[-1]).name)
    assert len(names) == 2
    monkeypatch.chdir(toys.parent)
    for table in ('[tasks.sides]\nname = "sides.toml"\ndata = "."', '[tasks."sides.toml:sides"]\ndata = "."'):
        (asked,) = (each for each in read_study(study_file(after=table)).questions if each.kind == "task")
        with monkeypatch.context() as context:
            context.chdir(tmp_path)
            assert asked.task.name == "sides"


@pytest.mark.slow
def test_answers_stay_when_the_data_they_were_had_from_are_moved(study_file, toys, tmp_path, capsys):
    data = shutil.copytree(toys.parent, tmp_path / "data", ignore=lambda *_: ["store"])
    table = f'[tasks.sides]\nname = "{data}/sides.toml"\ndata = "{data}"\nnum_train_epochs = 1\nmax_length = 16'
    file, made = study_file("budget.steps = 1", table), tmp_path / "made"
    assert cli.main(["study", str(file), "--to", str(made)]) == 0
    before = (made / "study.json").read_bytes()
    (data / "test.tsv").rename(tmp_path / "test.tsv")
    assert cli.main(["study", str(made)]) == 0
    assert (made / "study.json").read_bytes() == before
    asked = json.loads((made / "asked.json").read_text())
    asked["tasks"]["sides"]["num_train_epochs"] = 2  # another question: it has no answer
    (made / "asked.json").write_text(json.dumps(asked))
    assert cli.main(["study", str(made)]) == 0
    assert '"sides"' not in (made / "study.json").read_text().partition('"measures"')[2]
    capsys.readouterr()


@pytest.mark.parametrize(
    ("found", "groups"),
    [
        ({"rows": {"x": [True, False, True]}, "groups": {"x": ["a", "b", "a"]}}, [0, 1, 0]),
        ({"rows": {"x": np.array([0, 255, 7], np.uint8)}, "groups": {"x": [(1, 2), None, (1, 2)]}}, [0, 1, 0]),
        ({"rows": {"x": [1, 2, 3]}}, [0, 1, 2]),
        ({}, None),
    ],
)
def test_a_probe_of_ones_own_may_answer_in_its_own_types(study_file, tmp_path, monkeypatch, found, groups):
    study = read_study(study_file(after="[probes.own]\nname = 'own_probe:lengths'"))
    question = next(each for each in study.questions if each.label == "own")
    runs = expand(study, tmp_path)[:2]
    monkeypatch.setattr("linkbert.registry.find", lambda *_: lambda *_: {"measures": {"x": np.float32(0.5)}} | found)
    for run in runs:
        path = run.answer(question)
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(ask_probe(run, question, path, {})))
    measure = next(each for each in measures_of(runs) if each.label == "own")
    held = measure.answers["linkbert", 0]
    assert (held and np.unique(held["groups"], return_inverse=True)[1].tolist()) == groups
    assert not held or held["rows"].dtype == np.float64
    assert measure.values["linkbert"] == {0: 0.5, 1: 0.5}


def test_rows_without_as_many_groups_are_refused(study_file, tmp_path, monkeypatch):
    run = expand(read_study(study_file()), tmp_path)[0]
    found = {"measures": {}, "rows": {"x": [1.0]}, "groups": {"x": [1, 2]}}
    monkeypatch.setattr("linkbert.registry.find", lambda *_: lambda *_: found)
    question = Question(label="own", kind="probe", name="own_probe:lengths")
    with pytest.raises(ValueError, match="probe own: rows and groups of x are not equally many"):
        ask_probe(run, question, tmp_path / "own.json", {})


def test_a_probe_computes_where_the_runs_do(study_file, tmp_path, monkeypatch):
    given = []
    monkeypatch.setattr("linkbert.registry.find", lambda *_: lambda *each: given.append(each[2]) or {"measures": {}})
    run = expand(read_study(study_file()), tmp_path)[0]
    ask_probe(run, run.study.questions[0], tmp_path / "own.json", device_of(run, 1))
    assert given[0]["threads"] == 1


def test_documents_are_counted_and_what_does_not_vary_has_no_interval():
    lines = {str(i): {"group": str(i // 4)} for i in range(8)}
    assert len(set(groups_of([[lines], [lines]], [*lines]))) == 2
    assert len(set(groups_of([[{key: {} for key in lines}]], [*lines]))) == 8
    assert interval([5.0, 5.0]) == (5.0, None, None, None)
    assert interval([0.0, 0.0]) == (0.0, 0.0, 0.0, 1.0)
    assert interval([1.0], np.ones((100, 1)), 2) == (1.0, None, None, None)
    assert interval([1.0], np.ones((100, 1)), 1) == (1.0, None, None, None)


def test_a_measurement_of_another_process_holds(study_file, tmp_path, monkeypatch):
    study = read_study(study_file('budget.time = "10s"'))
    name = f"timing-{run_key(unusual(study.config(study.read_arms['bert'])[0].model_dump(mode='json')))}.json"

    @contextlib.contextmanager
    def waited(path, **_):  # and the other one ended
        write_json(tmp_path / name, {"tokens_per_second": 7000.0})
        yield path

    monkeypatch.setattr("linkbert.trials.study.replacing", waited)
    monkeypatch.setattr("linkbert.pretraining.run.pretrain", lambda *_, **__: pytest.fail("measured twice"))
    assert tokens_per_second(study, tmp_path, "bert") == 7000


def test_what_a_kill_left_of_the_first_file_is_no_other_study(study_file, tmp_path):
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "asked.json.part").touch()
    assert len(prepare(read_study(study_file()), tmp_path / "made")) == 4


def test_every_process_of_torchrun_does_a_run_of_two_names_once(study_file, tmp_path, monkeypatch):
    done: list[Run] = []
    monkeypatch.setattr("linkbert.trials.study.do_run", lambda run, **_: done.append(run))
    study = read_study(study_file(after='[arms.twin]\nlike = "bert"\ntitle = "Twin"'))
    assert len(expand(study, tmp_path)) == 6
    assert len(once_each(expand(study, tmp_path))) == 4
    for rank in ("0", "1"):
        monkeypatch.setenv("RANK", rank)
        run_study(study, tmp_path / "made", report=lambda _: None)
    assert len(done) == 8


@pytest.mark.slow
def test_a_job_array_is_all_that_is_printed(study_file, toys, tmp_path):
    own = shutil.copytree(toys, tmp_path / "own")
    file = study_file(after="[arms.random-links]")
    file.write_text(file.read_text().replace(f'path = "{toys}"', f'path = "{own}"'))
    shutil.rmtree(own / "graphs" / "random", ignore_errors=True)
    words = [sys.executable, "-m", "linkbert", "study", str(file), "--to", str(tmp_path / "made"), "--print-jobs"]
    ended = subprocess.run(words, capture_output=True, text=True, check=True)
    assert ended.stdout.startswith("#!/bin/bash\n#SBATCH")
    assert "edges" in ended.stderr


@pytest.mark.slow
def test_an_arm_that_diverges_is_named_and_others_are_done(study_file, tmp_path, capsys, caplog):
    file = study_file("seeds = [0]", "[arms.wild]\nlearning_rate = 1e30\nwarmup_steps = 0.0\nseeds = [0]")
    assert cli.main(["study", str(file), "--to", str(tmp_path / "made")]) == 0
    said = caplog.text + capsys.readouterr().err
    assert "wild, seed 0, is left undone: step " in said
    found = json.loads((tmp_path / "made" / "study.json").read_text())
    assert (found["done"], found["runs"]) == (2, 3)
    assert cli.main(["study", str(file), "--to", str(tmp_path / "made")]) == 1  # alone now: it is an error
    assert "wild, seed 0: step " in capsys.readouterr().err
