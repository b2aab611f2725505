"""What a person sees while a command works: one live line on a terminal, a plain line now and then elsewhere.

Colours come through rich, which leaves them out where the output is no terminal or NO_COLOR is set.
"""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, TextIO


def seconds_text(seconds: float) -> str:
    """Write a duration shortly: 7.2 -> '7s', 85 -> '1m25s', 7300 -> '2h02m', not a number -> '?'."""
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


HEADER_EVERY = 40


class LiveLine:
    """One line that is written over while work goes on; elsewhere than on a terminal, a line every `every` seconds.

    `header` names the columns of what follows; it stands above the first line and again every HEADER_EVERY lines.
    """

    def __init__(self, stream: TextIO | None = None, *, every: float = 10.0) -> None:
        self.stream = stream or sys.stderr
        self.live = self.stream.isatty()
        self.every = 0.1 if self.live else every
        self.shown = 0.0
        self.last = self.written = self.header = ""
        self.open = False
        self.lines = 0

    def update(self, text: str) -> None:
        """Show a text, if the last one has stood long enough."""
        self.last = text
        now = time.monotonic()
        if now - self.shown >= self.every:
            self.shown = now
            self._write(text)

    def _write(self, text: str) -> None:
        self.written = text
        if self.header and not self.open and self.lines % HEADER_EVERY == 0:
            self.stream.write(self.header + "\n")
        self.lines += not self.open
        if self.live:
            width = shutil.get_terminal_size().columns - 1
            self.stream.write("\r\x1b[K" + text[:width])
            self.open = True
        else:
            self.stream.write(text + "\n")
        self.stream.flush()

    def rest(self) -> None:
        """Leave the last text standing and begin a new line."""
        if self.last and (self.live or self.last != self.written):
            self._write(self.last)
        if self.open:
            self.stream.write("\n")
            self.stream.flush()
        self.last, self.open, self.shown = "", False, 0.0

    def __enter__(self) -> LiveLine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the last text standing."""
        self.rest()


def stage_progress(line: LiveLine) -> Callable[[str, int, int | None], None]:
    """Make the progress callback that build stages take: (stage, done, in all or None), in bytes or shards."""
    started: dict[str, float] = {}

    def progress(stage: str, done: int, total: int | None) -> None:
        if stage not in started:
            line.rest()
            started[stage] = time.monotonic()
        elapsed = time.monotonic() - started[stage]
        unit = "B" if stage == "documents" else " parts"
        text = f"  {stage}: {count_text(done)}" + (f" of {count_text(total)}{unit}" if total is not None else unit)
        text += f", {seconds_text(elapsed)}"
        if done and elapsed > 1:
            text += f", {count_text(done / elapsed)}{unit}/s"
            if total and done < total:
                text += f", {seconds_text(elapsed / done * (total - done))} left"
        line.update(text)

    return progress


TRAINING = "           step   left   MLM rel. contig rand link  norm      lr tokens/s full peak wait memory"


def training_progress(line: LiveLine) -> Callable[..., None]:
    """Make the progress callback of a run: a row of at most 99 columns under TRAINING.

    Time left; both losses, relations right by relation in % and the gradient's norm, all smoothed over about the last
    twenty steps; the learning rate; tokens a second without padding; of places, those with tokens, in %; speed in % of
    the peak; % of the time waited for batches; memory at its peak.
    """
    smooth: dict[str, float] = {}

    def average(name: str, value: float) -> float:
        if value == value:
            smooth[name] = 0.95 * smooth.get(name, value) + 0.05 * value
        return smooth.get(name, value)

    def share(value: float) -> str:
        return "-" if value != value else f"{100 * value:.0f}"

    def progress(state: Any) -> None:
        if state.stage != "training":
            line.update(f"step {state.step:,} of {state.steps:,}: {state.stage} ...")
            return
        line.header = TRAINING
        right = [share(average(f"right {i}", value)) for i, value in enumerate(state.relation_accuracies)]
        contiguous, random, linked = right or ["-"] * 3
        line.update(
            f"{f'{state.step:,}/{state.steps:,}':>15} {seconds_text(state.seconds_left):>6}"
            f" {average('mlm', state.mlm_loss):5.2f} {average('relation', state.relation_loss):4.2f}"
            f" {contiguous:>6} {random:>4} {linked:>4} {average('norm', state.gradient_norm):5.2f}"
            f" {state.learning_rate:7.1e} {count_text(state.tokens_per_second):>8} {share(state.utilisation):>4}"
            f" {share(state.peak_share):>4} {share(state.loader_share):>4} {count_text(state.memory):>5}B"
        )

    return progress
