"""What a run says of itself stays true when it was stopped, given more steps, moved, or scored on other documents."""

import logging
import os
import signal
from typing import ClassVar

import pytest
import torch
from safetensors.torch import load_file
from tests.helpers import assert_same
from torch import nn

from linkbert import files
from linkbert.files import replacing
from linkbert.model.heads import Objective
from linkbert.pretraining.checkpoint import find_model
from linkbert.pretraining.run import pretrain
from linkbert.pretraining.scores import score


class OnLinked(Objective):
    """Another loss, of linked pairs alone: its head has no gradient in a step without one."""

    reports: ClassVar = {"mlm_loss": 1, "linked_loss": 1}
    over: ClassVar = {"mlm_loss": "masked", "linked_loss": "linked"}

    def modules(self, config):
        return nn.Linear(config.hidden_size, 1)

    def loss(self, encoded, batch):
        which, total = batch.relations == 2, torch.zeros((), device=encoded.first.device)
        if which.any():
            total = (encoded.model.objective_head(encoded.first[which]).squeeze(-1) - 1).square().sum()
        return super().loss(encoded, batch) | {"linked_loss": (total, which.sum())}


ON_LINKED = OnLinked()


def stop_at(step, stage="training"):
    return lambda now: os.kill(os.getpid(), signal.SIGTERM) if (now.stage, now.step) == (stage, step) else None


def test_a_head_without_a_gradient_in_some_steps_is_resumed_as_it_was(store, tmp_path, settings):
    config = settings.replace(
        objective=f"{__name__}:ON_LINKED", batch_size=2, micro_batch_size=2, eval_steps=0, logging_steps=1
    )
    pretrain(store, tmp_path / "unbroken", config)
    pretrain(store, tmp_path / "broken", config, progress=stop_at(7))
    held = load_file(tmp_path / "broken" / "checkpoints" / "step-0000007" / "training" / "optimizer.safetensors")
    assert any(key.startswith("step.") for key in held)
    assert pretrain(store, tmp_path / "broken", config, resume=True).finished
    assert_same(tmp_path / "broken", tmp_path / "unbroken")


def test_a_run_that_is_to_get_longer_offers_its_last_checkpoint(store, run, settings):
    config = settings.replace(lr_scheduler_type="constant_with_warmup", max_steps=4, warmup_steps=0, save_steps=2)
    pretrain(store, run, config)
    assert find_model(run) == run / "model"
    ended = pretrain(store, run, config.replace(max_steps=12), resume=True, progress=stop_at(8))
    assert not ended.finished
    assert find_model(run) == run / "checkpoints" / "step-0000008"
    for _ in range(2):  # then nothing is left to do
        pretrain(store, run, config.replace(max_steps=12), resume=True)
        assert find_model(run) == run / "model"


@pytest.mark.parametrize("can", [True, False])
def test_a_kill_while_a_folder_is_replaced_leaves_a_whole_one(tmp_path, monkeypatch, can):
    def write(number):
        with replacing(tmp_path / "step", folder=True) as part:
            (part / "number").write_text(number)

    if not can:  # as on a disk that cannot exchange two names
        monkeypatch.setattr(files, "_exchange", lambda *_: False)
    write("old")
    if not (child := os.fork()):
        files.remove = lambda _: os._exit(9)  # killed as it is about to remove the old one
        write("new")
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert (tmp_path / "step" / "number").read_text() == ("new" if can else "old")
    write("newer")
    assert (tmp_path / "step" / "number").read_text() == "newer"
    assert [*tmp_path.iterdir()] == [tmp_path / "step"]


def test_documents_that_were_trained_on_are_not_held_out(store, run, settings, caplog):
    pretrain(store, run, settings.replace(max_steps=1, held_out=0.1))
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        score(run)
        assert not [each for each in caplog.messages if "trained on" in each]
        score(run, settings={"held_out": 0.3})
    said = [each for each in caplog.messages if "trained on" in each]
    assert said == [
        f"{store}: these documents are not all held out: it was trained on some (held_out=0.3, and {run} had 0.1 of it)"
    ]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"budget": "6s", "max_time": "1s"}, "max_time must be none with a budget"),
        ({"max_time": "1s", "mlm_probability_end": 0.5}, "mlm_probability_end must be 0 with a budget or max_time"),
        ({"learning_rate": "1e9999999"}, "learning_rate"),
    ],
)
def test_settings_that_would_not_hold_together_are_refused(small, changes, said):
    with pytest.raises(ValueError, match=said):
        small(**changes)


def test_shares_and_objective_fit_together_from_python(store, run, settings):
    given = settings.model_dump(exclude_defaults=True) | {"objective": "nsp", "shares": (0.5, 0.5, 0), "max_steps": 1}
    assert pretrain(store, run, given).finished


def test_a_card_names_the_same_origin_wherever_a_run_is_resumed(store, tmp_path, settings, monkeypatch):
    pretrain(store, tmp_path / "start", settings.replace(max_steps=1))
    monkeypatch.chdir(tmp_path)
    config = settings.replace(init="start/model", max_steps=6)
    pretrain(store, tmp_path / "unbroken", config)
    pretrain(store, tmp_path / "broken", config, progress=stop_at(2))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    pretrain(store, tmp_path / "broken", ["init=start/model"], resume=True)
    cards = [(tmp_path / name / "model" / "README.md").read_text() for name in ("unbroken", "broken")]
    assert "base_model" not in cards[1]
    assert cards[0] == cards[1]
