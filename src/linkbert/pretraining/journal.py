"""The journal of a run: one JSON object a line, and the same numbers for TensorBoard.

In: plain dictionaries that hold at least `step`. Out: RUN/journal.jsonl and RUN/tensorboard/. A resumed run first cuts
what was written after its checkpoint, so that the file reads as if the run had never stopped (timings aside). The JSON
lines are the record; the event files are a view of them and may hold a dead end that `purge_step` hides.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from linkbert.files import replacing

# What differs between a run and its repetition.
TIMINGS = ("elapsed", "tokens_per_second", "loader_share")


def read_journal(path: Path) -> list[dict[str, Any]]:
    """Read a journal's whole lines; a last line cut by a crash is left out."""
    if not path.is_file():
        return []
    lines = path.read_bytes().splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith(b"\n")]


def cut_journal(path: Path, step: int) -> None:
    """Drop the lines of later steps than `step` (0 drops all)."""
    kept = [line for line in read_journal(path) if line["step"] <= step]
    with replacing(path) as part:
        part.write_text("".join(_line(entry) for entry in kept), encoding="utf-8")


def without_timings(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Leave out what a repetition cannot equal: [{"step": 1, "elapsed": 3.2}] -> [{"step": 1}]."""
    return [{key: value for key, value in entry.items() if key not in TIMINGS} for entry in entries]


class Journal:
    """Appends lines to RUN/journal.jsonl and scalars to RUN/tensorboard/; use as a context manager."""

    def __init__(self, run: Path, *, step: int = 0) -> None:
        """Open the journal of a run that stands at `step`, and cut what lies after it."""
        from torch.utils.tensorboard import SummaryWriter

        cut_journal(run / "journal.jsonl", step)
        self.file = (run / "journal.jsonl").open("a", encoding="utf-8")
        self.board = SummaryWriter(str(run / "tensorboard"), purge_step=step + 1 if step else None)

    def write(self, entry: dict[str, Any]) -> None:
        """Write one entry; its numbers, also those of nested tables, become TensorBoard scalars."""
        self.file.write(_line(entry))
        self.file.flush()
        for name, value in _numbers(entry):
            if name != "step":
                self.board.add_scalar(name, value, entry["step"])

    def sync(self) -> None:
        """Make sure that what was written is on disk: a checkpoint must not know more than its journal."""
        self.file.flush()
        os.fsync(self.file.fileno())
        self.board.flush()

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()
        self.board.close()


def _line(entry: dict[str, Any]) -> str:
    return json.dumps(entry, allow_nan=False) + "\n"


def _numbers(entry: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    """Flatten to named numbers: {"a": 1, "b": {"c": 2}} -> ("a", 1), ("b/c", 2)."""
    for key, value in entry.items():
        if isinstance(value, dict):
            yield from _numbers(value, f"{prefix}{key}/")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield prefix + key, value
