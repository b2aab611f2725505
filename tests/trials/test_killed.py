"""A study that is killed ten times, anywhere, and started again ends as one that was not."""

import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

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


@pytest.mark.slow
@pytest.mark.parametrize("whom", ["the group", "the first process"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_runs_side_by_side_write_a_checkpoint_when_they_are_stopped(study_file, tmp_path, whom, number):
    """Of 100,000 steps and a checkpoint every 100,000, some are done; no process is left, and no third run is begun."""
    file = Path(study_file())
    asked = file.read_text().replace("budget.steps = 6", "budget.steps = 100_000")
    file.write_text(asked.replace("save_steps = 4", "save_steps = 100_000"))
    command = [sys.executable, "-m", "linkbert", "study", str(file), "--to", str(tmp_path / "to"), "--parallel", "2"]
    journals = lambda: [*(tmp_path / "to").glob("runs/*/journal.jsonl")]  # noqa: E731
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
        try:
            while sum(each.read_text().count("\n") > 3 for each in journals()) < 2:
                assert process.poll() is None, process.stderr.read()
                time.sleep(0.1)
            (os.killpg if whom == "the group" else os.kill)(process.pid, number)
            said = process.communicate(timeout=60)[1]
        finally:
            process.kill()  # and with it its workers
    assert process.returncode == 130
    assert said.endswith("linkbert study: interrupted\n")
    assert len([*(tmp_path / "to").rglob("step-*")]) == len(journals()) == 2
    for _ in range(100):  # what multiprocessing started ends a moment later
        with suppress(ProcessLookupError):
            os.killpg(process.pid, 0)
            time.sleep(0.1)
            continue
        break
    else:
        pytest.fail("processes are left")
