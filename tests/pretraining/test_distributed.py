"""Several processes that train as one, and runs that are cut off: by `kill -9` or by a signal."""

import multiprocessing
import os
import random
import shutil
import signal
import threading
import time

import pytest
import torch

from helpers import assert_ended, assert_same, journal, weights
from linkbert.pretraining.checkpoint import checkpoints, read_state
from linkbert.pretraining.distributed import DistributedContext, shard
from linkbert.pretraining.run import pretrain


def flat(line):
    """Name every number of a journal line, those and of its tables, but utilisation, which follows the micro-batch."""
    found = {}
    for name, value in line.items():
        if isinstance(value, dict):
            found |= {f"{name}/{inner}": number for inner, number in flat(value).items()}
        elif isinstance(value, int | float) and name not in ("step", "utilisation"):
            found[name] = value
    return found


def assert_close(run, other, rel):
    """The same pairs and masks to the last one; losses and scores up to rounding."""
    for line, wanted in zip(journal(run), journal(other), strict=True):
        if "evaluation" in line:
            assert line["evaluation"]["mlm_accuracy"]["count"] == wanted["evaluation"]["mlm_accuracy"]["count"]
            assert line["evaluation"]["mlm_loss"] == pytest.approx(wanted["evaluation"]["mlm_loss"], rel=rel)
        else:
            assert line["tokens"] == wanted["tokens"]
            assert flat(line) == pytest.approx(flat(wanted), rel=rel)
    states = [read_state(checkpoints(each)[-1]) for each in (run, other)]
    assert states[0].relations == states[1].relations


@pytest.fixture
def smooth(settings):
    """Give settings under which rounding stays rounding: no dropout, and steps that AdamW does not blow up."""
    return settings.replace(
        hidden_dropout_prob=0.0, learning_rate=1e-3, adam_epsilon=1e-3, max_steps=8, logging_steps=1, eval_steps=6
    )


SUM = """
import torch, torch.distributed as dist
from linkbert.pretraining.distributed import DistributedContext, run_on_main, sum_gradients

dist.init_process_group("gloo", init_method=f"file://{path}", rank=rank, world_size=2)
context = DistributedContext(rank, 2)
model = torch.nn.ParameterList(torch.ones(2, 3) for _ in range(4))
for number in {0: (0, 1), 1: (0, 2)}[rank]:
    model[number].grad = torch.full((2, 3), 10.0 * number + rank + 1)
sum_gradients(context, model)
told.send([None if each.grad is None else each.grad.tolist() for each in model])
told.send(run_on_main(context, lambda: ["a", 1.5, None] if context.is_main_process else object()))
"""


def test_an_old_torch_is_refused_where_its_checkpoints_could_not_be_written(monkeypatch):
    monkeypatch.setattr(torch, "__version__", torch.torch_version.TorchVersion("2.8.0"))
    with pytest.raises(ValueError, match=r"sharding=full needs torch 2\.9 or later, this is 2\.8\.0; or sharding=none"):
        shard(torch.nn.Linear(1, 1), DistributedContext(world_size=2), "full")


@pytest.mark.slow
def test_gradients_that_one_process_or_none_has(tmp_path):
    """Of four parameters both have a gradient for the first, one for the second and third, and none for the last."""
    server, pipes = multiprocessing.get_context("forkserver"), []
    for rank in range(2):
        heard, told = server.Pipe(duplex=False)
        server.Process(target=exec, args=(SUM, {"path": tmp_path / "store", "rank": rank, "told": told})).start()
        told.close()
        pipes.append(heard)
    for heard in pipes:
        assert heard.poll(60)
        assert heard.recv() == [[[3.0] * 3] * 2, [[11.0] * 3] * 2, [[22.0] * 3] * 2, None]
        assert heard.recv() == ["a", 1.5, None]


@pytest.mark.slow
@pytest.mark.parametrize(("count", "sharding"), [(2, "none"), (4, "none"), (4, "hybrid"), (4, "full")])
def test_many_processes_train_as_one(store, run, smooth, together, count, sharding):
    pretrain(store, run.with_name("one"), smooth)
    assert_ended(together(store, run, smooth.replace(sharding=sharding), count), run)
    assert_close(run, run.with_name("one"), rel=1e-6)
    for name, value in weights(run).items():
        assert torch.allclose(value, weights(run.with_name("one"))[name], atol=1e-5), name


@pytest.mark.slow
def test_two_processes_train_on_a_mixture_as_one(mix, run, smooth, together):
    pretrain(mix, run.with_name("one"), smooth)
    assert_ended(together(mix, run, smooth), run)
    assert_close(run, run.with_name("one"), rel=1e-6)
    counts = [
        journal(each)[-1]["evaluation"]["stores"]["wiki"]["mlm_accuracy"]["count"] for each in (run, run.parent / "one")
    ]
    assert counts[0] == counts[1]


@pytest.mark.slow
@pytest.mark.parametrize("sharding", ["none", "full"])
def test_four_processes_go_on_to_the_same_bits(store, run, settings, together, sharding):
    """Sums of four depend on their order: it must be that of the first sitting from the first step on."""
    settings = settings.replace(sharding=sharding)
    assert_ended(together(store, run, settings, 4), run)
    whole, last = journal(run), weights(run)
    shutil.rmtree(checkpoints(run)[-1])
    shutil.rmtree(run / "model")
    told = assert_ended(together(store, run, settings, 4), run)
    assert told[0][0] == "training 9"
    assert told[1:] == [["ended"]] * 3
    assert journal(run) == whole
    assert all(torch.equal(value, last[name]) for name, value in weights(run).items())


@pytest.mark.slow
def test_stopped_on_four_it_goes_on_with_two_and_one(store, run, smooth, together):
    """SIGTERM to one process stops all at one step; four sharded moments become two halves and then a whole."""
    smooth = smooth.replace(max_steps=24, eval_steps=0)
    pretrain(store, run.with_name("one"), smooth)
    reached = []
    for count, sharding, moment in ((4, "hybrid", "training 3"), (4, "full", "training 9"), (2, "full", "training 15")):
        started = together(store, run, smooth.replace(sharding=sharding), count)
        started[0].listen(until=moment)
        os.kill(started[-1].process.pid, signal.SIGTERM)
        assert_ended(started, run)
        folder = checkpoints(run)[-1]
        reached.append(read_state(folder).step)
        assert len(list((folder / "training").glob("shard-*"))) == count  # with hybrid, each writes a part of its rows
    assert 3 <= reached[0] < 9 <= reached[1] < 15 <= reached[2] < 24
    assert pretrain(store, run, smooth, resume=True).finished
    assert_close(run, run.with_name("one"), rel=1e-5)


@pytest.mark.slow
def test_a_stop_of_one_process_ends_the_evaluation_of_all(store, run, settings, together):
    started = together(store, run, settings.replace(eval_steps=5, eval_pairs=50_000))
    started[0].listen(until="evaluation 5")
    os.kill(started[1].process.pid, signal.SIGTERM)
    assert_ended(started, run)
    state = read_state(checkpoints(run)[-1])
    assert (state.step, state.due, state.evaluation) == (5, True, None)
    assert assert_ended(together(store, run, settings.replace(eval_steps=5)), run)[0][0] == "evaluation 5"
    lines = [(line["step"], "evaluation" in line) for line in journal(run)]
    assert lines == [(3, False), (5, True), (6, False), (9, False), (10, True), (12, False), (12, True)]


@pytest.mark.slow
@pytest.mark.parametrize(("victim", "number"), [(2, signal.SIGKILL), (0, signal.SIGKILL), (1, signal.SIGSTOP)])
def test_a_process_that_dies_ends_the_others_with_one_line(store, run, settings, together, victim, number):
    """Killed, its connections break; stopped, as a machine that vanishes, it merely falls silent."""
    started = together(store, run, settings.replace(max_steps=10_000, save_steps=5_000), 3, timeout=6)
    started[0].listen(until="training 3")
    os.kill(started[victim].process.pid, number)
    began = time.monotonic()
    told = [each.listen() for each in started if each is not started[victim]]
    assert time.monotonic() - began < 60
    assert {each.process.exitcode for each in started if each is not started[victim]} == {1}
    lines = [line for each in told for line in each if not line.startswith("training")]
    lines += [line for line in run.with_name("run.errors").read_text().splitlines() if "another process" in line]
    assert len(lines) == 1
    assert lines[0].endswith("resume from the last checkpoint with --resume")


@pytest.mark.slow
def test_one_process_refuses_and_speaks_for_all(store, run, settings, together):
    started = together((store, run.with_name("nowhere"), store), run, settings, 3)
    told = [each.listen() for each in started]
    assert told[0] == told[2] == []
    assert "nowhere" in told[1][0]
    assert {each.process.exitcode for each in started} == {1}


@pytest.mark.slow
def test_a_refusal_of_the_first_process_is_told_once(store, run, settings, together):
    run.mkdir()
    (run / "thesis.tex").write_text("")
    told = [each.listen() for each in together(store, run, settings)]
    assert "no run.json" in told[0][0]
    assert told[1] == []


@pytest.mark.slow
def test_killed_ten_times_equals_unbroken(store, run, settings, start):
    """`kill -9` at random moments, some in a step, some while a checkpoint is written or an evaluation runs."""
    settings = settings.replace(
        max_steps=60, logging_steps=4, save_steps=3, eval_steps=5, eval_pairs=24, save_total_limit=2
    )
    pretrain(store, run.with_name("unbroken"), settings)
    draw = random.Random(0)
    for number in range(10):
        stage = ("training", "checkpoint", "evaluation")[number % 3]
        sitting = start(store, run, settings)
        while sitting.heard.recv().split()[0] != stage or draw.random() < 0.3:
            pass
        time.sleep(draw.random() * 0.02)
        sitting.kill()
        assert sitting.process.exitcode == -signal.SIGKILL
    assert pretrain(store, run, settings, resume=True).finished
    assert_same(run, run.with_name("unbroken"))


@pytest.mark.slow
def test_a_mixture_killed_and_resumed_equals_unbroken(mix, run, settings, start):
    settings = settings.replace(max_steps=20, logging_steps=4, save_steps=7, eval_steps=10)
    pretrain(mix, run.with_name("unbroken"), settings)
    sitting = start(mix, run, settings)
    assert sitting.listen(until="training 9")[-1] == "training 9"
    sitting.kill()
    assert pretrain(mix, run, settings, resume=True).finished
    assert_same(run, run.with_name("unbroken"))


def test_training_goes_on_while_a_checkpoint_is_written(train, small, make_toy, monkeypatch):
    """The write of step 4 waits until step 7 is done; what it holds is what the model was at step 4."""
    from linkbert.pretraining import checkpoint

    write, far = checkpoint.save_file, threading.Event()

    def slow(tensors, path, **options):
        assert "step-0000004" not in path or far.wait(20)
        write(tensors, path, **options)

    monkeypatch.setattr(checkpoint, "save_file", slow)
    _, _, run = train(small(steps=8), progress=lambda told: far.set() if told.step == 7 else None)
    monkeypatch.undo()
    assert far.is_set()
    _, _, other = train(small(steps=8), run="other")
    for mine, wanted in zip(checkpoints(run), checkpoints(other), strict=True):
        for name in ("model.safetensors", "training/optimizer.safetensors"):
            assert (mine / name).read_bytes() == (wanted / name).read_bytes()


@pytest.mark.slow
def test_the_best_checkpoint_stays(train, small):
    losses = iter([3.0, 1.0, 2.0, 1.0, 1.5])
    config = small(steps=10, save_steps=1, eval_steps=2, keep=1)
    _, _, run = train(config, evaluate=lambda: {"mlm_loss": next(losses)})
    assert [folder.name for folder in checkpoints(run)] == ["step-0000004", "step-0000010"]
