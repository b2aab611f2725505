"""The journal of a run: one JSON object a line, and the same numbers for TensorBoard.

In: plain dictionaries that hold at least `step`. Out: RUN/journal.jsonl and RUN/tensorboard/. A resumed run first cuts
what was written after its checkpoint, so that the file reads as if the run had never stopped (timings aside). The JSON
lines are the record, the event file is a view of them, made anew from the lines when a run goes on. It is written with
tensorboard's record writer alone: torch's SummaryWriter costs seconds of imports and a thread that dies loudly on a
full disk.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from linkbert.files import read_json, read_json_lines, remove, replacing

FORMAT = 1  # of run.json

# What differs between a run and its repetition.
TIMINGS = ("elapsed", "tokens_per_second", "peak_share", "loader_share", "memory")


def read_record(run: Path) -> dict[str, Any]:
    """Read RUN/run.json: settings, stores, sittings; a ValueError where it is not what a run writes."""
    record = read_json(run / "run.json")
    whole = isinstance(record, dict) and record.get("format") == FORMAT and not {"store", "stores"}.isdisjoint(record)
    if not whole or not isinstance(record.get("config"), dict):
        where = run / "run.json"
        raise ValueError(f"{where} is not of format {FORMAT}; it is damaged, or of another version of linkbert")
    return record


def read_journal(path: Path) -> list[dict[str, Any]]:
    """Read a journal's whole lines; a last line cut by a crash is left out."""
    return read_json_lines(path, "step")


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
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.summary.writer.record_writer import RecordWriter

        cut_journal(run / "journal.jsonl", step)
        kept = read_journal(run / "journal.jsonl")
        self.began = time.time() - max((entry.get("elapsed", 0.0) for entry in kept), default=0.0)
        remove(run / "tensorboard")
        (run / "tensorboard").mkdir()
        self.file = (run / "journal.jsonl").open("a", encoding="utf-8")
        self.board = (run / "tensorboard" / f"events.out.tfevents.{int(time.time())}.linkbert").open("wb")
        self.events = RecordWriter(self.board)
        self.events.write(Event(wall_time=self.began, file_version="brain.Event:2").SerializeToString())
        for entry in kept:
            self._show(entry)

    def write(self, entry: dict[str, Any]) -> None:
        """Write one entry; its numbers, also those of nested tables, become TensorBoard scalars."""
        try:
            self.file.write(_line(entry))
            self.file.flush()
            self._show(entry)
            self.board.flush()
        except OSError as error:
            raise self._full(error) from error

    def _show(self, entry: dict[str, Any]) -> None:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary

        values = [Summary.Value(tag=name, simple_value=value) for name, value in _numbers(entry) if name != "step"]
        wall_time = self.began + entry.get("elapsed", 0.0)
        event = Event(wall_time=wall_time, step=entry["step"], summary=Summary(value=values))
        self.events.write(event.SerializeToString())

    def sync(self) -> None:
        """Make sure that what was written is on disk: a checkpoint must not know more than its journal."""
        try:
            os.fsync(self.file.fileno())
        except OSError as error:
            raise self._full(error) from error

    def _full(self, error: OSError) -> ValueError:
        where = f"cannot write {self.file.name}: {error.strerror or error}"
        return ValueError(f"{where}; make room and go on from the last checkpoint with --resume")

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        for file in (self.file, self.board):
            with suppress(OSError):  # a full disk, which `write` has told
                file.close()


def _line(entry: dict[str, Any]) -> str:
    return json.dumps(entry, allow_nan=False) + "\n"


def _numbers(entry: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    """Flatten to named numbers: {"a": 1, "b": {"c": 2}} -> ("a", 1), ("b/c", 2)."""
    for key, value in entry.items():
        if isinstance(value, dict):
            yield from _numbers(value, f"{prefix}{key}/")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield prefix + key, value
