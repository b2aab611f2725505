import itertools
import json
import math
import os
import re
import signal
import subprocess
import sys
from dataclasses import asdict

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForMaskedLM

from helpers import journal
from linkbert.config import in_seconds, make_config
from linkbert.instances.batches import Batches
from linkbert.instances.sampler import Sampler
from linkbert.model.checkpoint import load_model, start_model
from linkbert.model.optimizer import make_optimizer
from linkbert.model.step import step_function
from linkbert.pretraining import loop
from linkbert.pretraining.checkpoint import State, checkpoints, find_model, last_checkpoint, restore_optimizer
from linkbert.pretraining.distributed import DistributedContext, check_stop
from linkbert.pretraining.journal import read_journal
from linkbert.pretraining.loop import dropout_seed
from linkbert.pretraining.scores import Scores, wilson


def weights(folder):
    return load_file(folder / "model.safetensors")


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def resume(train, config, run, **options):
    """Go on from the run's last whole checkpoint, as `pretrain` does."""
    folder, state = last_checkpoint(run)
    model = load_model(folder)
    optimizer = make_optimizer(model, config)
    restore_optimizer(folder, model, optimizer, state.step - state.skipped, DistributedContext())
    return train(config, run=run.name, model=model, optimizer=optimizer, state=state, **options)


class StopAt:
    """Batches that raise a signal while step `step` is made."""

    def __init__(self, batches, step, number=signal.SIGTERM):
        self.batches, self.step, self.number = batches, step, number
        self.name = batches.name

    def micro_batches(self, step, rank=0, processes=1):
        if step == self.step:
            os.kill(os.getpid(), self.number)
        return self.batches.micro_batches(step, rank, processes)


def test_losses_fall_and_a_hugging_face_folder_comes_out(train, small):
    model, state, run = train(small(steps=60, save_steps=1000))
    lines = read_journal(run / "journal.jsonl")
    assert state.step == 60
    assert lines[-1]["mlm_loss"] < lines[0]["mlm_loss"]
    assert lines[-1]["relation_loss"] < 0.5 * lines[0]["relation_loss"]
    opened = AutoModelForMaskedLM.from_pretrained(find_model(run))
    assert torch.equal(opened.bert.embeddings.word_embeddings.weight, model.bert.embeddings.word_embeddings.weight)


def test_the_journal_says_what_happened(train, config):
    _, state, run = train()
    lines = read_journal(run / "journal.jsonl")
    assert [line["step"] for line in lines] == [3, 6, 9, 12]
    assert set(lines[0]) == {
        "step", "learning_rate", "mlm_loss", "relation_loss", "relation_losses", "relation_accuracy",
        "relation_accuracies", "gradient_norm", "utilisation", "tokens",
        "tokens_per_second", "loader_share", "memory", "elapsed",
    }  # fmt: skip
    assert lines[0]["learning_rate"] == config.learning_rate
    assert 0 < lines[-1]["loader_share"] < 1
    assert lines[-1]["tokens"] == state.tokens
    assert sum(line["utilisation"] for line in lines) / 4 == pytest.approx(state.tokens / (12 * 8 * 16))
    assert 1e8 < lines[0]["memory"] < 1e12  # bytes
    assert sum(state.relations) == 12 * 8
    assert list((run / "tensorboard").iterdir())


def test_memory_is_given_back_now_and_then(train, small, monkeypatch):
    given = []
    monkeypatch.setattr(loop, "give_back_memory", lambda: given.append(True))
    for seconds, times in ((0.0, 6), (60.0, 0)):
        given.clear()
        monkeypatch.setattr(loop, "TIDYING", seconds)
        train(small(steps=6), run=f"after-{seconds}")
        assert len(given) == times


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="glibc's malloc")
def test_memory_that_lies_in_pieces_is_given_back():
    code = """
import re
from pathlib import Path
from linkbert.model.device import give_back_memory, keep_memory
import torch
keep_memory()
resident = lambda: int(re.search(r"RssAnon:\\s*(\\d+)", Path("/proc/self/status").read_text())[1])
kept = [(torch.zeros(1 << 18), torch.zeros(16)) for _ in range(300)]  # a MB, and what stays behind it
kept = [small for _, small in kept]
before = resident()
give_back_memory()
print(before - resident())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) > 200_000  # kB of 300,000


def test_a_journal_line_averages_the_steps_since_the_last(train, small):
    _, _, each = train(small(log_every=1), run="each")
    _, _, three = train(run="three")
    norms = [line["gradient_norm"] for line in journal(each)]
    assert journal(three)[1]["gradient_norm"] == pytest.approx(sum(norms[3:6]) / 3)


def test_accumulation_equals_one_big_batch(train, small):
    runs = [train(small(dropout=0.0, micro_batch_size=size), run=f"of-{size}") for size in (8, 3, 1)]
    for _, _, run in runs[1:]:
        for whole, parts in zip(journal(runs[0][2]), journal(run), strict=True):
            for key in ("mlm_loss", "relation_loss", "gradient_norm", "utilisation"):
                assert parts[key] == pytest.approx(whole[key], rel=1e-4)
            assert parts["relation_losses"] == pytest.approx(whole["relation_losses"], rel=1e-4)
            assert parts["relation_accuracies"] == whole["relation_accuracies"]


@pytest.mark.slow
@pytest.mark.parametrize("pairs", [2_048, 8_192])
def test_gradients_of_large_batches_add_up(stores, small, pairs):
    """In micro-batches of a fixed shape, packed, as in one pass: to 1e-5 of their length."""
    config = small(dropout=0.0, sequence_length=32, batch_size=pairs, held_out=0.1)
    found = []
    for rows, fixed in ((pairs, False), (64, True)):
        sampler = Sampler.open(stores[0], config.replace(micro_batch_size=rows))
        share = Batches(sampler, fixed=fixed).micro_batches(0)
        assert (len(share) == 1) != fixed
        model = start_model(config, len(sampler.store.vocabulary)).eval()
        step = step_function(model, config)
        for batch in share:
            output = step(batch)
            (
                output["mlm_loss"][0] / share.counts.masked + output["relation_loss"][0].sum() / share.counts.pairs
            ).backward()
        found.append(torch.cat([weight.grad.flatten() for weight in model.parameters()]))
    assert (found[1] - found[0]).norm() < 1e-5 * found[0].norm()


def test_the_loss_is_the_mean_over_the_global_batch(train, small, make_toy, toy_batches):
    """By hand: one step without dropout, the sums of one big forward pass over its counts."""
    config = small(steps=1, dropout=0.0, logging_steps=1)
    (batch,) = toy_batches(small(micro_batch=8)).micro_batches(0)
    output = step_function(make_toy(config).eval(), config)(batch)
    _, _, run = train(config)
    line = journal(run)[0]
    assert line["mlm_loss"] == pytest.approx(output["mlm_loss"][0].item() / len(batch.masked_labels), rel=1e-5)
    assert line["relation_loss"] == pytest.approx(output["relation_loss"][0].sum().item() / 8, rel=1e-5)
    losses = {"contiguous": 3, "random": 3, "linked": 2}  # so many pairs of each
    for (name, count), loss, right in zip(
        losses.items(), output["relation_loss"][0], output["relation_accuracy"][0], strict=True
    ):
        assert line["relation_losses"][name] == pytest.approx(loss.item() / count, rel=1e-5)
        assert line["relation_accuracies"][name] == right.item() / count


def test_stopped_and_resumed_equals_unbroken(train, config, toy_batches):
    """A signal in step 7, between journal lines: the step is forgotten, the rest is the same to the bit."""
    _, _, unbroken = train(run="unbroken")
    _, state, broken = train(run="broken", batches=StopAt(toy_batches(config), 7))
    assert state.step == 7
    assert not (broken / "model").exists()
    assert [c.name for c in checkpoints(broken)] == ["step-0000004", "step-0000007"]
    _, state, _ = resume(train, config, broken)
    assert state.step == 12
    assert journal(broken) == journal(unbroken)
    assert same(weights(checkpoints(broken)[-1]), weights(checkpoints(unbroken)[-1]))


def test_a_resumed_run_forgets_what_came_after_its_checkpoint(train, config, monkeypatch):
    monkeypatch.delattr(torch.distributed.checkpoint, "HuggingFaceStorageReader")  # which torch 2.6 does not have
    _, _, run = train()
    whole, last = journal(run), weights(checkpoints(run)[-1])
    (checkpoints(run)[-1] / "training" / "state.json").unlink()
    with (run / "journal.jsonl").open("a") as file:
        file.write('{"step": 12, "mlm_lo')  # a line that a crash cut
    resume(train, config, run)
    assert journal(run) == whole
    assert same(weights(checkpoints(run)[-1]), last)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["model.safetensors", "training/optimizer.safetensors", "training/state.json"])
@pytest.mark.parametrize("damage", ["cut", "flipped", "gone", "other"])
def test_a_damaged_checkpoint_is_passed_over(train, name, damage, caplog):
    _, _, run = train()
    path = checkpoints(run)[-1] / name
    content = path.read_bytes()
    match damage:
        case "cut":
            path.write_bytes(content[: len(content) // 2])
        case "flipped":
            path.write_bytes(content[:-40] + bytes([content[-40] ^ 1]) + content[-39:])
        case "gone":
            path.unlink()
        case "other":
            path.write_text('{"format": 1}')
    folder, state = last_checkpoint(run)
    assert (folder.name, state.step) == ("step-0000008", 8)
    assert "step-0000012 is skipped" in caplog.text


def test_a_damaged_newest_checkpoint_does_not_cost_the_ones_before_it(train, small, make_toy):
    _, _, run = train(small(keep=1))
    (checkpoints(run)[-1] / "training" / "state.json").unlink()
    _, _, run = train(small(keep=1, steps=8))  # goes on from the start, as there is no other
    assert last_checkpoint(run)[1].step == 8


def test_old_checkpoints_go(train, small):
    _, _, run = train(small(keep=2, save_steps=2))
    assert [folder.name for folder in (run / "checkpoints").iterdir()] != []
    assert [folder.name for folder in checkpoints(run)] == ["step-0000010", "step-0000012"]
    assert not list((run / "checkpoints").glob("*.part"))


@pytest.mark.parametrize("where", ["mlm_loss", "relation_loss"])
def test_a_loss_that_is_not_a_number_stops_before_the_update(train, config, make_toy, where):
    model = make_toy()
    step, calls = step_function(model, config), []

    def forward(batch):
        calls.append(0)
        output = step(batch)
        return output | {where: (output[where][0] * math.nan, output[where][1])} if len(calls) == 11 else output

    with pytest.raises(ValueError, match="step 6 is not a number") as caught:
        train(model=model, forward=forward)
    message = str(caught.value)
    assert "\n" not in message
    assert "step-0000004" in message
    assert "learning_rate" in message
    assert "on_spike=skip" in message
    assert all(torch.isfinite(parameter).all() for parameter in model.parameters())


def test_a_gradient_that_is_not_a_number_stops_too(train, make_toy, tmp_path):
    model = make_toy()
    model.bert.pooler.dense.bias.register_hook(lambda gradient: gradient * math.inf)
    with pytest.raises(ValueError, match=r"gradient norm (inf|nan)") as caught:
        train(model=model)
    assert "there is no checkpoint yet" in str(caught.value)
    assert checkpoints(tmp_path / "run") == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_end_with_a_checkpoint_and_handlers_come_back(train, config, toy_batches, number):
    before = signal.getsignal(number)
    _, state, run = train(batches=StopAt(toy_batches(config), 2, number))
    assert state.step == 2
    assert [folder.name for folder in checkpoints(run)] == ["step-0000002"]
    assert signal.getsignal(number) is before


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_signal_whose_interrupt_is_lost_still_stops_the_first_step(train, make_toy, config):
    """Raised in a finaliser, as those of the compiler, an exception is printed and forgotten by Python."""

    class Finalised:
        def __del__(self):
            os.kill(os.getpid(), signal.SIGINT)

    model = make_toy()
    step = step_function(model, config)

    def forward(batch):
        Finalised()
        return step(batch)

    _, state, run = train(config, model=model, forward=forward)
    assert state.step == 0
    assert checkpoints(run) == []


def test_a_full_disk_is_one_line_and_the_last_checkpoint_stays(train, make_toy, monkeypatch, tmp_path):
    from linkbert.pretraining import checkpoint

    write = checkpoint.save_file

    def full(tensors, path, **options):
        if "step-0000008" in path:
            raise OSError(28, "No space left on device")
        write(tensors, path, **options)

    monkeypatch.setattr(checkpoint, "save_file", full)
    with pytest.raises(
        ValueError, match=r"cannot write .*step-0000008: No space left on device; free some space, and resume"
    ) as caught:
        train()
    assert "\n" not in str(caught.value)
    assert [folder.name for folder in (tmp_path / "run" / "checkpoints").iterdir()] == ["step-0000004"]


def test_nothing_is_pickled(train):
    _, _, run = train()
    kinds = {path.suffix for path in checkpoints(run)[-1].rglob("*") if path.is_file()}
    assert kinds <= {".json", ".safetensors", ".md", ".txt"}
    state = json.loads((checkpoints(run)[-1] / "training" / "state.json").read_text())
    assert State(**{k: v for k, v in state.items() if k not in ("format", "files")}).step == 12


def test_what_a_watcher_is_told(train):
    told = []
    train(progress=told.append, evaluate=lambda: {"score": 1})
    assert [each.step for each in told if each.stage == "training"] == list(range(1, 13))
    assert [each.stage for each in told[-2:]] == ["evaluation", "checkpoint"]
    assert told[-3].seconds_left == 0
    assert all(0 <= share <= 1 for share in told[0].by_relation["relation_accuracy"])
    assert len(told[0].by_relation["relation_accuracy"]) == 3
    assert 0.5 < told[0].utilisation <= 1


def test_speed_is_told_as_a_share_of_the_fastest(train):
    told = []
    _, _, run = train(progress=told.append, fastest=1e6)
    assert told[0].peak_share == pytest.approx(told[0].tokens_per_second / 1e6)
    assert read_journal(run / "journal.jsonl")[0]["peak_share"] > 0


def test_evaluation_is_written_and_does_not_change_the_run(train, small):
    _, state, scored = train(small(evaluate_every=5), run="scored", evaluate=lambda: {"score": torch.rand(()).item()})
    _, _, plain = train(run="plain")
    entries = journal(scored)
    assert [line["step"] for line in entries if "evaluation" in line] == [5, 10, 12]
    assert [line for line in entries if "evaluation" not in line] == journal(plain)
    assert state.evaluation["step"] == 12


@pytest.mark.slow
def test_a_stop_in_an_evaluation_ends_it_between_batches_and_a_resumed_run_starts_with_it(train, small):
    """In the first evaluation, of a step without a checkpoint, and in the last one, after which nothing is trained."""
    config, asked, stops = small(eval_steps=5), [], [2, 9]

    def evaluate():
        for _ in range(3):
            check_stop(processes)
            asked.append("a batch")
            if len(asked) in stops:
                os.kill(os.getpid(), signal.SIGTERM)
        return scores

    half = wilson(1, 2)
    scores = asdict(Scores(1, 1.0, half, half, 0, None, relations={}, confusion={}, too_few=[]))
    processes = DistributedContext()
    _, state, run = train(config, evaluate=evaluate, processes=processes)
    assert (len(asked), state.step, state.due, state.finished, state.evaluation) == (2, 5, True, False, None)
    assert [folder.name for folder in checkpoints(run)] == ["step-0000004", "step-0000005"]
    processes = DistributedContext()
    _, state, _ = resume(train, config, run, evaluate=evaluate, processes=processes)
    assert (len(asked), state.step, state.due, state.finished) == (2 + 3 + 3 + 1, 12, True, False)
    processes = DistributedContext()
    _, state, _ = resume(train, config, run, evaluate=evaluate, processes=processes)
    assert (len(asked), state.due, state.finished) == (9 + 3, False, True)
    processes = DistributedContext()
    _, _, unbroken = train(config, run="unbroken", evaluate=evaluate, processes=processes)
    assert journal(run) == journal(unbroken)
    assert last_checkpoint(run)[1].evaluation == {"step": 12, **scores}
    assert same(weights(checkpoints(run)[-1]), weights(checkpoints(unbroken)[-1]))


@pytest.mark.slow
@pytest.mark.parametrize("objective", ["none", "nsp"])
def test_other_objectives_train_and_resume(train, small, objective, toy_batches):
    class Two(toy_batches):
        def pair(self, number):
            return super().pair(3 * (number // 2) + number % 2)

    config = small(objective=objective, shares=(0.5, 0.5, 0.0))
    _, _, unbroken = train(config, run="unbroken", batches=Two(config))
    _, _, run = train(config, batches=StopAt(Two(config), 5))
    resume(train, config, run, batches=Two(config))
    assert journal(run) == journal(unbroken)
    assert ("relation_loss" in journal(run)[0]) == (objective == "nsp")
    if objective == "nsp":
        assert list(journal(run)[0]["relation_accuracies"]) == ["contiguous", "random"]


def test_dropout_differs_by_seed_step_and_rank():
    seeds = {dropout_seed(seed, step, rank) for seed in range(3) for step in range(20) for rank in range(3)}
    assert len(seeds) == 180
    assert all(0 <= seed < 2**63 for seed in seeds)


class Clock:
    """Steps of a second and a bit by the loop's own calls for the time."""

    def __init__(self, tick):
        self.now, self.tick = 0.0, tick

    def perf_counter(self):
        self.now += self.tick
        return self.now

    def time(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    def start(tick=0.5):
        made = Clock(tick)
        monkeypatch.setattr("linkbert.pretraining.loop.time", made)
        return made

    return start


def test_a_budget_ends_with_its_time_and_the_schedule_with_it(train, small, clock):
    """A step is 1.5 s of the loop's clock; the first, which may compile, does not count."""
    config = small(budget="25s", steps=400, logging_steps=1, save_steps=5)
    clock(0.5)
    left = []
    _, state, run = train(config, progress=lambda now: left.append(now.seconds_left))
    assert state.finished
    assert state.trained == pytest.approx(25, abs=2)
    assert max(seconds for seconds in left if seconds == seconds) <= 25, "never more than the budget"
    lines = journal(run)
    assert lines[-1]["planned_steps"] == state.step == state.planned
    assert {line["planned_steps"] for line in lines[5:]} <= {*range(state.step - 2, state.step + 3)}
    rates = [line["learning_rate"] for line in lines]
    assert rates.index(max(rates)) == pytest.approx(len(rates) / 4, abs=2), "warm-up is a quarter of the time"
    assert rates[-1] < 0.1 * max(rates)


def test_a_run_with_a_budget_that_is_cut_in_two_keeps_its_time(train, small, clock, toy_batches):
    config = small(budget="25s", steps=400, logging_steps=1, save_steps=5)
    clock(0.5)
    _, broken, run = train(config, run="cut", batches=StopAt(toy_batches(config), 7))
    assert (broken.step, broken.finished) == (7, False)
    clock(2.0)  # on a slower machine
    _, rest, _ = resume(train, config, run)
    assert rest.finished
    assert rest.trained == pytest.approx(25, abs=8)
    rates = [line["learning_rate"] for line in journal(run)]
    assert max(abs(math.log(a / b)) for a, b in itertools.pairwise(rates[5:-2])) < 1, "the rate never jumps"


@pytest.mark.slow
def test_max_time_shortens_the_schedule_only_where_the_machine_is_slow(train, small, clock):
    config = small(max_time="25s", max_steps=12, logging_steps=1, save_steps=50)
    clock(0.5)  # a step is 1.5 s
    _, fast, run = train(config, run="fast")
    _, plain, other = train(config.replace(max_time="none"), run="plain")
    rates, plain_rates = ([line["learning_rate"] for line in journal(each)] for each in (run, other))
    assert (fast.step, rates) == (plain.step, plain_rates)
    clock(2.0)  # on a slower machine
    _, slow, run = train(config, run="slow")
    rates = [line["learning_rate"] for line in journal(run)]
    assert slow.finished
    assert slow.step == slow.planned < 12
    assert rates[-1] < 0.35 * max(rates), "the rate falls to its end, it is not cut off"
    assert slow.trained == pytest.approx(25, abs=7)


def test_what_is_wrong_with_a_budget_is_refused():
    for words in (["budget=2 hours"], ["budget=0s"], ["budget=2h", "mlm_probability_end=0.3"]):
        with pytest.raises(ValueError, match=r"(budget|mlm_probability_end) must be"):
            make_config("tiny", words)
    assert in_seconds(make_config("tiny", ["budget=1.5h"]).budget) == 5_400


def failing(forward, steps, wrong=math.nan):
    """Have the MLM losses of some steps, of two micro-batches each, multiplied by what is wrong."""
    calls = itertools.count()

    def step(batch):
        output = forward(batch)
        loss, masked = output["mlm_loss"]
        return output | {"mlm_loss": (loss * (wrong if next(calls) // 2 in steps else 1.0), masked)}

    return step


@pytest.mark.slow
def test_a_step_that_is_left_out_is_named_and_changes_nothing(train, small, make_toy):
    """Steps 3, 4 and 12, the last one, are no numbers: the rest is a run of the other nine updates."""
    config = small(on_spike="skip", logging_steps=1, save_steps=1, dropout=0.0, schedule="constant", warmup=0)
    model = make_toy(config)
    _, state, run = train(config, model=model, forward=failing(step_function(model, config), {2, 3, 11}))
    assert (state.step, state.skipped, state.finished) == (12, 3, True)
    skipped = [line for line in journal(run) if "skipped" in line]
    assert [line["step"] for line in skipped] == [3, 4, 12]
    assert skipped[0]["instances"][0]["store"] == "TOY"
    assert (skipped[0]["instances"][0]["first"], skipped[0]["instances"][0]["last"]) == (16, 23)
    assert sum(state.relations) == 9 * 8
    before, after = (weights(run / "checkpoints" / f"step-{step:07d}") for step in (2, 4))
    assert same(before, after)


@pytest.mark.slow
def test_steps_left_out_and_resumed_equal_unbroken(train, small, make_toy, toy_batches):
    """The optimizer counts its updates, the run its steps; a spike at the end is told by norms of before the break."""
    config = small(on_spike="skip", steps=24, logging_steps=1, spike=20.0)
    model = make_toy(config)
    _, state, whole = train(config, model=model, run="whole", forward=failing(step_function(model, config), {1, 4}))
    model = make_toy(config)
    broken = {"forward": failing(step_function(model, config), {1, 4}), "batches": StopAt(toy_batches(config), 7)}
    train(config, model=model, run="cut", **broken)
    _, again, run = resume(train, config, whole.parent / "cut")
    assert again.skipped == state.skipped == 2
    assert again.norms == state.norms
    assert journal(run) == journal(whole)
    assert same(weights(checkpoints(run)[-1]), weights(checkpoints(whole)[-1]))


def test_a_spike_stops_and_says_where_to_look(train, small, make_toy):
    config = small(spike=50.0, steps=24)
    model = make_toy(config)
    with pytest.raises(ValueError, match=r"step 21 is a spike, of [0-9e.+]+ times the median") as caught:
        train(config, model=model, forward=failing(step_function(model, config), {20}, wrong=1e5))
    message = str(caught.value)
    assert "its pairs: linkbert show --run" in message
    assert "run --step 21;" in message
    assert "try --resume on_spike=skip" in message
    assert "\n" not in message


@pytest.mark.slow
def test_fp16_overflows_halves_its_scale_and_resumes(train, small, make_toy, toy_batches):
    """A scale far too large falls step by step, then all goes on; where it stands is kept in the checkpoint."""
    config = small(precision="fp16", logging_steps=1)
    start = {"scale": 2.0**20, "since_overflow": 0}
    _, state, whole = train(config, run="whole", state=State(**start))
    lines = [line for line in journal(whole) if "skipped" in line]
    assert 0 < len(lines) == state.skipped < 7
    assert state.scale == 2.0 ** (20 - state.skipped)
    _, _, run = train(config, run="cut", state=State(**start), batches=StopAt(toy_batches(config), 7))
    _, again, _ = resume(train, config, run)
    assert journal(run) == journal(whole)
    assert again.scale == state.scale
    assert same(weights(checkpoints(run)[-1]), weights(checkpoints(whole)[-1]))


def test_fp16_learns_as_fp32(train, small):
    """Unscaled, the gradients are those of fp32 to fp16's three digits."""
    lines = [journal(train(small(precision=word, dropout=0.0), run=word)[2])[0] for word in ("fp32", "fp16")]
    for key in ("mlm_loss", "relation_loss", "gradient_norm"):
        assert lines[1][key] == pytest.approx(lines[0][key], rel=2e-2), key


def test_a_slow_step_reports_its_parts_and_then_how_long_it_takes(train, small, monkeypatch):
    monkeypatch.setattr("linkbert.pretraining.loop.SLOW", -1.0)
    seen = []
    train(small(steps=1, micro_batch_size=1), progress=lambda now: seen.append((now.step, now.stage)))
    parts = [stage for step, stage in seen if step == 0]
    assert parts[0].startswith("part 1 of ")
    assert parts[1] == parts[0].replace("part 1", "part 2")
    assert re.fullmatch(r"part 3 of \d+, \d+s a step", parts[2])


def test_no_time_is_estimated_from_the_first_step_which_may_compile(train):
    left = []
    train(progress=lambda now: left.append(now.seconds_left) if now.stage == "training" else None)
    assert [math.isnan(each) for each in left[:3]] == [True, False, False]
