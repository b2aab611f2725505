"""The journal of a run: one JSON object a line, and the same numbers for TensorBoard.

In: plain dictionaries that hold at least `step`. Out: RUN/journal.jsonl and RUN/tensorboard/. A resumed run first cuts
what was written after its checkpoint, so that the file reads as if the run had never stopped (timings aside), and has
TensorBoard forget it.
"""

from __future__ import annotations

import json
import logging
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

from pydantic import BaseModel, FiniteFloat, StrictInt

from linkbert.config import Config, check_content, migrate
from linkbert.files import read_json, read_json_lines, replacing

FORMAT = 1  # of run.json
UNDRAWN = {"step", "elapsed", "planned_steps", "pairs", "baseline_token"}  # say nothing as a curve
TIMINGS = ("elapsed", "tokens_per_second", "peak_share", "loader_share", "memory")  # differ when a run is repeated

log = logging.getLogger(__name__)


class StoreEntry(BaseModel):
    """What run.json says of a store."""

    path: str
    fingerprint: str = ""
    scope: str = ""
    weight: FiniteFloat = 1.0
    settings: dict[str, Any] = {}


class Record(BaseModel):
    """What run.json says."""

    created: str
    config: dict[str, Any]
    preset: str = ""
    store: StoreEntry | None = None
    stores: dict[str, StoreEntry] = {}
    resumed: list[dict[str, Any]]


def read_record(run: Path) -> dict[str, Any]:
    """Read RUN/run.json: settings, stores, sessions; a ValueError where it is not what a run writes."""
    record = read_json(path := run / "run.json")
    whole = isinstance(record, dict) and record.get("format") == FORMAT
    if not whole or not (record.get("store") or record.get("stores")):
        raise ValueError(f"{path} is not of format {FORMAT}; it is damaged, or of another linkbert")
    check_content(Record, record, path)
    settings = migrate(record["config"])
    if lacks := {"hidden_size", "max_steps"} - settings.keys():
        raise ValueError(f"{path}: config has no {min(lacks)}, which every run has; it is damaged")
    try:
        Config(**{key: value for key, value in settings.items() if key in Config.model_fields})
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    return cast(dict[str, Any], record)


def read_before(run: Path, *, resume: bool) -> dict[str, Any]:
    """Read the record of a run that is to be resumed: {} where RUN is empty; ValueError where it may not be used."""
    if not run.is_file() and all(path.suffix == ".part" for path in run.glob("*")):
        return {}
    if not (run / "run.json").is_file():
        raise ValueError(f"{run} is a file, or holds other things than a run (no run.json); name another folder")
    if not resume and not [*run.glob("checkpoints/step-*"), *run.glob("model")]:
        remedy = "delete it to start again, or add --resume to start it with its own settings"
        raise ValueError(f"{run} is a run without a checkpoint, which stopped early: {remedy}")
    if not resume:
        raise ValueError(f"{run} is not empty; add --resume to continue the run in it, or name another folder")
    record = read_record(run)
    if unknown := migrate(record["config"]).keys() - Config.model_fields:
        raise ValueError(f"{run / 'run.json'}: unknown setting {min(unknown)!r}; it is of another linkbert, or damaged")
    return record


def resume_words(objective: str) -> str:
    """Write how a run is resumed: an objective that is not installed is named again."""
    return f"--resume objective={objective}" if ":" in objective else "--resume"


def read_journal(path: Path) -> list[dict[str, Any]]:
    """Read a journal's whole lines; a last line cut by a crash is left out."""
    found = read_json_lines(path, "step")
    steps = {f"step of line {number}": line["step"] for number, line in enumerate(found, 1)}
    check_content(dict[str, StrictInt], steps, path)
    return found


class Journal:
    """Appends lines to RUN/journal.jsonl and scalars to RUN/tensorboard/; use as a context manager."""

    def __init__(self, run: Path, *, step: int = 0, due: bool = False) -> None:
        """Open the journal of a run that stands at `step`, cut what comes later, and an evaluation that is `due`."""
        path = run / "journal.jsonl"
        kept = [line for line in read_journal(path) if line["step"] + (due and "evaluation" in line) <= step]
        with replacing(path) as part:
            part.write_text("".join(json.dumps(entry) + "\n" for entry in kept), encoding="utf-8")
        self.board: Any = None
        try:
            from torch.utils.tensorboard import SummaryWriter

            self.board = SummaryWriter(run / "tensorboard", purge_step=step + 1)
        except ModuleNotFoundError:
            log.warning("tensorboard is not installed: %s alone has the curves", path)
        self.file = path.open("a", buffering=1, encoding="utf-8")

    def write(self, entry: dict[str, Any]) -> None:
        """Write one entry; its own numbers become TensorBoard's train/ curves, those of an evaluation eval/."""
        self.file.write(json.dumps(entry, allow_nan=False) + "\n")
        if not self.board:
            return
        scored = entry.get("evaluation", {}).items()
        values = {f"eval/{key}": value.get("value") if isinstance(value, dict) else value for key, value in scored}
        for name, value in ({f"train/{key}": value for key, value in entry.items()} | values).items():
            if isinstance(value, int | float) and name.partition("/")[2] not in UNDRAWN:
                self.board.add_scalar(name, value, entry["step"])

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        for file in filter(None, (self.file, self.board)):
            with suppress(OSError):  # a full disk, at which `write` has failed
                file.close()
