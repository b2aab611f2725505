"""What several test files ask of a run, and what a run in several processes says of its end."""

import torch
from safetensors.torch import load_file

from linkbert.pretraining.checkpoint import find_model
from linkbert.pretraining.journal import TIMINGS, read_journal


def journal(run):
    """Read a run's journal without what a repetition cannot equal."""
    entries = read_journal(run / "journal.jsonl")
    return [{key: value for key, value in entry.items() if key not in TIMINGS} for entry in entries]


def weights(run):
    return load_file(find_model(run) / "model.safetensors")


def assert_same(run, other):
    assert journal(run) == journal(other)
    assert (find_model(run) / "config.json").read_bytes() == (find_model(other) / "config.json").read_bytes()
    for name, value in weights(run).items():
        assert torch.equal(value, weights(other)[name]), name


def assert_ended(started, run):
    """Listen to all processes of a run until they end, well; else show how each of them did and all last words."""
    told = [each.listen() for each in started]
    codes, errors = [each.process.exitcode for each in started], run.with_name("run.errors").read_text()
    assert [lines[-1:] for lines in told] == [["ended"]] * len(started), (codes, errors)
    return told
