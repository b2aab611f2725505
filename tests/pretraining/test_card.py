"""All that computes on a device, on a CUDA device that is not there: see tests/pretended.py."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from linkbert.pretraining.run import pretrain

TESTS = Path(__file__).parents[1]
SETTINGS = {"max_steps": 4, "batch_size": 8, "sequence_length": 48, "held_out": 0.3, "eval_pairs": 6, "hidden_size": 16,
            "num_attention_heads": 2, "intermediate_size": 32, "logging_steps": 1, "save_steps": 2, "compile": "off",
            "hidden_dropout_prob": 0.1, "threads": 1, "scope": "document"}  # fmt: skip
HEAD = """
import pretended
card = pretended.insert()
"""
TRAIN = """
import json, sys
from pathlib import Path
import numpy as np
from linkbert.config import Config
from linkbert.pretraining import loop
from linkbert.pretraining.run import pretrain
from linkbert.trials import probes
store, folder, settings = sys.argv[1], Path(sys.argv[2]), json.loads(sys.argv[3])
begin, end, within = loop.learning_rate, loop.update_unless, []
def begins(*arguments):
    card.waits.clear()
    return begin(*arguments)
def ends(*arguments):
    end(*arguments)
    within.append([*card.waits])
loop.learning_rate, loop.update_unless = begins, ends
with card:
    for precision in ("fp32", "bf16", "fp16"):
        pretrain(store, folder / precision, settings | {"precision": precision, "device": "cuda"}, preset="tiny")
print(json.dumps(within))
ids = np.arange(6, 12)  # the stores have no names: a question of one's own
asked = [probes.Question(at, kind, ids, slice(2, 3), ((), ids, ids, ids)) for kind in probes.KINDS for at in (0, 1)]
probes.cloze_questions = lambda store, config: asked
own = {"device": "cuda", "sequence_length": 48, "held_out": 0.3, "examples": 4, "candidates": 10, "scope": "document"}
with card:
    for name in ("score", "relation_transfer", "link_gain", "linked_retrieval", "two_hop_cloze"):
        settings = {**own, "eval_pairs": 6, "batch_size": 4} if name == "score" else own
        settings = {key: value for key, value in settings.items() if name != "score" or key in Config.model_fields}
        print(name, json.dumps(getattr(probes, name)(folder / "bf16" / "model", store, settings)["measures"]))
"""
PLANTED = """
import torch
with card:
    there = torch.zeros(3, device="cuda")
    for read in (
        lambda: float(there[0]),
        lambda: there[there > 0],
        lambda: there.__setitem__(0, 1.0),
        lambda: torch.zeros(3).to("cuda", non_blocking=True),
        lambda: torch.tensor(1.0, device="cuda"),
        lambda: there[torch.tensor([0])],
        lambda: there + 1 + torch.tensor(1.0),
        lambda: torch.zeros(3).pin_memory().to("cuda", non_blocking=True),
        lambda: there.scatter(0, there.long(), there),
        lambda: there[None].scatter(1, there[None].long(), there[None]),
    ):
        card.waits.clear()
        read()
        print(len(card.waits))
    for wrong in (lambda: there + torch.zeros(3), lambda: torch.cat([there, torch.zeros(3)])):
        try:
            wrong()
        except RuntimeError as error:
            print(error)
"""


@pytest.fixture(scope="module")
def on_card(tmp_path_factory):
    """Return a function that runs a script where the card is, and gives what it printed."""
    pretended = pytest.importorskip("pretended")
    library = pretended.build(tmp_path_factory.mktemp("card"))

    def run(script, *words):
        paths = os.pathsep.join([str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])])
        environment = os.environ | {"LINKBERT_CARD": str(library), "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
        words = [sys.executable, "-c", HEAD + script, *map(str, words)]
        done = subprocess.run(words, capture_output=True, text=True, env=environment)
        assert done.returncode == 0, done.stderr[-4000:]
        return done.stdout

    return run


@pytest.mark.slow
def test_the_card_refuses_and_notes_what_it_must(on_card):
    """Numbers read, a mask, an assigned number, a copy not pinned, a new tensor, an index, a scatter in rows alone."""
    *waits, mixed, joined = on_card(PLANTED).splitlines()
    assert [*map(int, waits)] == [1, 1, 1, 1, 1, 1, 0, 0, 0, 1]
    assert mixed == "add: a tensor of the host meets one of the card"
    assert joined == "cat: a tensor of the host meets one of the card"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_run_on_the_card_never_waits_within_an_update_and_learns_the_same(on_card, stores, tmp_path):
    within, *found = on_card(TRAIN, stores[0], tmp_path, json.dumps(SETTINGS)).splitlines()
    assert json.loads(within) == [[]] * 3 * SETTINGS["max_steps"]
    pretrain(stores[0], tmp_path / "here", SETTINGS | {"precision": "fp32", "device": "cpu"}, preset="tiny")
    curves = {}
    for run in ("here", "fp32", "bf16", "fp16"):
        lines = map(json.loads, (tmp_path / run / "journal.jsonl").read_text().splitlines())
        curves[run] = [line["mlm_loss"] for line in lines if "mlm_loss" in line]
        assert len(curves[run]) == SETTINGS["max_steps"]
        assert curves[run] == pytest.approx(curves["here"], rel=1e-5 if run in ("here", "fp32") else 1e-2)
    asked = [line.split()[0] for line in found]
    assert asked == ["score", "relation_transfer", "link_gain", "linked_retrieval", "two_hop_cloze"]
