"""The pretraining loop, from the first update to the last: read `pretrain` from top to bottom.

In: a model, its optimizer, batches that are a pure function of the step, and the State of the run. Out: checkpoints, a
journal, and the last State. Losses are sums over all micro-batches of all processes divided by the global counts, so
the update is the same however the batch is cut. Nothing random is carried from one step to the next: a run that stops
anywhere resumes with the same losses, bit for bit (same processes, threads and micro-batch). No number is read from the
device before an update is queued: whether it is made is decided there.
"""

import hashlib
import logging
import math
import resource
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.distributed.fsdp import FSDPModule

from linkbert.config import Config, in_seconds
from linkbert.instances.batches import Batches
from linkbert.model.device import deterministic, give_back_memory
from linkbert.model.heads import Objective, PretrainingModel, Sums, flatten
from linkbert.model.optimizer import clip_gradients, learning_rate, update_unless
from linkbert.pretraining.checkpoint import Checkpoints, State, checkpoints
from linkbert.pretraining.distributed import DistributedContext, all_reduce, stop_on_signals, sum_gradients
from linkbert.pretraining.journal import Journal, resume_words
from linkbert.progress import seconds_text, training_text
from linkbert.records import RELATIONS

GROWTH = 2_000  # steps without overflow after which the scale of fp16's losses is doubled
REMEMBERED, ENOUGH = 128, 16  # gradient norms whose median defines a spike, and the fewest that have one
IN_A_ROW = 10  # faults in a row that on_spike=skip bears
SLOW = 5.0  # seconds of a step after which its parts are reported
TIDYING = 60.0  # seconds after which freed memory is given back: it takes 0.05

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Progress:
    """What a callback is given after every update, in a slow one, and when an evaluation or a checkpoint starts."""

    stage: str  # training, part 3 of 64, evaluation, checkpoint
    step: int
    steps: int
    learning_rate: float = 0.0
    means: Mapping[str, float] = field(default_factory=dict)  # of this step, by the names of the objective
    by_relation: Mapping[str, tuple[float, ...]] = field(default_factory=dict)  # contiguous, random, linked; nan: none
    gradient_norm: float = 0.0  # of this step, before clipping
    tokens_per_second: float = 0.0  # padding not counted
    utilisation: float = 0.0  # tokens to places, of this step
    peak_share: float = math.nan  # of the operations a second that a matrix product reaches
    loader_share: float = 0.0  # of the time, in which batches were waited for
    memory: int = 0  # bytes at the peak, see `peak_memory`
    elapsed: float = 0.0  # seconds, over all sessions
    seconds_left: float = math.nan

    def __str__(self) -> str:
        return training_text(self, {})


def pretrain(
    model: PretrainingModel,
    optimizer: torch.optim.Optimizer,
    batches: Batches,
    config: Config,
    *,
    run: Path,
    forward: Callable[[Any], Sums],
    save: Callable[[Path, State, dict[str, Tensor]], None],
    state: State,
    processes: DistributedContext,
    evaluate: Callable[[], dict[str, Any]] | None = None,
    fastest: float = math.nan,
    progress: Callable[[Progress], None] = lambda _: None,
) -> State:
    """Train until the last step, or until SIGINT or SIGTERM; `State.finished` says which.

    `forward` is the model as a step calls it (compiled, mixed precision); its objective says what that gives and what
    of it is minimised. `save` writes a Hugging Face folder. `fastest`: tokens a second if only matrix products took
    time. A loss or gradient that is not a number is a ValueError before the update, unless settings have it left out.
    """
    objective = model.objective
    journal = Journal(run, step=state.step, due=state.due) if processes.is_main_process else None
    timer, clock = Timer(state.elapsed, fastest), in_seconds(config.budget) or in_seconds(config.max_time)
    state.planned = planned_steps(state, config)
    writer = Checkpoints(run, model, optimizer, processes, config, save, saved=state.step)
    device, alone = processes.device, processes.world_size == 1
    scaler = torch.amp.GradScaler(device.type, growth_interval=GROWTH, enabled=config.precision == "fp16")
    stood = {"scale": state.scale, "_growth_tracker": state.since_overflow % GROWTH}
    scaler.load_state_dict(scaler.state_dict() | stood)

    def score(evaluate: Callable[[], dict[str, Any]]) -> None:
        state.due = True
        progress(Progress("evaluation", state.step, state.planned))
        with suppress(InterruptedError):  # asked to stop: it stays due
            state.evaluation = {"step": state.step, **evaluate()}
            state.due = False
            if journal:
                journal.write({"step": state.step, "evaluation": state.evaluation, "elapsed": timer.elapsed})

    with stop_on_signals(processes) as stop, deterministic(device), journal or nullcontext(), writer.thread:
        if evaluate and state.due:
            score(evaluate)
            if not state.due:
                writer.start(state)
        tidied = time.perf_counter()
        while not state.finished and not state.due:
            step = state.step
            start = time.perf_counter()
            torch.manual_seed(dropout_seed(config.seed, step, processes.rank))

            # What all micro-batches of the step hold comes first: MLM is averaged over their masked tokens together.
            micro_batches = batches.micro_batches(step, processes.rank, processes.world_size)
            ready = second = time.perf_counter()
            held = micro_batches.counts  # of all processes
            divisors = {"masked": held.masked, "pairs": held.pairs, **dict(zip(RELATIONS, held.relations, strict=True))}
            by_clock = config.max_steps * state.trained / clock if clock else 0.0
            place = by_clock if config.budget != "none" else max(step, by_clock)
            rate = learning_rate(config, place, config.max_steps)
            for group in optimizer.param_groups:
                group["lr"] = rate

            model.train()
            sums = torch.zeros(2 * sum(objective.reports.values()) + 3, dtype=torch.float64, device=device)
            for number, batch in enumerate(micro_batches, 1):
                if stop.should_stop and alone:
                    break
                now = time.perf_counter()
                second = now if number <= 2 else second  # the first part may compile
                if journal and now - start > SLOW:
                    takes = (now - second) / max(number - 2, 1) * len(micro_batches)
                    part = f"part {number} of {len(micro_batches)}" + f", {seconds_text(takes)} a step" * (number > 2)
                    progress(Progress(part, step, state.planned))
                if isinstance(model, FSDPModule):  # sums gradients with the last backward pass
                    model.set_requires_gradient_sync(number == len(micro_batches))
                found = forward(batch)
                sums[:-3] += flatten(found, objective, config.objective)
                losses = [found[name][0].sum() / max(divisors[unit], 1) for name, unit in objective.over.items()]
                loss = torch.stack(losses).sum()
                sums[-3] += loss.detach()
                scaler.scale(loss).backward()
            if (stopping := stop.should_stop) and alone:
                break
            sums[-2].fill_(timer.last if processes.is_main_process else 0.0)  # one clock for all
            sums[-1].fill_(stopping)  # a number that is assigned to a place would be copied, and waited for
            all_reduce(processes, sums)
            sum_gradients(processes, model)
            scaler.unscale_(optimizer)
            length = clip_gradients(model, config.max_grad_norm).double()
            wrong = ~(sums[-3] + length).isfinite() | (length > spike_limit(state, config)) | (sums[-1] > 0)
            update_unless(optimizer, wrong)

            # Now that all is queued, what it came to is read: once.
            *values, mean, seconds, asked, norm = torch.cat([sums, length.view(1)]).tolist()
            if asked:  # to stop, of any process; this step is forgotten
                break
            means, by_relation = averages(values, objective)
            fault = check_step(state, config, mean, norm)
            if fault and fault.stops:
                writer.check(wait=True)
                raise DivergedError(describe_fault(run, config, step + 1, fault.what, means | {"gradient norm": norm}))
            scaler.update()
            if scaler.is_enabled():
                state.scale, state.since_overflow = (scaler.state_dict()[key] for key in stood)
                if state.scale < 1:  # torch's has no least one
                    state.scale = 1.0
                    scaler.update(state.scale)
            stop.at_once = False

            timer.add(start, ready, held.tokens)
            if device.type == "cpu" and start > tidied + TIDYING:
                give_back_memory()
                tidied = start
            state.step, state.elapsed, state.trained = step + 1, timer.elapsed, state.trained + seconds
            state.planned = planned_steps(state, config)
            stage = partial(Progress, step=state.step, steps=state.planned)
            if not fault:
                state.tokens += held.tokens
                state.relations = [a + b for a, b in zip(state.relations, held.relations, strict=True)]
                new = [1, norm, held.tokens, held.places, *values]
                state.window = [a + b for a, b in zip(state.window or [0] * len(new), new, strict=True)]
            elif journal:
                log.warning("step %d was left out: %s", state.step, fault.what)
                what = {"skipped": fault.what, "instances": batches.name(step)}
                journal.write({"step": state.step, **what, "elapsed": timer.elapsed})
            if journal:
                measured = timer.rates() | {"memory": peak_memory(device)}
                three = {n: tuple(part.get(r, math.nan) for r in RELATIONS) for n, part in by_relation.items()}
                each = timer.training / (timer.steps - 1) if timer.steps > 1 else math.nan  # the first one compiles
                left = min(each * (state.planned - state.step), max(clock - state.trained, 0) if clock else math.inf)
                shown = {"gradient_norm": norm, "utilisation": held.tokens / held.places, "seconds_left": left}
                progress(stage("training", learning_rate=rate, means=means, by_relation=three, **shown, **measured))
            if state.finished or state.step % config.logging_steps == 0:
                if journal and state.window:
                    planned = {"planned_steps": state.planned} if clock else {}
                    journal.write(journal_entry(state, rate, objective) | planned | measured)
                    timer.waited, timer.spent, timer.tokens = 0.0, 0.0, 0
                state.window = []
            if evaluate and (state.finished or (config.eval_steps and state.step % config.eval_steps == 0)):
                score(evaluate)
                if state.due:
                    break
            writer.check()
            if state.finished or state.step % config.save_steps == 0:
                progress(stage("checkpoint"))
                writer.start(state)
        if writer.saved != state.step:
            writer.start(state)
        writer.check(wait=True)
    return state


def planned_steps(state: State, config: Config) -> int:
    """Return how many steps the run has in all: with a budget as many as there is time for, with max_time at most."""
    budget, steps = in_seconds(config.budget), config.max_steps
    clock = budget or in_seconds(config.max_time)
    if not clock:
        return steps
    share = min(state.trained / clock, 1.0)
    if not share:
        return max(steps, state.step + 1) if budget else steps  # not known yet
    more = math.ceil((1 / share - 1) * max(state.step - 2, 1))  # the first and the last do not count yet
    return state.step + more if budget else min(state.step + more, steps)


def dropout_seed(seed: int, step: int, rank: int) -> int:
    """Mix seed, step and rank into the seed of one step's dropout; neighbours share nothing."""
    key = f"{seed} {step} {rank}".encode()
    return int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "little") >> 1


class DivergedError(ValueError):
    """A step is no number, or a spike, and the run stops there."""


class StepFault(NamedTuple):
    """Why an update is not made, and whether the run stops there."""

    what: str
    stops: bool


def spike_limit(state: State, config: Config) -> float:
    """Return the gradient norm above which a step is a spike; none is where none are asked, or too few came before."""
    return config.spike * statistics.median(state.norms) if config.spike and len(state.norms) >= ENOUGH else math.inf


def check_step(state: State, config: Config, loss: float, norm: float) -> StepFault | None:
    """Check a step's loss and the norm of its gradients, without the scale of fp16; None: the update was made.

    fp16 has no numbers below 6e-8, so its losses are scaled (torch.amp.GradScaler): where gradients overflow at a scale
    above 1, the scale is halved, and all is well.
    """
    finite, limit = math.isfinite(loss + norm), spike_limit(state, config)
    if finite and norm <= limit:
        state.norms = [*state.norms, norm][-REMEMBERED:]
        state.faults_in_a_row = 0
        return None
    state.skipped += 1
    if config.precision == "fp16" and math.isfinite(loss) and not finite and state.scale > 1:
        return StepFault(f"fp16 overflowed: the loss scale is now {state.scale / 2:g}", stops=False)
    state.faults_in_a_row += 1
    times = norm / statistics.median(state.norms) if finite else math.nan
    what = f"a spike, of {times:.3g} times the median gradient norm" if finite else "not a number"
    return StepFault(what, stops=config.on_spike == "stop" or state.faults_in_a_row > IN_A_ROW)


def describe_fault(run: Path, config: Config, step: int, what: str, values: Mapping[str, float]) -> str:
    """Report in one line that a step went wrong, what is kept, where to look, and what to try."""
    shown = ", ".join(f"{name.replace('_', ' ')} {value:.4g}" for name, value in values.items())
    last = f"the last checkpoint is {kept[-1]}" if (kept := checkpoints(run)) else "there is no checkpoint yet"
    resume = resume_words(config.objective)
    return (
        f"step {step} is {what} ({shown}) and was not applied; {last}; its pairs: linkbert show --run {run} "
        f"--step {step}; try {resume} on_spike=skip, {resume} precision=fp32, or a new run with a lower learning_rate"
    )


def averages(values: list[float], objective: Objective) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
    """Divide sums by counts, as `flatten` joined them, by name in all, and by relation where there was a pair.

    [6.0, 2.0, ...] -> {"mlm_loss": 3.0, ...}, {"relation_loss": {"random": 0.7, ...}, ...}; nothing of nothing is 0.
    """
    means, by_relation, rest = {}, {}, values
    for name, width in objective.reports.items():
        sums, counts, rest = rest[:width], rest[width : 2 * width], rest[2 * width :]
        means[name] = sum(sums) / max(sum(counts), 1)
        if width == len(RELATIONS):
            rows = zip(RELATIONS, sums, counts, strict=True)
            by_relation[name] = {relation: part / count for relation, part, count in rows if count}
    return means, by_relation


def journal_entry(state: State, rate: float, objective: Objective) -> dict[str, Any]:
    """Average what was summed since the last line; gradient_norm is the mean, before clipping."""
    steps, norm, tokens, places, *values = state.window
    entry: dict[str, Any] = {"step": state.step, "learning_rate": rate}
    means, by_relation = averages(values, objective)
    for name, mean in means.items():
        entry[name] = mean
        if name in by_relation:  # relation_loss -> relation_losses, relation_accuracy -> relation_accuracies
            plural = name[:-1] + "ies" if name.endswith("y") else name + ("es" if name.endswith("s") else "s")
            entry[plural] = by_relation[name]
    return entry | {"gradient_norm": norm / steps, "utilisation": tokens / places, "tokens": state.tokens}


def peak_memory(device: torch.device) -> int:
    """Return the most bytes that this process has held so far: on a GPU its tensors, else all that is resident."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used if sys.platform == "darwin" else 1024 * used


class Timer:
    """Times steps: how long batches were waited for, and how fast the rest went."""

    def __init__(self, elapsed: float, fastest: float) -> None:
        self.fastest, self.origin = fastest, time.perf_counter() - elapsed
        self.steps, self.training, self.last = 0, 0.0, 0.0  # of this session; seconds but for its first step's
        self.waited, self.spent, self.tokens = 0.0, 0.0, 0  # since the last journal line

    def add(self, start: float, ready: float, tokens: int) -> None:
        """Count a step that ends now; from `ready` on it had its batches."""
        seconds = time.perf_counter() - start
        self.last = seconds if self.steps else 0.0  # the first one compiles
        self.training, self.steps = self.training + self.last, self.steps + 1
        self.waited, self.spent, self.tokens = self.waited + ready - start, self.spent + seconds, self.tokens + tokens

    @property
    def elapsed(self) -> float:
        """Seconds since the run started, over all its sessions."""
        return time.perf_counter() - self.origin

    def rates(self) -> dict[str, Any]:
        """Return the speed since the last journal line, evaluations and checkpoints left out, and the time in all."""
        speed = self.tokens / self.spent
        peak = {} if math.isnan(self.fastest) else {"peak_share": speed / self.fastest}
        return {"tokens_per_second": speed, **peak, "loader_share": self.waited / self.spent, "elapsed": self.elapsed}
