"""How fast a run goes through its schedule: a step at a time, or so that the schedule ends when the time does.

In: the settings, the seconds that steps took, or a journal whose pace is to be followed. Out: a Plan, which says where
in the schedule a step stands. A schedule is `steps` places long; a run without a budget takes one of them a step. One
with a budget walks the same schedule, warm-up and decay in the same shares, at the stride that comes to its end with
the time: its process 0 measures steps, and now and then says anew at which step the run will end. A new Plan begins
where the last one stands, so the learning rate never jumps. Every Plan is a line of the journal, and follows from the
lines before it: that is how another run, or the same one once more, repeats the pace to the bit.

The time is that of training: loading, compiling, forward, backward and update, over all sittings. Evaluations and
checkpoints are left out, since how often one looks must not change what is learnt.
"""

from __future__ import annotations

from collections import deque
from pathlib import Path
from typing import NamedTuple

from linkbert.pretraining.journal import read_journal

FIRST = 1_000  # steps that a run is taken to have until its pace is known
COMPILING = 2  # first steps of a sitting, which say nothing of the others
MEASURED = 50  # steps whose mean time is the pace
DECISIONS = 100  # of a run: one after each hundredth of the time


class Plan(NamedTuple):
    """From `step` on, which stands at `place` of the schedule, the run goes evenly to its end after `steps` updates."""

    step: int
    place: float
    steps: int

    def stride(self, length: int) -> float:
        """Give the places of a schedule of `length` that a step takes: 1.0, exactly, where the run has no budget."""
        return (length - self.place) / (self.steps - self.step)

    def place_of(self, step: int, length: int) -> float:
        """Give the place at which a step stands, from 0 to `length`: the step itself where the run has no budget."""
        return self.place + (step - self.step) * self.stride(length)

    def end_at(self, steps: int, *, step: int, length: int) -> Plan:
        """Plan anew from `step` on; the old plan where nothing changes.

        >>> Plan(0, 0.0, 1000).end_at(200, step=100, length=10_000)  # 1,000 places in 100 steps, 9,000 in the next 100
        Plan(step=100, place=1000.0, steps=200)
        """
        return self if steps == self.steps else Plan(step, self.place_of(step, length), steps)


class Pace:
    """Says after how many updates a run with a budget ends: as recorded, and where the record ends by its clock."""

    def __init__(self, budget: float, spent: float, recorded: dict[int, int]) -> None:
        """Begin a sitting of a run of `budget` seconds of which `spent` are gone; recorded: see `read_pace`."""
        self.budget, self.spent, self.recorded = budget, spent, recorded
        self.last = max(recorded, default=-1)
        self.skip, self.due = COMPILING, spent
        self.seconds: deque[float] = deque(maxlen=MEASURED)

    def took(self, seconds: float) -> None:
        """Count a step that took so long."""
        self.spent += seconds
        if self.skip:
            self.skip -= 1
        else:
            self.seconds.append(seconds)

    def end(self, step: int, planned: int) -> int:
        """Give the number of updates after which the run ends, as it looks before `step`; `planned` is the last word.

        There is always one step more: whoever asks is about to make it.
        """
        if step <= self.last:
            return self.recorded.get(step, planned)
        if not self.seconds or self.spent < self.due:
            return planned
        self.due = self.spent + self.budget / DECISIONS
        left = (self.budget - self.spent) * len(self.seconds) / sum(self.seconds)
        return step + max(1, round(left))


def read_pace(path: Path) -> dict[int, int]:
    """Read the pace of a run from its journal (or its folder): {step before which it was said: updates in all}.

    The last entry is where the journal ends, even if nothing new was said there.
    """
    path = path / "journal.jsonl" if path.is_dir() else path
    if not path.is_file():
        raise ValueError(f"pace={path} is not there; name the journal.jsonl of a run with a budget, or its folder")
    lines = read_journal(path)
    found = {line["step"] - 1: line["planned_steps"] for line in lines if "planned_steps" in line}
    if not found:
        raise ValueError(
            f"pace={path} records no pace; name the journal of a run with a budget that got to its third step"
        )
    return found | {max(line["step"] for line in lines) - 1: found[max(found)]}
