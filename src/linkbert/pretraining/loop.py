"""The pretraining loop, from the first update to the last: read `pretrain` from top to bottom.

In: a model, its optimizer, batches that are a pure function of the step, and the State of the run. Out: checkpoints, a
journal, and the State after the last update. Losses are sums over all micro-batches of all processes divided by the
global counts (masked tokens for MLM, pairs for the relation), so the update is the same however the batch is cut.
Nothing random is carried from one step to the next: dropout is seeded by (seed, step, rank). So a run that stops
anywhere goes on from its last checkpoint with the same losses, bit for bit (same processes, threads and micro-batch).

CUDA is handled where it differs (device, deterministic kernels, non-blocking copies) but was never run by us.
"""

from __future__ import annotations

import hashlib
import logging
import math
import resource
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from linkbert.config import Config
from linkbert.instances.batches import Batches
from linkbert.model.device import deterministic
from linkbert.model.heads import Objective, PretrainingModel, Sums
from linkbert.model.optimizer import clip_gradients, learning_rate, set_learning_rate, warmup_steps
from linkbert.pretraining.checkpoint import Checkpoints, State, checkpoints
from linkbert.pretraining.distributed import DistributedContext, all_reduce, gradient_divisor, no_sync, stop_on_signals
from linkbert.pretraining.guard import Fault, judge
from linkbert.pretraining.journal import Journal
from linkbert.pretraining.pace import FIRST, Pace, Plan, read_pace
from linkbert.records import RELATIONS

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Progress:
    """What a watcher is told after every update, and when an evaluation or a checkpoint begins (`stage`)."""

    stage: str  # training, evaluation or checkpoint
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
    elapsed: float = 0.0  # seconds, over all sittings
    seconds_left: float = math.nan


def pretrain(
    model: PretrainingModel,
    optimizer: torch.optim.Optimizer,
    batches: Batches,
    config: Config,
    *,
    run: Path,
    forward: Callable[[Any], Sums],
    save: Callable[[Path, State, dict[str, Tensor]], None],
    evaluate: Callable[[], dict[str, Any]] | None = None,
    state: State | None = None,
    processes: DistributedContext | None = None,
    wrapped: nn.Module | None = None,
    fastest: float = math.nan,
    progress: Callable[[Progress], None] = lambda _: None,
) -> State:
    """Train until the last step, or until SIGINT or SIGTERM; `State.finished` says which.

    `state` is where the run stands; model and optimizer must stand there too. The model's
    objective names what `forward` gives and what of it is minimised. `forward` is the model as a step calls it
    (compiled, mixed precision), `save` writes a Hugging Face folder, `evaluate` scores the model on held-out documents.
    `wrapped` is what `forward` calls in the model's place where there are several processes.
    `fastest` is how many tokens a second all processes could train on if nothing but matrix products took time.
    A loss or a gradient that is not a number is a ValueError before the update, unless the settings have it left out;
    the last checkpoint stays.
    """
    state, processes, objective = state or State(), processes or DistributedContext(), model.objective
    if not processes.is_main_process:
        progress = lambda _: None  # noqa: E731
    rate_of = partial(
        learning_rate,
        peak=config.learning_rate,
        warmup=warmup_steps(config.warmup_steps, config.max_steps),
        steps=config.max_steps,
        schedule=config.lr_scheduler_type,
        decay=config.decay_ratio,
    )
    plan = Plan(*state.plan) if state.plan else Plan(0, 0.0, FIRST if config.budget_seconds else config.max_steps)
    state.plan, pace = list(plan), None
    if config.budget_seconds and processes.is_main_process:
        recorded = read_pace(Path(config.pace)) if config.pace != "none" else {}
        pace = Pace(config.budget_seconds, state.trained, recorded)
    journal = Journal(run, step=state.step) if processes.is_main_process else None
    timer = Timer(state.elapsed, fastest)
    saved = state.step
    writer = Checkpoints(
        run, model, optimizer, processes, save=save, keep=config.save_total_limit, keep_best=config.keep_best
    )

    alone = processes.world_size == 1
    with (
        stop_on_signals(config.stop_before, at_once=alone) as stop,
        deterministic(processes.device),
        journal or nullcontext(),
        writer,
    ):
        while not state.finished:
            step = state.step
            timer.start()
            torch.manual_seed(dropout_seed(config.seed, step, processes.rank))

            # What all micro-batches of the step hold comes first: MLM is averaged over their masked tokens together.
            micro_batches = batches.micro_batches(step, processes.rank, processes.world_size)
            timer.loaded()
            end = (
                (pace.end(step, plan.steps) if pace else plan.steps) if processes.is_main_process else 0
            )  # process 0 decides
            own = micro_batches.counts
            tally = torch.tensor([own.masked, own.pairs, own.tokens, own.places, *own.relations, end])
            *counts, end = all_reduce(processes, tally.to(processes.device)).tolist()
            tokens, places = counts[2:4]
            divisors = dict(zip(("masked", "pairs", *RELATIONS), counts[:2] + counts[4:], strict=True))
            plan = plan.end_at(end, step=step, length=config.max_steps)
            rate = rate_of(plan.place_of(step, config.max_steps), stride=plan.stride(config.max_steps))
            set_learning_rate(optimizer, rate)

            model.train()
            scale = state.scale if config.precision == "fp16" else 1.0
            sums = torch.zeros(size_of(objective) + 1, dtype=torch.float64, device=processes.device)
            for number, batch in enumerate(micro_batches, 1):
                if stop.should_stop and processes.world_size == 1:
                    break
                with no_sync(wrapped or model, number < len(micro_batches)):
                    found = forward(batch.to(processes.device))
                    losses = [found[name][0].sum() / max(divisors[unit], 1) for name, unit in objective.over.items()]
                    (scale * sum(losses)).backward()
                sums[:-1] += flatten(found, objective)
            sums[-1] = stop.should_stop
            *values, stopping = all_reduce(processes, sums).tolist()
            totals = by_name(values, objective)
            if stopping:  # asked of any process; this step is forgotten
                break
            norm = clip_gradients(model, config.max_grad_norm, scale=scale / gradient_divisor(wrapped or model))
            fault = judge(state, config, sum(sum(totals[name][0]) for name in objective.over), norm)
            if fault and fault.stops:
                writer.wait()
                said = {**means_of(totals), "gradient norm": norm}
                raise ValueError(describe_fault(run, config, step + 1, fault, said, batches.name(step)))
            if not fault:
                optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            stop.at_once = False

            seconds = timer.stop(tokens)
            state.step = step + 1
            state.elapsed = timer.elapsed
            state.trained += seconds
            if pace:
                pace.took(seconds)
            if journal and end != state.plan[2]:
                journal.write({"step": state.step, "planned_steps": end, "elapsed": timer.elapsed})
            state.plan = list(plan)
            if not fault:
                state.tokens += tokens
                state.relations = [a + b for a, b in zip(state.relations, counts[4:], strict=True)]
                state.window = add(state.window, [1, norm, tokens, places, *values])
            elif journal:
                log.warning("step %d was left out: %s", state.step, fault.what)
                skipped = {"skipped": fault.what, "instances": batches.name(step), "elapsed": timer.elapsed}
                journal.write({"step": state.step} | skipped)
            last = state.finished
            if processes.is_main_process:
                left = timer.seconds_a_step * (plan.steps - state.step)
                shown = means_of(totals), by_relation_of(totals)
                speed = (timer.tokens_per_second, tokens / places, timer.peak_share, timer.loader_share)
                watched = (*shown, norm, *speed, peak_memory(processes.device), timer.elapsed, left)
                progress(Progress("training", state.step, plan.steps, rate, *watched))
            if last or state.step % config.logging_steps == 0:
                if journal and state.window:
                    entry = journal_entry(state, rate, objective)
                    timings = timer.entry() | {"memory": peak_memory(processes.device)}
                    journal.write(entry | timings)
                state.window = []
            if evaluate and (last or (config.eval_steps and state.step % config.eval_steps == 0)):
                progress(Progress("evaluation", state.step, plan.steps))
                model.eval()
                state.evaluation = {"step": state.step, **evaluate()}
                if journal:
                    journal.write({"step": state.step, "evaluation": state.evaluation, "elapsed": timer.elapsed})
            writer.check()
            if last or state.step % config.save_steps == 0:
                progress(Progress("checkpoint", state.step, plan.steps))
                if journal:
                    journal.sync()
                writer.begin(state)
                saved = state.step
        if saved != state.step:
            if journal:
                journal.sync()
            writer.begin(state)
    return state


def dropout_seed(seed: int, step: int, rank: int) -> int:
    """Mix seed, step and rank into the seed of one step's dropout; neighbours share nothing."""
    key = f"{seed} {step} {rank}".encode()
    return int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "little") >> 1


def add(sums: list[float], values: list[float]) -> list[float]:
    """Add lists number by number; an empty one is zeros."""
    return [a + b for a, b in zip(sums, values, strict=True)] if sums else values


def journal_entry(state: State, rate: float, objective: Objective) -> dict[str, Any]:
    """Average what was summed since the last line; gradient_norm is the mean, before clipping.

    By relation stand those alone of which there was a pair.
    """
    steps, norm, tokens, places, *values = state.window
    entry: dict[str, Any] = {"step": state.step, "learning_rate": rate}
    for name, (sums, counts) in by_name(values, objective).items():
        entry[name] = sum(sums) / max(sum(counts), 1)
        if len(sums) == len(RELATIONS):
            rows = zip(RELATIONS, sums, counts, strict=True)
            entry[plural(name)] = {relation: part / count for relation, part, count in rows if count}
    return entry | {"gradient_norm": norm / steps, "utilisation": tokens / places, "tokens": state.tokens}


def plural(name: str) -> str:
    """Name what stands by relation: relation_loss -> relation_losses, relation_accuracy -> relation_accuracies."""
    return name[:-1] + "ies" if name.endswith("y") else name + ("es" if name.endswith("s") else "s")


def size_of(objective: Objective) -> int:
    """Count the numbers that an objective reports of a batch: sums and counts."""
    return 2 * sum(objective.reports.values())


def flatten(found: Sums, objective: Objective) -> Tensor:
    """Put sums and counts of a batch side by side, in the order of `reports`: float64 (size_of(objective),)."""
    if found.keys() != objective.reports.keys():
        wanted = ", ".join(objective.reports)
        raise ValueError(f"the objective gave {', '.join(found)}; its `reports` says {wanted}: the two must agree")
    return torch.cat([part.detach().double().view(-1) for name in objective.reports for part in found[name]])


def by_name(values: list[float], objective: Objective) -> dict[str, tuple[list[float], list[float]]]:
    """Take apart what `flatten` put together: the sums and counts of each name, one or three of each."""
    totals, start = {}, 0
    for name, width in objective.reports.items():
        totals[name] = values[start : start + width], values[start + width : start + 2 * width]
        start += 2 * width
    return totals


def means_of(totals: Mapping[str, tuple[list[float], list[float]]]) -> dict[str, float]:
    """Divide sums by counts: {"mlm_loss": ([6.0], [2.0])} -> {"mlm_loss": 3.0}."""
    return {name: ratio(sum(sums), sum(counts)) for name, (sums, counts) in totals.items()}


def by_relation_of(totals: Mapping[str, tuple[list[float], list[float]]]) -> dict[str, tuple[float, ...]]:
    """Divide by relation what is reported by relation; nan where there was no pair."""
    return {
        name: tuple(map(ratio, sums, counts)) for name, (sums, counts) in totals.items() if len(sums) == len(RELATIONS)
    }


def ratio(part: float, whole: float) -> float:
    """Divide; nothing of nothing is not a number."""
    return part / whole if whole else math.nan


def peak_memory(device: torch.device) -> int:
    """Give the most bytes that this process has held so far: on a GPU its tensors, else all that is resident."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used if sys.platform == "darwin" else 1024 * used


def describe_fault(
    run: Path, config: Config, step: int, fault: Fault, values: Mapping[str, float], batch: list[dict[str, Any]]
) -> str:
    """Say in one line that a step went wrong, what is kept, where to look, and what to try."""
    said = ", ".join(f"{name.replace('_', ' ')} {value:.4g}" for name, value in values.items())
    kept = checkpoints(run)
    start = f"the last checkpoint is {kept[-1]}" if kept else "there is no checkpoint yet"
    others = {"precision": "fp32", "on_spike": "skip"}.items()
    again = "".join(f"--resume {key}={value}, or " for key, value in others if getattr(config, key) != value)
    remedy = "start a new run with a lower learning_rate" + (f" and init={kept[-1]}" if kept else "")
    where = ", ".join("epoch {} index {} to {} {} of ".format(*p["from"], *p["to"]) + p["store"] for p in batch)
    return (
        f"step {step} is {fault.what} ({said}) and was not applied; {start}; its pairs, {where}: linkbert show "
        f"--run {run} --step {step}; try {again}{remedy}"
    )


class Timer:
    """Times steps: how long the loader was waited for, and how fast the rest went."""

    def __init__(self, elapsed: float, fastest: float) -> None:
        self.before, self.fastest, self.origin = elapsed, fastest, time.perf_counter()
        self.steps = 0
        self.training = 0.0  # seconds in steps of this sitting, its first one (which compiles) left out
        self.begun = self.ready = self.origin
        self._clear()

    def _clear(self) -> None:
        self.waited = self.spent = 0.0
        self.tokens = 0

    def start(self) -> None:
        """Begin a step."""
        self.begun = time.perf_counter()

    def loaded(self) -> None:
        """Note that the step's batches are there."""
        self.ready = time.perf_counter()

    def stop(self, tokens: int) -> float:
        """End a step that trained on so many tokens; give its seconds."""
        seconds = time.perf_counter() - self.begun
        self.training += seconds if self.steps else 0.0
        self.steps += 1
        self.waited += self.ready - self.begun
        self.spent += seconds
        self.tokens += tokens
        return seconds

    @property
    def elapsed(self) -> float:
        """Seconds since the run began, over all its sittings."""
        return self.before + time.perf_counter() - self.origin

    @property
    def seconds_a_step(self) -> float:
        """Mean seconds of a step in this sitting."""
        return self.training / (self.steps - 1) if self.steps > 1 else self.spent

    @property
    def tokens_per_second(self) -> float:
        """Tokens a second since the last journal line, evaluations and checkpoints left out."""
        return self.tokens / self.spent if self.spent else 0.0

    @property
    def peak_share(self) -> float:
        """Tokens a second as a share of the fastest."""
        return self.tokens_per_second / self.fastest

    @property
    def loader_share(self) -> float:
        """Share of the time since the last journal line in which batches were waited for."""
        return self.waited / self.spent if self.spent else 0.0

    def entry(self) -> dict[str, float]:
        """Give the timings of a journal line, and begin those of the next."""
        names = ("tokens_per_second", "peak_share", "loader_share", "elapsed")
        entry = {name: value for name in names if not math.isnan(value := getattr(self, name))}
        self._clear()
        return entry
