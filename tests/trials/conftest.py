"""A small store and a study of it, of our own writing."""

import json
import random
import sys
from pathlib import Path

import pytest

from linkbert.api import build_store
from linkbert.instances.vocabulary import SPECIAL

STUDY = """
title = "Toys"
seeds = [0, 1]
budget.steps = 6

[stores.toys]
path = "{store}"

[arms]
linkbert = {{}}
bert = {{}}

[settings]
num_hidden_layers = 1
hidden_size = 16
num_attention_heads = 2
intermediate_size = 32
sequence_length = 32
batch_size = 8
micro_batch_size = 4
warmup_steps = 0.25
learning_rate = 1e-2
precision = "fp32"
compile = "off"
threads = 1
logging_steps = 3
save_steps = 4
eval_steps = 0
eval_pairs = 48
held_out = 0.2
"""

TASK = """
[sides]
kind = "text"
format = "tsv"
metrics = ["accuracy"]
files = { train = ["train.tsv"], dev = ["dev.tsv"], test = ["test.tsv"] }
options.columns = { id = "id", a = "a", label = "label" }
"""
ASKED = """
[probes.score]
[probes.lengths]
name = "own_probe:lengths"

[tasks.sides]
name = "{folder}/sides.toml"
data = "{folder}"
seeds = 2
max_length = 16
batch_size = 8
num_train_epochs = 1
threads = 1
precision = "fp32"
"""


@pytest.fixture(scope="session", autouse=True)
def own_modules():
    """Let the tests' own probe be imported, here and in processes that tests start."""
    sys.path.insert(0, str(Path(__file__).parent))
    yield
    sys.path.remove(str(Path(__file__).parent))


@pytest.fixture(scope="session")
def toys(tmp_path_factory):
    """Build a store of 60 documents of 6 sentences, each with links to the next two."""
    folder, draw, lines = tmp_path_factory.mktemp("toys"), random.Random(0), []
    words = [f"word{i}" for i in range(10, 58)]
    (folder / "vocab.txt").write_text("\n".join([*SPECIAL, *words, "."]) + "\n")
    for number in range(60):
        said = [
            " ".join(words[number % 12 * 4 + draw.randrange(4)] for _ in range(6)).capitalize() + "." for _ in range(6)
        ]
        starts = [len(" ".join(said[:i])) + 1 for i in (1, 4)]
        links = [{"start": s, "end": s + 6, "target": str((number + i) % 60)} for i, s in enumerate(starts, 1)]
        lines.append(json.dumps({"id": str(number), "text": " ".join(said), "links": links}))
    (folder / "toys.jsonl").write_text("\n".join(lines))
    for name, size in (("train", 24), ("dev", 8), ("test", 20)):
        rows = [f"{i}\t{words[draw.randrange(24) + 24 * (i % 2)]} .\t{['low', 'high'][i % 2]}" for i in range(size)]
        (folder / f"{name}.tsv").write_text("\n".join(["id\ta\tlabel", *rows]) + "\n")
    (folder / "sides.toml").write_text(TASK)
    build_store([folder / "toys.jsonl"], folder / "store", vocabulary=str(folder / "vocab.txt"))
    return folder / "store"


@pytest.fixture(scope="session")
def write_study(toys):
    """Write a study's file, with lines of a test's own before or after, and perhaps a probe and a task."""

    def write(path, before="", after="", *, asked=False):
        text = STUDY.format(store=toys)
        for line in filter(None, before.splitlines()):
            key = line.partition(" = ")[0].partition(".")[0]
            text = "\n".join([line, *(old for old in text.splitlines() if not old.startswith((f"{key} =", f"{key}.")))])
        path.write_text("\n".join([text, ASKED.format(folder=toys.parent) * asked, after]))
        return path

    return write


@pytest.fixture
def study_file(write_study, tmp_path):
    """Write the file of a test."""
    return lambda before="", after="", **more: write_study(tmp_path / "toys.toml", before, after, **more)
