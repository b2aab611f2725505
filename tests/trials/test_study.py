"""A study from its file to its result: what is asked, runs done once, arms that differ in what was meant alone."""

import contextlib
import io
import json
import re

import numpy as np
import pytest

from linkbert import cli
from linkbert.instances.mixture import make_sampler, open_parts
from linkbert.instances.sampler import lengths_of
from linkbert.trials.arms import ARMS, read_arm, read_study
from linkbert.trials.study import expand, open_study, plan, run_study


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
        assert each["sentence"] in printed
        assert all(each["sentence"] in (made / "made" / f"study.{suffix}").read_text() for suffix in ("md", "html"))


def test_what_is_no_difference_is_told_as_none(made):
    found = json.loads((made / "made" / "study.json").read_text())
    same = [each for each in found["comparisons"] if each["a"] == "twin"]
    assert {each["measure"] or each["question"] for each in same} >= {"mlm_loss", "length", "sides"}
    for each in same:
        assert each["value"] == 0
        assert each["sentence"].endswith("; not told from 0")


def test_what_is_done_is_not_done_again(made):
    again = made / "again.toml"
    again.write_text((made / "toys.toml").read_text().replace("\nbert = {}\n", "\nbert = { seeds = [0, 1, 2] }\n"))
    files = [path for path in (made / "made").rglob("*") if path.is_file() and path.parent != made / "made"]
    before, said = {path: path.stat().st_mtime_ns for path in files}, []
    run_study(read_study(again), made / "made", report=said.append)
    assert said == ["5 of 5 runs done: bert, seed 2"]
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_the_folder_says_where_it_stands(made, capsys):
    assert cli.main(["study", str(made / "made")]) == 0
    assert re.search(r"bert +0 +12 of 12 +3 of 3 +done", capsys.readouterr().out)
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


def test_every_predefined_arm_has_settings_of_its_own(study_file):
    study = read_study(
        study_file(after="\n".join(f"[arms.{name}]" for name in ARMS if name not in ("linkbert", "bert")))
    )
    configs = {name: study.config(study.read_arms[name])[0].model_dump() for name in ARMS}
    assert all(configs[a] != configs[b] for a in ARMS for b in ARMS if a != b)
    assert {each["scope"] for each in configs.values()} == {"document"}  # graphs are compared
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


def test_a_plan_counts_runs_and_says_what_is_lacking(study_file, tmp_path, toys):
    study = read_study(study_file(after="[arms.tfidf]\nseeds = [0]\n[tasks.squad]\nseeds = 2"))
    found = plan(study, tmp_path / "none")
    assert (found["runs"], found["fine_tunings"], found["probes"]) == (5, 10, 5)
    assert found["lacking"] == ["toys's graph tfidf"]
    assert open_error(tmp_path / "nothing")


def open_error(folder):
    with pytest.raises(ValueError, match="is no folder of a study"):
        open_study(folder)
    return True
