"""What a person sees while a command works: a bar with rate and time left on a terminal, plain lines elsewhere.

Each function here is a context that gives the callback of one kind of work; what is shown goes to stderr.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

EVERY = 10.0  # seconds between plain lines


def seconds_text(seconds: float) -> str:
    """Write a duration: 7.2 -> '7s', 85 -> '1m25s', 7300 -> '2h02m', not a number -> '?'."""
    if seconds != seconds:
        return "?"
    whole = int(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    return f"{whole // 3600}h{whole % 3600 // 60:02d}m"


def count_text(number: float) -> str:
    """Write a count with few digits: 950 -> '950', 12_345 -> '12.3k', 6_500_000 -> '6.5M'."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.1f}{unit}"
    return f"{number:.0f}"


class Reporter:
    """A bar for each stage of the work on a terminal; elsewhere its text as a plain line, every EVERY seconds."""

    def __init__(self, console: Console, every: float) -> None:
        self.every, self.shown, self.last, self.written = every, time.monotonic() - every, "", ""
        text = TextColumn("{task.fields[text]}", markup=False)
        columns = (TextColumn("  {task.description}", markup=False), BarColumn(20), text)
        self.bars = Progress(*columns, console=console, disable=not console.is_terminal)
        self.stages: dict[str, TaskID] = {}

    def update(self, stage: str, text: str, done: float = 0, total: float | None = None) -> None:
        """Show how far a stage is; a new one leaves the last text of the one before standing."""
        if stage not in self.stages:
            self.flush()
            self.stages[stage] = self.bars.add_task(stage, total=total, text="")
        self.bars.update(self.stages[stage], completed=done, total=total, text=text)
        self.last = f"  {stage}: {text}"
        if time.monotonic() - self.shown >= self.every:
            self.flush()

    def flush(self) -> None:
        """Print the last plain line, if it was not."""
        if self.bars.disable and self.last != self.written:
            self.bars.console.print(self.last, markup=False, highlight=False, soft_wrap=True)
            self.shown, self.written = time.monotonic(), self.last


@contextmanager
def reporting(console: Console | None = None, *, every: float = EVERY) -> Iterator[Reporter]:
    """Give a Reporter; what it showed last stays."""
    reporter = Reporter(console or Console(stderr=True), every)
    with reporter.bars:
        try:
            yield reporter
        finally:
            reporter.flush()


@contextmanager
def report_stages() -> Iterator[Callable[[str, int, int | None], None]]:
    """Give the callback that stages of a build take: (stage, done, in all or None); of documents, in bytes."""
    started: dict[str, float] = {}
    with reporting() as reporter:

        def progress(stage: str, done: int, total: int | None) -> None:
            elapsed = time.monotonic() - started.setdefault(stage, time.monotonic())
            unit = "B" if stage == "documents" else " parts"
            text = f"{count_text(done)}" + (f" of {count_text(total)}{unit}" if total is not None else unit)
            text += f", {seconds_text(elapsed)}"
            if done and elapsed > 1:
                text += f", {count_text(done / elapsed)}{unit}/s"
                if total and done < total:
                    text += f", {seconds_text(elapsed / done * (total - done))} left"
            reporter.update(stage, text, done, total)

        yield progress


@contextmanager
def report_text() -> Iterator[Callable[[str, float], None]]:
    """Give the callback of fine-tuning: (what is done, seconds left)."""
    with reporting() as reporter:
        yield lambda text, left: reporter.update("fine-tuning", f"{text}, {seconds_text(left)} left")


@contextmanager
def report_training() -> Iterator[Callable[[Any], None]]:
    """Give the callback of a pretraining run, which takes its state after every update."""
    with reporting() as reporter:
        smooth: dict[str, float] = {}
        yield lambda state: reporter.update("training", training_text(state, smooth), state.step, state.steps)


def training_text(state: Any, smooth: dict[str, float]) -> str:
    """Write the state of a run, the most wanted first, since a narrow terminal cuts off the rest.

    What the objective reports (by relation: contiguous, random, linked) and the gradient's norm are smoothed over
    about the last twenty steps, in `smooth`; packing is the share of the batch that is not padding, peak the share of
    the peak FLOP/s.
    """

    def average(name: str, value: float) -> float:
        if value == value:
            smooth[name] = 0.95 * smooth.get(name, value) + 0.05 * value
        return smooth.get(name, value)

    def percent(value: float) -> str:
        return "-" if value != value else f"{100 * value:.0f}"

    step = f"step {state.step:,} of {state.steps:,}"
    if state.stage != "training":
        return f"{step}: {state.stage} ..."
    shown = []
    for name, value in state.means.items():
        accuracy, parts = name.endswith("accuracy"), state.by_relation.get(name, ())
        text = f"{percent(average(name, value))} %" if accuracy else f"{average(name, value):.2f}"
        by_relation = " ".join(percent(average(f"{name} {i}", part)) for i, part in enumerate(parts))
        shown.append(f"{name.replace('_', ' ')} {text}" + f" ({by_relation})" * (accuracy and bool(parts)))
    return (
        f"{step}, {seconds_text(state.seconds_left)} left, {', '.join(shown)}, "
        f"{count_text(state.tokens_per_second)} tokens/s, learning rate {state.learning_rate:.1e}, "
        f"gradient norm {average('norm', state.gradient_norm):.2f}, packing {percent(state.utilisation)} %, "
        f"peak {percent(min(state.peak_share, 1.0))} %, waiting for data {percent(state.loader_share)} %, "
        f"memory {count_text(state.memory)}B"
    )
