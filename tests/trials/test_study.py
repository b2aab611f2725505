"""A study from its file to its result: what is asked, runs done once, arms that differ in what was meant alone."""

import contextlib
import dataclasses
import io
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from linkbert import cli
from linkbert.files import locked, write_json
from linkbert.instances.mixture import make_sampler, open_parts
from linkbert.instances.sampler import lengths_of
from linkbert.tasks.results import Column, run_key, variation
from linkbert.trials.arms import ARMS, read_arm, read_study
from linkbert.trials.differences import Measure, paper_numbers, summarise
from linkbert.trials.study import (
    ask_probe,
    device_of,
    expand,
    lacking,
    open_study,
    plan,
    prepare,
    run_study,
    unusual,
    what_is_asked,
)
from linkbert.views.page import text_lines
from linkbert.views.study import paper_number, plan_lines, study_sections


@pytest.fixture(scope="module")
def made(write_study, tmp_path_factory):
    """Run a study of two arms and one that is the same as the second, with a probe and a task; give its folder."""
    folder = tmp_path_factory.mktemp("made")
    file = write_study(folder / "toys.toml", after='[arms.twin]\nlike = "bert"\ntitle = "Twin"', asked=True)
    with contextlib.redirect_stdout(io.StringIO()) as out:
        assert cli.main(["study", str(file), "--to", str(folder / "made")]) == 0
    (folder / "printed.txt").write_text(out.getvalue())
    return folder


def test_a_study_from_its_file_to_its_page(made):
    found, printed = json.loads((made / "made" / "study.json").read_text()), (made / "printed.txt").read_text()
    forms = [printed, *((made / "made" / f"study.{suffix}").read_text() for suffix in ("md", "html"))]
    assert found["done"] == found["runs"] == 6
    assert "4 of 4 runs done" in printed  # two are the same
    by_name = {each["measure"] or each["question"]: each for each in found["measures"]}
    assert by_name.keys() >= {"mlm_loss", "link_gain", "length", "sides"}
    for name, each in by_name.items():
        for arm, row in each["arms"].items():
            assert row["mean"] == pytest.approx(np.mean([*row["values"].values()])), (name, arm)
            assert row["sd"] == pytest.approx(np.std([*row["values"].values()], ddof=1))
    values = by_name["length"]["arms"]
    pairs = [values["linkbert"]["values"][seed] - values["bert"]["values"][seed] for seed in ("0", "1")]
    difference = values["linkbert"]["difference"]
    assert difference["value"] == pytest.approx(np.mean(pairs))
    assert (difference["seeds"], difference["runs"], difference["groups_of_examples"]) == ([0, 1], 4, 10)
    assert by_name["sides"]["arms"]["linkbert"]["difference"]["groups_of_examples"] == 20
    assert 0 <= by_name["sides"]["arms"]["bert"]["mean"] <= 100
    for each in found["comparisons"]:
        told = each["low"] != 0 or each["high"] != 0
        assert all((each["sentence"] in text) == told for text in forms)
    for each in found["measures"]:
        for row in each["arms"].values():
            number = f"{row['mean']:.{1 if each['per_cent'] else 3}f} ± "
            assert all(number in text for text in forms), each["title"]
    assert found["arms"]["linkbert"]["settings_that_differ"].keys() == {"objective", "shares"}
    assert not found["arms"]["twin"]["settings_that_differ"]
    for arm, title in (("BERT", "relation accuracy"), ("LinkBERT", "next sentence accuracy")):
        assert all(f"not compared, as {arm} has no such number: score: {title}" in text for text in forms)
    plots = re.findall(r"<figure>.*?</figure>", forms[2], re.DOTALL)
    [curve] = [each for each in plots if "training: MLM loss" in each]
    assert all(word in curve for word in ("million tokens", "LinkBERT", "BERT", "Twin"))


def test_what_is_no_difference_is_told_as_none(made):
    found = json.loads((made / "made" / "study.json").read_text())
    same = [each for each in found["comparisons"] if each["a"] == "twin"]
    assert {each["measure"] or each["question"] for each in same} >= {"mlm_loss", "length", "sides"}
    for each in same:
        assert each["value"] == 0
        assert each["sentence"].endswith("; not told from 0")
    titles = " and ".join(found["arms"][arm]["title"] for arm in ("twin", same[0]["b"]))
    assert f"the same for {titles} in every run: score: mlm loss, " in (made / "made" / "study.md").read_text()


def test_many_differences_are_said_to_be_many(made):
    found, runs = json.loads((made / "made" / "study.json").read_text()), open_study(made / "made")
    each = found["comparisons"][0]

    def printed(*spans):
        comparisons = [each | {"low": low, "high": high} for low, high in spans]
        sections = study_sections(found | {"comparisons": comparisons}, runs)
        return "\n".join(line for section in sections for line in text_lines(section))

    spans = [(-1, 1)] * 27 + [(0.5, 1), (-2, -1), (0.1, 0.2), (0, 0), (None, None)]
    assert "3 of 30 differences are told from 0 at 95 %: 2 or so would be by chance" in printed(*spans)
    assert "by chance" not in printed(*spans[-12:])


@pytest.mark.slow
def test_answers_that_are_lost_or_damaged_are_named(made, tmp_path, capsys):
    folder = shutil.copytree(made / "made", tmp_path / "made")
    for kind, said in (
        ("lengths-*.npz", "is damaged or lost: delete it and "),
        ("sides-*/results.jsonl", "has lost results"),
    ):
        path = next((folder / "results").glob(f"*/{kind}"))
        kept = path.read_bytes()
        path.write_bytes(kept[: len(kept) // 2] if kind.endswith("npz") else b"")
        assert cli.main(["study", str(folder)]) == 1
        assert said in capsys.readouterr().err
        path.write_bytes(kept)
    assert cli.main(["study", str(folder)]) == 0


def test_a_run_that_another_process_makes_is_left_to_it_and_seeds_come_first(made, tmp_path, caplog):
    folder, said = shutil.copytree(made / "made", tmp_path / "made"), []
    answers = {path.parent.name: path for path in folder.glob("results/*/lengths-*.json")}
    runs = {run.key: run for run in open_study(folder)}
    for path in answers.values():
        path.unlink()
    held = next(run for run in runs.values() if (run.arm, run.seed) == ("twin", 0))
    with locked(folder / "results" / held.key):
        run_study(held.study, folder, report=said.append)
    assert "twin, seed 0: another process makes it" in caplog.text
    ended = enumerate(["linkbert, seed 0", "linkbert, seed 1", "twin, seed 1"], 1)
    assert said == [f"{n} of 4 runs done: {run}" for n, run in ended]
    assert [key for key, path in answers.items() if not path.is_file()] == [held.key]
    run_study(held.study, folder, report=said.append)
    assert said[3:] == ["4 of 4 runs done: twin, seed 0"]


@pytest.mark.slow
def test_what_is_done_is_not_done_again(made):
    again = made / "again.toml"
    again.write_text((made / "toys.toml").read_text().replace("\nbert = {}\n", "\nbert = { seeds = [0, 1, 2] }\n"))
    files = [path for path in (made / "made").rglob("*") if path.is_file() and path.parent != made / "made"]
    before, said = {path: path.stat().st_mtime_ns for path in files}, []
    run_study(read_study(again), made / "made", report=said.append)
    assert said == ["5 of 5 runs done: bert, seed 2"]
    assert {path: path.stat().st_mtime_ns for path in before} == before


@pytest.mark.slow
def test_the_folder_says_where_it_stands(made, capsys):
    assert cli.main(["study", str(made / "made")]) == 0
    assert re.search(r"bert +0 +6 of 6 +3 of 3 +done", capsys.readouterr().out)
    assert cli.main(["study", str(made / "made"), "--plan"]) == 0
    printed = capsys.readouterr().out
    assert "about 0s left" in printed


def test_runs_are_named_by_what_decides_them(study_file, tmp_path):
    keys = {}
    for name, after in (("a", ""), ("b", "logging_steps = 4"), ("c", "weight_decay = 0.5")):
        study = read_study(study_file(f'title = "{name}"', after.replace("logging_steps", "save_total_limit")))
        keys[name] = [run.key for run in expand(study, tmp_path)]
    assert keys["a"] == keys["b"]
    assert not {*keys["a"]} & {*keys["c"]}
    assert len({*keys["a"]}) == 4


def test_arms_of_a_seed_share_what_their_settings_allow(study_file, tmp_path):
    study = read_study(study_file())
    runs = {run.arm: run for run in expand(study, tmp_path) if run.seed == 1}
    made = {}
    for name, run in runs.items():
        made[name] = make_sampler(open_parts(study.parts, run.config), run.config).fill(np.arange(400))
    ours, theirs = made["linkbert"], made["bert"]
    assert (ours.pairs[:, :3] == theirs.pairs[:, :3]).all()  # the same A in the same order
    same = ours.relations == theirs.relations
    assert 0.3 < same.mean() < 0.7
    assert (ours.pairs[same] == theirs.pairs[same]).all()  # the same B
    assert (ours.input_ids[same] == theirs.input_ids[same]).all()  # and the same masks
    other = ours.relations != theirs.relations
    assert {*ours.relations[other & (ours.relations == 2)].tolist()} == {2}


def test_initial_weights_of_a_seed_are_those_of_all_arms(study_file, tmp_path):
    import torch

    from linkbert.model.checkpoint import start_model

    study = read_study(study_file(after="[arms.no-drp]"))
    models = {run.arm: start_model(run.config, 100).state_dict() for run in expand(study, tmp_path) if run.seed == 0}
    for name, weights in models.items():
        shared = [key for key in weights if weights[key].shape == models["linkbert"].get(key, torch.zeros(0)).shape]
        assert len(shared) > 10
        assert all(torch.equal(weights[key], models["linkbert"][key]) for key in shared), name


def test_arms_see_equally_many_tokens(study_file, tmp_path):
    study = read_study(study_file("budget.steps = 200"))
    tokens = {}
    for run in expand(study, tmp_path):
        sampler = make_sampler(open_parts(study.parts, run.config), run.config)
        numbers = np.arange(run.config.max_steps * run.config.batch_size)
        tokens[run.arm] = int(lengths_of(sampler.draw(numbers)[0]).sum())
    assert tokens["linkbert"] == pytest.approx(tokens["bert"], rel=0.01)
    file = study_file("budget.tokens = 40_000", "[arms.long]\nlike = 'linkbert'\ntitle = 'Long'\nbudget.steps = 500")
    runs = {run.arm: run for run in expand(read_study(file), tmp_path)}
    assert runs["long"].config.max_steps == 500  # a budget of its own
    assert all(runs[arm].tokens == pytest.approx(40_000, rel=0.01) for arm in ("linkbert", "bert"))


def test_every_predefined_arm_has_settings_of_its_own(study_file):
    study = read_study(
        study_file(after="\n".join(f"[arms.{name}]" for name in ARMS if name not in ("linkbert", "bert")))
    )
    configs = {name: study.config(study.read_arms[name])[0].model_dump() for name in ARMS}
    assert all(configs[a] != configs[b] for a in ARMS for b in ARMS if a != b)
    assert {each["scope"] for each in configs.values()} == {"auto"}  # each graph's links keep the places they have
    assert read_arm("bert", {}, "base").paper == "BERT-base"


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("seedz = [0]", "", "unknown key 'seedz'; did you mean 'seeds'?"),
        ("seeds = []", "", "seeds"),
        ("", "[arms.brt]", "arm brt has no settings, and is none of the predefined; did you mean 'bert'?"),
        ("", "[arms.deep]\nnum_hidden_layer = 3", "unknown setting 'num_hidden_layer'; did you mean"),
        ("", "[probes.scor]", "unknown probe 'scor'"),
        ("", "[tasks.sqad]", "unknown task 'sqad'"),
        ("", "[tasks.squad]\nlearning_rat = 1", "unknown setting 'learning_rat'; did you mean 'learning_rate'?"),
        ('compare = [["linkbert", "brt"]]', "", "'brt' is not in the study; did you mean 'bert'?"),
        ('compare = [["linkbert", "bert", "squad"]]', "", "'squad' is not in the study"),
        ('baseline = "nsp"', "", "compared with nsp, which is no baseline"),
        ("budget = { steps = 3, tokens = 9 }", "", "give one of steps, tokens and time"),
        ("", "[arms.tfidf]\nseeds = [7]", "arms tfidf and bert have no seed in common, [7] and [0, 1]"),
        ('compare = [["linkbert"]]', "", "is neither [ARM, ARM] nor [ARM, ARM, LABEL]"),
        ('like = "toys.toml"', "", "toys.toml is like itself"),
        ("", "[arms.deep]\nlike = ['bert']", "arm deep is like ['bert']"),
        ("", "[probes.link-gain]\nexampels = 3", "unknown setting 'exampels'; did you mean 'examples'?"),
        ("", "[stores.toys.settings]\ngrph = 'x'", "unknown setting 'grph'"),
        ("", "[stores.toys.settings]\nbatch_size = 4", "batch_size is no setting of one store"),
        ("", "[arms.deep]\nsteps = 9", "deep: max_steps is not for a study: it takes budget.steps instead"),
        (
            "",
            "[probes.link-gain]\nheld_out = 0.9",
            "probe link-gain: held_out is that of the training, 0.2: leave it out",
        ),
        ("", "[arms.deep]\nhidden_size = 8\nbudget.steps = 0", "arm deep: budget.steps is 0. "),
        ("", "[arms.deep]\nprecison = 'fp32'", "arm deep: unknown setting 'precison'"),
        ("", "[tasks.squad]\ngrid = {}", "task squad: grid is {}. "),
        ('paper = "huge"', "", "paper is 'huge'. "),
    ],
)
def test_what_is_wrong_with_a_file_is_one_line(study_file, tmp_path, capsys, before, after, said):
    assert cli.main(["study", str(study_file(before, after)), "--to", str(tmp_path / "made")]) == 1
    error = capsys.readouterr().err
    assert said in error
    assert "toys.toml" in error
    assert error.count("\n") == 1
    assert not (tmp_path / "made").exists()


def test_a_file_like_another_holds_what_differs(study_file, tmp_path):
    study_file(after="[tasks.squad]\nseeds = 3")
    (tmp_path / "small.toml").write_text(
        'like = "toys.toml"\nseeds = [5]\ntasks.squad = false\n[settings]\nbatch_size = 4\n'
    )
    small = read_study(tmp_path / "small.toml")
    assert (small.seeds, small.tasks, small.settings["batch_size"], small.settings["hidden_size"]) == ([5], {}, 4, 16)
    (tmp_path / "long.toml").write_text('like = "toys.toml"\nbudget.tokens = 900\n')
    assert (read_study(tmp_path / "long.toml").budget.steps, read_study(tmp_path / "long.toml").budget.tokens) == (
        None,
        900,
    )


def test_an_arms_word_is_the_last_also_after_its_stores(study_file):
    study = read_study(study_file(after="[stores.toys.settings]\nalpha = 0.5\n[arms.no-diversity]"))
    alphas = {name: study.config(arm)[0].alpha for name, arm in study.read_arms.items()}
    assert alphas == {"linkbert": 0.5, "bert": 0.5, "no-diversity": 0.0}


def test_a_probe_gets_its_own_settings_and_those_that_say_what_is_drawn(study_file):
    asked = '[probes.ours]\nname = "reading"\ndata = "DATA"\nseeds = 3\nmlm_probability = 0.3'
    study = read_study(study_file(after=asked))
    given = what_is_asked(study, study.questions[0])
    assert given["probe"] == "reading"
    assert (
        given["settings"].items() >= {"data": "DATA", "seeds": 3, "mlm_probability": 0.3, "sequence_length": 32}.items()
    )


def test_a_plan_counts_runs_and_says_what_is_lacking(study_file, tmp_path, toys):
    study = read_study(study_file(after="[arms.tfidf]\nseeds = [0]\n[tasks.squad]\nseeds = 2"))
    found = plan(study, tmp_path / "none")
    assert (found["runs"], found["fine_tunings"], found["probes"]) == (5, 10, 5)
    assert found["lacking"] == ["toys's graph tfidf"]
    long = "[arms.tfidf]\n[arms.long]\nbudget.steps = 7"
    timed = plan(read_study(study_file('budget.time = "1h"', long)), tmp_path / "none")
    assert [name for name, arm in timed["arms"].items() if arm["tokens"]] == ["long"]
    assert [line.split()[1:] for line in plan_lines(timed) if line.startswith("tfidf ")] == [["2", "?", "?"]]
    assert open_error(tmp_path / "nothing")
    with pytest.raises(ValueError, match="nowhere: build it, or say how by its `build`"):
        plan(read_study(study_file(after="[stores.more]\npath = 'nowhere'")), tmp_path / "none")


def open_error(folder):
    with pytest.raises(ValueError, match="is no folder of a study"):
        open_study(folder)
    return True


RECIPES = sorted((Path(__file__).parents[2] / "recipes").glob("table*.toml"))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_can_be_planned(path, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["study", str(path), "--plan"]) == 0
    printed, study = capsys.readouterr().out, read_study(path)
    assert re.match(r"\d+ pretraining runs, 0 done; [\d,]+ probes, [\d,]+ fine-tunings\n", printed)
    assert "not built yet" in printed
    assert all(name in printed for name in study.arms)
    size = path.stem.rpartition("-")[2] if path.stem.endswith(("cpu", "gpu10")) else ""
    configs = [study.config(arm)[0] for arm in study.read_arms.values()]
    assert {config.num_hidden_layers for config in configs} <= ({2} if size else {2, 12, 24})
    rows = [arm.paper for arm in study.read_arms.values() if arm.paper]
    assert all(any(paper_numbers(paper_number, [row], each)[0][0] for each in columns_of(study)) for row in rows)


def columns_of(study):
    """Return the columns of a study's tasks, as its results name them."""
    tasks = [each for each in study.questions if each.kind == "task"]
    return [Column(each.task.name, variation(each.settings)) for each in tasks]


def test_numbers_of_the_paper_are_all_of_a_part_of_the_train_set_or_all_of_the_whole():
    def ask(part, *rows):
        return paper_numbers(paper_number, rows, Column("squad", f"fraction={part}" if part else ""))

    base, no_drp, tiny = "BERT-base", "LinkBERT-base, no DRP", "LinkBERT-tiny"
    whole, part = ask("", base)[0][0], ask(0.1, base)[0][0]
    assert 0 < part < whole - 5
    assert ask(0.2, base) == ([whole], True)
    assert ask(0.1, base, "LinkBERT-base")[1] is False
    assert ask(0.1, base, no_drp) == ([whole, ask("", no_drp)[0][0]], True)
    assert ask(0.1, tiny)[1] is True
    assert ask(0.1, "no such row") == ([None], False)


STORES = {
    "tables": {
        "tables-continued": 21,
        "tables-minilm": 14,
        "tables-slower": 15,
        "tables": 12,
        "arms": 12,
        "tasks": 12,
        "places": 25,
        "reading": 12,
    }
    | {"norelation-tables": 12, "norelation-places": 18, "norelation-continued": 12, "again-tables": 12},
    "dictionary": {"dictionary": 14, "copying": 12, "copying-arms": 14, "norelation": 12, "again-dictionary": 12}
    | {"continued": 6, "continued-arms": 14, "minilm": 6, "minilm-arms": 14},
    "catholic": {"catholic": 12, "norelation-catholic": 12, "catholic-arms": 14, "catholic-continued": 14}
    | {"catholic-scratch": 14, "catholic-minilm": 14},
}
EVIDENCE = {name: (store, runs) for store, each in STORES.items() for name, runs in each.items()}


@pytest.mark.parametrize(("name", "store", "runs"), [(name, *each) for name, each in EVIDENCE.items()])
def test_what_the_evidence_rests_on_can_be_planned(name, store, runs, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["study", str(RECIPES[0].parent / f"evidence-{name}.toml"), "--plan"]) == 0
    printed = capsys.readouterr().out
    four = {"minilm", "copying-arms", "continued-arms", "minilm-arms", "norelation-catholic", "catholic-arms"}
    four |= {
        "tables-continued",
        "catholic-continued",
        "catholic-scratch",
        "tables-minilm",
        "tables-slower",
        "catholic-minilm",
    }
    probes = {
        "reading": 1,
        "norelation-tables": 3,
        "norelation-places": 3,
        "norelation-continued": 3,
        "again-tables": 3,
        "again-dictionary": 3,
    }.get(name, 4 if name in four else 5)
    assert f"{runs} pretraining runs, 0 done; {probes * runs} probes" in printed
    assert f"not built yet: {store}, " in printed


def test_the_recipes_are_those_of_the_papers_tables_and_of_the_evidence():
    assert {path.stem for path in RECIPES[0].parent.glob("evidence-*")} == {f"evidence-{name}" for name in EVIDENCE}
    names = {path.stem for path in RECIPES}
    assert names == {f"table{n}{size}" for n in (1, 3, 4, 5, 6, "7-9") for size in ("", "-cpu", "-gpu10")}


@pytest.mark.slow
def test_a_job_array_has_a_task_for_each_run_that_is_left(study_file, tmp_path, capsys):
    file, folder = study_file(), tmp_path / "made"
    assert cli.main(["study", str(file), "--to", str(folder), "--print-jobs"]) == 0
    lines = capsys.readouterr().out.splitlines()
    keys = [run.key for run in open_study(folder)]
    assert (lines[0], f"runs=({' '.join(keys)})" in lines, "#SBATCH --array=0-3" in lines) == (
        "#!/bin/bash",
        True,
        True,
    )
    command = shlex.split(
        next(each for each in lines if "linkbert" in each).replace("${runs[$SLURM_ARRAY_TASK_ID]}", keys[3])
    )
    run = command[3:]
    assert (command[:3], run[:3]) == (["srun", "--ntasks=1", "$cpus"], [sys.executable, "-m", "linkbert"])
    assert cli.main(run[3:]) == 0  # as the task does
    assert [run.done for run in open_study(folder)] == [False, False, False, True]
    (tmp_path / "jobs.sh").write_text("\n".join(lines))
    for name, said in (("srun", 'echo "$@" && exit "$STATUS"'), ("scontrol", 'echo scontrol "$@"')):
        (tmp_path / name).write_text(f"#!/bin/bash\n{said}\n")
        (tmp_path / name).chmod(0o755)
    slurm = {
        "SLURM_ARRAY_TASK_ID": "1",
        "SLURM_JOB_ID": "7",
        "SLURM_CPUS_PER_TASK": "8",
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
    }
    for status in (0, 1, 130):  # done, failed, stopped by its time limit
        words = ["bash", str(tmp_path / "jobs.sh")]
        ran = subprocess.run(words, env=slurm | {"STATUS": str(status)}, capture_output=True, text=True, check=False)
        assert ran.returncode == status
        assert ran.stdout.splitlines()[0] == shlex.join(["--ntasks=1", "--cpus-per-task=8", *run[:-1], keys[1]])
        assert ran.stdout.splitlines()[1:] == ["scontrol requeue 7"] * (status == 130)
    often = slurm | {"STATUS": "130", "SLURM_RESTART_COUNT": "100"}  # what never ends is not begun for ever
    assert "requeue" not in subprocess.run(words, env=often, capture_output=True, text=True, check=False).stdout
    assert cli.main([*run[3:-1], "0123"]) == 1
    assert "has no run '0123'" in capsys.readouterr().err


def test_a_budget_of_time_is_measured_once_and_is_tokens_from_then_on(study_file, tmp_path):
    study = read_study(study_file('budget.time = "10s"'))
    settings = unusual(study.config(study.read_arms["bert"])[0].model_dump(mode="json"))
    write_json(tmp_path / f"timing-{run_key(settings)}.json", {"tokens_per_second": 400.0, "arm": "bert"})
    runs = {run.arm: run for run in expand(study, tmp_path)}
    assert all(run.tokens == pytest.approx(4000, rel=0.05) for run in runs.values())
    assert runs["bert"].config.budget == "none"


def test_a_folder_of_something_else_is_refused(study_file, tmp_path, capsys):
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "notes.txt").write_text("mine")
    assert cli.main(["study", str(study_file()), "--to", str(tmp_path / "made")]) == 1
    assert "is not empty, and no study's" in capsys.readouterr().err
    (tmp_path / "made" / "runs").mkdir()  # as of others, too
    assert cli.main(["study", str(study_file()), "--to", str(tmp_path / "made")]) == 1
    assert "is not empty, and no study's" in capsys.readouterr().err
    assert cli.main(["study", str(tmp_path / "made")]) == 1
    assert "is no folder of a study" in capsys.readouterr().err
    assert cli.main(["study", str(study_file())]) == 1
    assert "--to DIR is missing" in capsys.readouterr().err


@pytest.mark.slow
def test_a_store_that_is_not_there_is_built_as_its_table_says(toys, study_file, tmp_path):
    file = study_file(f'stores.toys.path = "{tmp_path}/own"')
    text = file.read_text().replace(f'path = "{toys}"', "").replace("[stores.toys]", "")
    file.write_text(text)
    with pytest.raises(ValueError, match=r"store toys is not at .*own: build it, or say how by its `build`"):
        run_study(read_study(file), tmp_path / "made")
    words = [str(toys.parent / "toys.jsonl"), "--vocab", str(toys.parent / "vocab.txt"), "--workers", "1"]
    file.write_text(f"stores.toys.build = {json.dumps(words)}\n" + text + "\n[arms.random-links]\n")
    runs = prepare(read_study(file), tmp_path / "made")
    assert {path.name for path in (tmp_path / "own" / "graphs").iterdir()} >= {"hyperlink", "random"}
    assert len(runs) == 6


def test_workers_take_a_gpu_each_or_their_part_of_the_cores(study_file, tmp_path, monkeypatch):
    run = expand(read_study(study_file()), tmp_path)[0]
    free = dataclasses.replace(run, config=run.config.replace(threads=0))
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    assert device_of(run, 1) == {"device": "auto", "threads": 1}
    assert device_of(free, 3) == {"threads": 2}
    monkeypatch.setattr("linkbert.pretraining.distributed.count_cards", lambda: 2)
    found = []
    for number in (1, 2, 3, 4):
        process = SimpleNamespace(name=f"SpawnProcess-{number}")
        monkeypatch.setattr("linkbert.trials.study.current_process", lambda process=process: process)
        found.append(device_of(free, 4)["device"])
    assert found == ["cuda:1", "cuda:0", "cuda:1", "cuda:0"]
    asked = dataclasses.replace(free, config=free.config.replace(device="cpu"))
    assert device_of(asked, 4) == {"threads": 2}, "who asks for the CPU is not given a GPU"


@pytest.mark.slow
def test_a_run_that_fails_is_named(study_file, tmp_path):
    study = read_study(study_file(after="[probes.broken]\nname = 'own_probe:broken'"))
    with pytest.raises(ValueError, match=r"^linkbert, seed 0: there is nothing to ask$"):
        run_study(study, tmp_path / "made", report=lambda _: None)


@pytest.mark.parametrize(
    ("ours", "said"),
    [
        ({0: 58.0, 1: 58.4}, "LinkBERT - BERT on SQuAD: +2.9 F1 (1.6 to 4.2), 4 pretraining runs"),
        ({0: 58.0, 1: 55.2}, "LinkBERT - BERT on SQuAD: +1.3 F1 (-17.8 to 20.4), 4 pretraining runs; not told from 0"),
        ({0: 58.0}, "LinkBERT - BERT on SQuAD: +2.8 F1, 2 pretraining runs: one of each has no interval"),
    ],
)
def test_numbers_stand_next_to_the_papers_and_sentences_follow_a_rule(study_file, tmp_path, monkeypatch, ours, said):
    values = {"linkbert": ours, "bert": {0: 55.2, 1: 55.4}}
    measure = Measure("squad", "", "SQuAD", "F1", Column("squad"), values)
    monkeypatch.setattr("linkbert.trials.differences.measures_of", lambda _: [measure])
    runs = expand(read_study(study_file('paper = "tiny"')), tmp_path)
    found = summarise(runs, paper_number)
    assert [each["sentence"] for each in found["comparisons"]] == [said]
    text = [line for section in study_sections(found, runs) for line in text_lines(section)]
    row = next(line.split() for line in text if line.startswith("  LinkBERT ") and "." in line)
    assert row[-2:] == ["58.0", "+1.4"]
    assert next(line.split() for line in text if line.startswith("  BERT ") and "." in line)[-2:] == ["56.6", "-"]


def answers(file):
    """Name the answers of a file's first run, by label."""
    run = expand(read_study(file), file.parent / "made")[0]
    return {each.label: run.answer(each).relative_to(run.folder / "results" / run.key) for each in run.study.questions}


def test_an_answer_is_named_by_all_that_is_asked_and_by_the_content_of_data_and_stores(study_file, toys, tmp_path):
    data = shutil.copytree(toys.parent, tmp_path / "data")
    table = f'[tasks."{data}/sides.toml:sides"]\ndata = "{data}"\n'
    (own,) = names = {name for label, name in answers(study_file(after=table)).items() if "sides" in label}
    assert own.parent == Path()  # in the run's folder, whatever the label
    for more in ("weight_decay = 0.01", "learning_rate = 1e-4", "seeds = 2"):  # defaults of pretraining, too
        names |= {name for label, name in answers(study_file(after=table + more)).items() if "sides" in label}
    (data / "sides.toml").write_text((data / "sides.toml").read_text().replace('"train.tsv"', '"dev.tsv"'))
    names |= {name for label, name in answers(study_file(after=table)).items() if "sides" in label}
    (data / "dev.tsv").write_text((data / "dev.tsv").read_text() + "99\tword10 .\tlow\n")
    names |= {name for label, name in answers(study_file(after=table)).items() if "sides" in label}
    assert len(names) == 6
    probed = f'[stores.other]\npath = "{data}/store"\ntrain = false\n[probes.score]\nstore = "other"\n'
    before = answers(study_file(after=probed))["score"]
    assert before == answers(study_file())["score"]  # the same content
    ids = data / "store" / "tokens" / "tokens.bin"
    ids.write_bytes(ids.read_bytes()[::-1])
    (data / "store" / "tokens" / "touched").touch()
    assert answers(study_file(after=probed))["score"] != before


def test_a_run_is_named_by_the_weights_it_starts_from(study_file, tmp_path):
    keys, init = set(), tmp_path / "init"
    init.mkdir()
    for number in range(2):
        (init / "config.json").write_text(json.dumps({"number": number}))
        (init / f"model{number}.safetensors").write_bytes(b"")
        keys.add(expand(read_study(study_file(after=f'[arms.on]\ninit = "{init}"')), tmp_path)[-1].key)
    assert len(keys) == 2


def test_arms_that_are_one_run_though_their_settings_differ_are_refused(study_file, tmp_path):
    study = read_study(study_file(after='[arms.half]\nlike = "bert"\nprecision = "bf16"'))
    with pytest.raises(ValueError, match="arms bert and half differ in precision alone"):
        expand(study, tmp_path)


def test_an_interrupted_measurement_leaves_nothing_and_another_baseline_is_measured_anew(
    study_file, tmp_path, monkeypatch
):
    study, ended = read_study(study_file('budget.time = "10s"')), [False]
    monkeypatch.setattr("linkbert.pretraining.run.pretrain", lambda *_, **__: SimpleNamespace(finished=ended[0]))
    monkeypatch.setattr(
        "linkbert.trials.study.read_journal", lambda _: [{"learning_rate": 1, "tokens_per_second": 7.0}]
    )
    with pytest.raises(KeyboardInterrupt):
        expand(study, tmp_path)
    assert not [*tmp_path.glob("timing*")]
    ended[0] = True
    expand(study, tmp_path)
    expand(study, tmp_path)
    assert len([*tmp_path.glob("timing-*.json")]) == 1
    expand(
        read_study(study_file('budget.time = "10s"', "[arms.deep]\nnum_hidden_layers = 2\nagainst = 'deep'")), tmp_path
    )
    assert len([*tmp_path.glob("timing-*.json")]) == 2


@pytest.mark.parametrize("content", ["null", "3", "[1]", '{"title": 3}', '{"title":', None])
def test_a_damaged_asked_json_is_one_line_and_written_anew(tmp_path, study_file, capsys, content):
    made, study = tmp_path / "made", read_study(study_file())
    [*runs] = prepare(study, made)
    (made / "asked.json").unlink()
    (made / "runs").mkdir()
    if content:
        (made / "asked.json").write_text(content)
    assert cli.main(["study", str(made)]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "linkbert study FILE.toml --to" in error or content == '{"title": 3}'
    assert [run.key for run in prepare(study, made)] == [run.key for run in runs]
    assert [run.key for run in open_study(made)] == [run.key for run in runs]


def test_results_are_not_shown_without_the_store_that_names_them(study_file, tmp_path, toys, capsys):
    shutil.copytree(toys, tmp_path / "asked")
    study = read_study(study_file(after=f'[stores.asked]\npath = "{tmp_path}/asked"\ntrain = false'))
    prepare(study, tmp_path / "made")
    shutil.rmtree(tmp_path / "asked")
    assert cli.main(["study", str(tmp_path / "made")]) == 1
    assert f"store {tmp_path}/asked is not there, by whose content" in capsys.readouterr().err
    assert not (tmp_path / "made" / "study.json").exists()


@pytest.mark.parametrize("found", [None, {"a": 1}, {"measures": {"x": "a lot"}}, {"measures": {"x": float("nan")}}])
def test_what_an_own_probe_gives_is_checked(study_file, tmp_path, monkeypatch, found):
    [run, *_] = expand(study := read_study(study_file(after='[probes.own]\nname = "own_probe:lengths"')), tmp_path)
    monkeypatch.setattr("linkbert.registry.find", lambda *_: lambda *_: found)
    with pytest.raises(ValueError, match=r"own_probe:lengths: .*; a probe returns its measures"):
        ask_probe(run, study.questions[-1], tmp_path / "answer.json", {})


@pytest.mark.slow
@pytest.mark.parametrize("content", [b"PK\x03\x04", b"", None])
def test_damaged_answers_are_one_line(made, tmp_path, capsys, content):
    folder = shutil.copytree(made / "made", tmp_path / "made")
    path = next((folder / "results").glob("*/lengths-*.npz"))
    kept = bytearray(path.read_bytes())
    kept[len(kept) // 4 : len(kept) // 2] = bytes(len(kept) // 2 - len(kept) // 4)
    path.write_bytes(kept if content is None else content)
    assert cli.main(["study", str(folder)]) == 1
    assert "is damaged or lost: delete it and " in capsys.readouterr().err
    answer = next((folder / "results").glob("*/sides-*.json"))
    for text in ("null", "{}", '{"keys": 3}'):
        answer.write_text(text)
        assert cli.main(["study", str(folder)]) == 1
        assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.slow
def test_what_cannot_be_asked_is_an_empty_answer(study_file, tmp_path, capsys, caplog):
    file = study_file("budget.steps = 1", "[probes.link-gain]")
    file.write_text(file.read_text().replace("held_out = 0.2", "held_out = 0.0"))
    assert cli.main(["study", str(file), "--to", str(tmp_path / "made")]) == 0
    assert "link-gain of linkbert: no answer; " in caplog.text + capsys.readouterr().err
    assert len([*(tmp_path / "made" / "results").glob("*/link-gain-*.json")]) == 4


@pytest.mark.slow
def test_a_task_without_its_data_and_a_failing_child_are_said_before_training(study_file, toys, tmp_path, capfd):
    file = study_file(after=f'[tasks.sides]\nname = "{toys.parent}/sides.toml"\ndata = "{tmp_path}/none"')
    assert cli.main(["study", str(file), "--to", str(tmp_path / "made")]) == 1
    assert "none is no folder" in capfd.readouterr().err
    assert not (tmp_path / "made" / "runs").exists()
    file = study_file("stores.toys = { path = 'none', build = ['no.xml'] }")
    file.write_text(file.read_text().replace("[stores.toys]\n", "").replace(f'path = "{toys}"\n', ""))
    assert cli.main(["study", str(file), "--to", str(tmp_path / "built")]) == 1
    assert "toys is not made: `linkbert build no.xml --to " in capfd.readouterr().err


def test_a_store_follows_its_own_graph_and_other_processes_prepare_nothing(study_file, tmp_path, monkeypatch, toys):
    own = f'[stores.plain]\npath = "{toys}"\nsettings = {{ graph = "hyperlink" }}\n[arms.tfidf]'
    assert [name for name, _ in lacking(read_study(study_file(after=own)))] == ["toys's graph tfidf"]
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setattr("linkbert.trials.study.do_run", lambda *_, **__: None)
    run_study(read_study(study_file()), tmp_path / "made", report=lambda _: None)
    assert not (tmp_path / "made").exists()


def test_folders_are_taken_from_the_current_one_when_the_file_is_read(study_file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    study = read_study(study_file(after='[tasks.squad]\ndata = "data"\n[tasks.rte]\ndata = "some/hub"'))
    assert [each.data for each in study.questions][-2:] == [str(tmp_path / "data"), "some/hub"]
