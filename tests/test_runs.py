"""Runs whose files are written by hand."""

import json
from dataclasses import asdict, replace

import pytest

from linkbert.config import make_config
from linkbert.pretraining.scores import Gain, Scores, wilson
from linkbert.views.runs import runs_section

SCORES = Scores(
    pairs=90, mlm_loss=4.5, mlm_accuracy=wilson(30, 100), baseline_accuracy=wilson(5, 100), baseline_token=7,
    relation_accuracy=wilson(60, 90), relations={"contiguous": wilson(25, 30), "random": wilson(20, 30)},
    confusion={"contiguous": {"contiguous": 25, "random": 5}, "random": {"contiguous": 10, "random": 20}},
    too_few=[], mlm_losses={"contiguous": 4.25, "random": 4.75}, link_gain=Gain(0.034, 0.012, 0.056, 30),
)  # fmt: skip


@pytest.fixture
def make_run(tmp_path):
    def make(name, *settings, steps=2, scores=(), **store):
        run = tmp_path / name
        run.mkdir(parents=True)
        config = make_config("tiny", settings).model_dump(mode="json")
        record = {"format": 1, "config": config, "store": {"path": "/data/wiki"} | store,
                  "versions": {"linkbert": "0"}, "created": "2026-01-01", "resumed": []}  # fmt: skip
        (run / "run.json").write_text(json.dumps(record))
        lines = [
            {"step": step, "learning_rate": step / 1e4, "mlm_loss": 9.0 - step, "relation_accuracies": {"random": 0.5},
             "tokens": 1_000 * step, "elapsed": 60.0 * step}
            for step in range(1, steps + 1)
        ]  # fmt: skip
        lines += [{"step": step, "evaluation": {"step": step, **asdict(each)}, "elapsed": 0.0} for step, each in scores]
        (run / "journal.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        return run

    return make


def test_the_table_compares_scores_and_names_the_settings_that_differ(make_run):
    first = make_run("with", scores=[(1, replace(SCORES, mlm_loss=5.0)), (2, SCORES)])
    head, *rows = runs_section([first, make_run("without", "seed=3")]).table
    assert head == ["", "with", "without"]
    found = {row[0].strip(): row[1:] for row in rows}
    assert found["step"] == ["2", "2"]
    assert found["tokens seen"] == ["2.0k", "2.0k"]
    assert found["training: MLM loss"] == ["7.000", "7.000"]
    assert found["MLM loss"] == ["4.500", "-"]
    assert found["in random pairs"] == ["4.750", "-"]
    assert found["random"] == ["66.7 % (48.8 to 80.8; 20 of 30)", "-"]
    assert found["link gain, nats"] == ["+0.034 (+0.012 to +0.056; 30 pairs)", "-"]
    assert found["seed"] == ["0", "3"]
    assert found["always the commonest relation right"] == ["50.0 %", "-"]
    parts = [row[0] for row in rows if not any(row[1:])]
    assert parts == ["settings that differ", "settings of all"]
    assert [row[0] for row in rows][-rows[::-1].index(["settings of all", "", ""]) - 2] == "seed"
    assert {"init", "scope", "budget", "preset"} <= {row[0] for row in rows}
    assert not {"linked", "training: learning rate", "alpha"} & found.keys()


@pytest.mark.parametrize(
    "line",
    [
        {"learning_rate": 0.1},
        {"learning_rate": 0.1, "tokens": "many", "elapsed": 1.0},
        {"learning_rate": 0.1, "tokens": 1, "elapsed": None},
        {"evaluation": 3},
        {"evaluation": {"mlm_loss": 1.0}},
        {"evaluation": {"mlm_loss": 1.0, "link_gain": [1]}},
        {"evaluation": asdict(SCORES) | {"relations": None}},
    ],
)
def test_a_journal_that_says_nonsense_is_one_line_with_its_file(make_run, line):
    with (run := make_run("run")).joinpath("journal.jsonl").open("a") as file:
        file.write(json.dumps({"step": 3} | line) + "\n")
    with pytest.raises(ValueError, match=r"run/journal\.jsonl is damaged") as refusal:
        runs_section([run])
    assert "\n" not in str(refusal.value)


def test_an_objective_without_masked_tokens_is_shown(make_run):
    run = make_run("own")
    path = run / "journal.jsonl"
    path.write_text(path.read_text().replace("mlm_loss", "x_loss"))
    found = dict(runs_section([run]).table[1:])
    assert (found["step"], found["training: x loss"]) == ("2", "7.000")


def test_a_run_that_has_just_started_and_two_of_one_name(make_run):
    rows = runs_section([make_run("a/run", steps=0), make_run("b/run", steps=1)]).table
    assert [name[-5:] for name in rows[0][1:]] == ["a/run", "b/run"]
    assert rows[1] == ["step", "-", "1"]
    alone = runs_section([make_run("c/run", steps=0)])
    assert (alone.table[:2], alone.lines, alone.plots) == ([["", "run"], ["settings", ""]], ["run has no scores"], [])


def test_two_stores_of_one_name_are_told_apart(make_run):
    runs = [make_run(name, path=f"/data/{name}/wiki", fingerprint=name) for name in "ab"]
    rows = {row[0]: row[1:] for row in runs_section(runs).table}
    assert rows["store"] == ["/data/a/wiki", "/data/b/wiki"]
    again = make_run("c", path="/moved/wiki", fingerprint="a")
    assert {row[0]: row[1:] for row in runs_section([runs[0], again]).table}["store"] == ["wiki", "wiki"]


def test_curves_are_of_all_runs_and_need_two_points(make_run):
    twice = make_run("twice", steps=3, scores=[(1, replace(SCORES, mlm_loss=5.0)), (3, SCORES)])
    plots = {plot.title: plot.lines for plot in runs_section([make_run("once", steps=1), twice]).plots}
    assert plots["training: MLM loss"] == {"once": ([1], [8.0]), "twice": ([1, 2, 3], [8.0, 7.0, 6.0])}
    assert plots["held out: MLM loss"] == {"once": ([], []), "twice": ([1, 3], [5.0, 4.5])}
    assert plots["held out: link gain, nats"]["twice"] == ([1, 3], [0.034, 0.034])
    assert "held out: MLM loss" not in {
        plot.title for plot in runs_section([make_run("a", scores=[(1, SCORES)])]).plots
    }
