"""A study that is killed ten times, anywhere, and started again ends as one that was not."""

import json
import multiprocessing
import random
import time

import pytest
import torch
from safetensors.torch import load_file

from linkbert.trials.arms import read_study
from linkbert.trials.differences import summarise
from linkbert.trials.study import open_study, run_study

# A server imports once; each process of a test is then a fork of it.
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(
    ["linkbert.trials.study", "linkbert.pretraining.run", "linkbert.tasks.suite", "linkbert.tasks.finetune"]
)
SCRIPT = """
import os, sys, warnings
from linkbert.trials.arms import read_study
from linkbert.trials.study import run_study
import linkbert.pretraining.run
warnings.simplefilter("error")
sys.path.insert(0, own)
os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
told.send("started")
run_study(read_study(file), folder, report=lambda text: None)
told.send("ended")
"""


def start(file, folder, own):
    """Start a study in a process of its own; return it when it has imported what it needs."""
    heard, told = SERVER.Pipe(duplex=False)
    names = {"file": file, "folder": folder, "own": str(own), "told": told}
    process = SERVER.Process(target=exec, args=(SCRIPT, names))
    process.start()
    told.close()
    assert heard.recv() == "started"
    return process, heard


def findings(folder):
    """Return a study's summary without times."""
    found = json.loads(json.dumps(summarise(open_study(folder))))
    for arm in found["arms"].values():
        del arm["hours"]
    return found


@pytest.mark.slow
def test_a_study_killed_at_ten_random_moments_equals_an_unbroken_one(study_file, tmp_path, request):
    file, own, chance = study_file(asked=True), request.path.parent, random.Random(0)
    process, heard = start(file, tmp_path / "whole", own)
    began = time.monotonic()
    assert heard.recv() == "ended"
    process.join(60)
    took = time.monotonic() - began
    kills = 0
    while kills < 10:
        process, heard = start(file, tmp_path / "killed", own)
        if heard.poll(took * chance.uniform(0.02, 0.15)):  # it is done
            break
        process.kill()
        process.join(60)
        kills += 1
    assert kills == 10
    run_study(read_study(file), tmp_path / "killed", report=lambda _: None)
    assert findings(tmp_path / "killed") == findings(tmp_path / "whole")
    for ours, theirs in zip(open_study(tmp_path / "killed"), open_study(tmp_path / "whole"), strict=True):
        assert ours.key == theirs.key
        weights = load_file(ours.path / "model" / "model.safetensors")
        other = load_file(theirs.path / "model" / "model.safetensors")
        assert all(torch.equal(value, other[name]) for name, value in weights.items())
    assert not list((tmp_path / "killed").rglob("*.part"))


@pytest.mark.slow
def test_runs_side_by_side_are_those_one_after_the_other(study_file, tmp_path):
    study = read_study(study_file(asked=True))
    run_study(study, tmp_path / "one", report=lambda _: None)
    run_study(study, tmp_path / "two", parallel=2, report=lambda _: None)
    assert findings(tmp_path / "two") == findings(tmp_path / "one")
