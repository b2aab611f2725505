"""The check of a GPU, at toy size on the CPU: that each of its stages runs and passes."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from linkbert import Document, Link, build_store


def towns():
    """Make documents of thirty words that each link to the next two."""
    draw = random.Random(0)
    for number in range(120):
        words = [f"{draw.choice('bdfgklmnprst')}{draw.choice('aeiou')}{number % 12}" for _ in range(30)]
        text = ". ".join(" ".join(words[i : i + 6]).capitalize() for i in range(0, 30, 6)) + "."
        links = [Link(0, len(words[0]), str((number + 1) % 120)), Link(-1, -1, str((number + 2) % 120))]
        yield Document(str(number), f"Town {number}", text, tuple(links))


@pytest.mark.slow
@pytest.mark.timeout(2000)
def test_every_stage_of_the_check_passes_at_toy_size(tmp_path):
    build_store(towns(), tmp_path / "store", vocabulary="train:300")
    script = Path(__file__).parents[1] / "benchmarks" / "gpu.py"
    words = ["--out", tmp_path / "out", "--device", "cpu", "--toy", "--seconds", "1800"]
    stages = (
        ["sanity", "correct", "speed", "loop", "evidence"]
        if "LINKBERT_GPU_CHECK" in os.environ
        else ["sanity", "speed"]
    )
    words += ["--stages", ",".join(stages)]  # all of them take minutes
    done = subprocess.run([sys.executable, script, tmp_path / "store", *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    found = [json.loads(line) for line in (tmp_path / "out" / "results.jsonl").read_text().splitlines()]
    assert {each["stage"] for each in found} == {*stages}
    assert not [each for each in found if each["verdict"] == "FAIL"]
    names = {each["name"] for each in found if each["verdict"] == "pass"}
    assert {"dropout, compiled", "loss, bfloat16"} <= names
    if "correct" in stages:
        assert {"run twice, compile=off", "resumed, compile=off", "resumed on cpu", "packed = padded"} <= names
        assert {"curves", "equal tokens"} <= names
    # Our layers, transformers' in our model, and transformers' own two ways.
    assert len([each for each in found if "contender" in each and each["tokens_per_second"] > 0]) == 4
