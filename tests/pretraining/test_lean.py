"""Training needs torch, transformers, numpy, numba, scipy and pydantic: a machine with a GPU may have nothing else."""

import os
import subprocess
import sys

import pytest

ABSENT = """
import sys
from importlib.machinery import PathFinder

LACKING = set("pyarrow duckdb rich isal zstandard selectolax lxml upath aiohttp matplotlib docutils markdown_it "
              "tensorboard tabulate sparse_dot_topn webencodings".split())


class Lean(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        frame = sys._getframe(1)
        while "importlib" in frame.f_code.co_filename:
            frame = frame.f_back
        ours = frame.f_globals.get("__name__", "").startswith("linkbert.")
        lacking = LACKING | ({"fsspec"} if ours else set())  # torch itself brings that
        return None if name.partition(".")[0] in lacking else super().find_spec(name, path, target)


sys.meta_path[sys.meta_path.index(PathFinder)] = Lean
"""
RUN = """
from pathlib import Path

from linkbert.config import make_config
from linkbert.instances.parts import Part
from linkbert.model.fill import fill_mask
from linkbert.pretraining.evaluation import score_model
from linkbert.pretraining.run import pretrain
from linkbert.tasks.suite import finetune

WORDS = ("max_steps=2 batch_size=8 sequence_length=48 num_hidden_layers=1 hidden_size=16 num_attention_heads=2 "
         "threads=1 intermediate_size=32 held_out=0.2 eval_pairs=24 compile=off precision=fp32").split()
result = pretrain("store", "run", WORDS)
assert result.finished and result.scores.pairs == 24
assert score_model(result.model, [Part("", Path("store"))], make_config("tiny", WORDS)).pairs == 24
assert len(fill_mask(result.model, "word10 [MASK]", top=3)[0]) == 3
assert finetune("run/model", "own.toml:stars", data="data", to="results", settings={"num_train_epochs": 1})
assert "typer" not in sys.modules

from linkbert.cli import main

assert main(["pretrain", "store", "--to", "run2", *WORDS]) == 0
assert main(["score", "run2"]) == 0
assert main(["fill", "word10 [MASK]", "--model", "run2", "--top", "3"]) == 0
assert main(["finetune", "run2", "own.toml:stars", "--data", "data", "--to", "results2", "num_train_epochs=1"]) == 0
assert not LACKING & sys.modules.keys()
"""
STARS = """
[stars]
title = "Stars"
kind = "text"
format = "tsv"
metrics = ["accuracy"]
options.columns = { id = "id", a = "text", label = "stars" }
files = { train = ["train.tsv"], dev = ["dev.tsv"] }
"""


@pytest.mark.slow
def test_training_runs_from_a_store_without_what_reads_corpora(make_store, tmp_path):
    make_store("store")
    (tmp_path / "own.toml").write_text(STARS)
    (tmp_path / "data").mkdir()
    rows = [f"{i}\tword{10 + i} word{20 + i}\t{i % 2}" for i in range(8)]
    for split in ("train", "dev"):
        (tmp_path / "data" / f"{split}.tsv").write_text("\n".join(["id\ttext\tstars", *rows]) + "\n")
    command = [sys.executable, "-c", ABSENT + RUN]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "tensorboard is not installed: run/journal.jsonl alone has the curves" in done.stderr
    assert "train: 2/2" in done.stderr  # a plain line, where rich has a bar
    assert "masked tokens right: " in done.stdout
    assert "the model is in run2/model" in done.stdout
