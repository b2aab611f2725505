"""A small store and a study of it, of our own writing."""

import json
import random

import pytest

from linkbert.api import build_store
from linkbert.instances.vocabulary import SPECIAL

STUDY = """
title = "Toys"
seeds = [0, 1]
budget.steps = 12

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
    build_store([folder / "toys.jsonl"], folder / "store", vocabulary=str(folder / "vocab.txt"))
    return folder / "store"


@pytest.fixture
def study_file(toys, tmp_path):
    """Write the study's file, with lines of a test's own before or after."""

    def write(before="", after="", name="toys.toml"):
        text = STUDY.format(store=toys)
        for line in filter(None, before.splitlines()):
            key = line.partition(" = ")[0]
            text = "\n".join([line, *(old for old in text.splitlines() if not old.startswith(f"{key} ="))])
        (tmp_path / name).write_text(text + "\n" + after)
        return tmp_path / name

    return write
