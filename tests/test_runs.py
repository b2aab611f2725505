"""Runs whose files are written by hand."""

import json
from dataclasses import replace

import pytest

from linkbert.config import make_config
from linkbert.pretraining.scores import Gain, Scores, to_json, wilson
from linkbert.views.runs import read_runs, run_curves, run_lines, runs_table

SCORES = Scores(
    pairs=90, mlm_loss=4.5, mlm_accuracy=wilson(30, 100), baseline_accuracy=wilson(5, 100), baseline_token=7,
    relation_accuracy=wilson(60, 90), relations={"contiguous": wilson(25, 30), "random": wilson(20, 30)},
    confusion={"contiguous": {"contiguous": 25, "random": 5}, "random": {"contiguous": 10, "random": 20}},
    too_few=[], mlm_losses={"contiguous": 4.25, "random": 4.75}, link_gain=Gain(0.034, 0.012, 0.056, 30),
)  # fmt: skip


@pytest.fixture
def make_run(tmp_path):
    def make(name, *settings, steps=2, scores=()):
        run = tmp_path / name
        run.mkdir(parents=True)
        config = make_config("tiny", settings).model_dump(mode="json")
        record = {"format": 1, "config": config, "store": {"path": "/data/wiki"},
                  "versions": {"linkbert": "0"}, "created": "2026-01-01", "resumed": []}  # fmt: skip
        (run / "run.json").write_text(json.dumps(record))
        lines = [
            {"step": step, "learning_rate": step / 1e4, "mlm_loss": 9.0 - step, "relation_accuracies": {"random": 0.5},
             "tokens": 1_000 * step, "elapsed": 60.0 * step}
            for step in range(1, steps + 1)
        ]  # fmt: skip
        lines += [
            {"step": step, "evaluation": {"step": step, **to_json(each)}, "elapsed": 0.0} for step, each in scores
        ]
        (run / "journal.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        return run

    return make


def cells(line):
    return [cell.strip() for cell in line.split("  ") if cell]


def test_the_table_compares_scores_and_names_the_settings_that_differ(make_run):
    runs = read_runs(
        [make_run("with", scores=[(1, replace(SCORES, mlm_loss=5.0)), (2, SCORES)]), make_run("without", "seed=3")]
    )
    rows = {cells(line)[0]: cells(line)[1:] for line in runs_table(runs)}
    assert rows["with"] == ["without"]  # the heading
    assert rows["step"] == ["2", "2"]
    assert rows["tokens seen"] == ["2.0k", "2.0k"]
    assert rows["training: MLM loss"] == ["7.000", "7.000"]
    assert rows["MLM loss"] == ["4.500", "-"]
    assert rows["in random pairs"] == ["4.750", "-"]
    assert rows["random"] == ["66.7 (48.8 to 80.8)", "-"]
    assert rows["link gain, nats"] == ["+0.034 (+0.012 to +0.056)", "-"]
    assert rows["seed"] == ["0", "3"]
    assert "linked" not in rows
    assert "learning_rate" not in rows


def test_a_run_is_written_with_its_confusion_and_every_setting(make_run):
    (run,) = read_runs([make_run("one", scores=[(2, SCORES)])])
    lines = run_lines(run)
    assert "  random: 66.7 % (48.8 to 80.8; 20 of 30); taken for contiguous 10" in lines
    assert {"store=wiki", "shares=1/3,1/3,1/3", "seed=0"} <= set(lines)
    assert len([line for line in lines if "=" in line]) == len(make_config("tiny").model_dump()) + 1


def test_curves_are_what_the_journal_says(make_run):
    (run,) = read_runs([make_run("one", scores=[(1, SCORES), (2, replace(SCORES, link_gain=None))])])
    curves = run_curves(run)
    assert curves["mlm_loss"] == [(1, 8.0), (2, 7.0)]
    assert curves["held_out_mlm_loss"] == [(1, 4.5), (2, 4.5)]
    assert curves["relation_accuracies"] == {"contiguous": [], "random": [(1, 0.5), (2, 0.5)], "linked": []}
    assert curves["link_gain"] == [(1, 0.034, 0.012, 0.056)]


def test_a_run_that_has_just_begun_and_two_of_one_name(make_run):
    runs = read_runs([make_run("a/run", steps=0), make_run("b/run", steps=1)])
    assert [run.name[-5:] for run in runs] == ["a/run", "b/run"]
    rows = [cells(line) for line in runs_table(runs)]
    assert rows[1] == ["step", "-", "1"]
    assert run_curves(runs[0])["mlm_loss"] == []
