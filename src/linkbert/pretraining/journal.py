"""The journal of a run: one JSON object a line, and the same numbers for TensorBoard.

In: plain dictionaries that hold at least `step`. Out: RUN/journal.jsonl and RUN/tensorboard/. A resumed run first cuts
what was written after its checkpoint, so that the file reads as if the run had never stopped (timings aside), and has
TensorBoard forget it.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from os import PathLike
from pathlib import Path
from typing import Any, cast

from pydantic import BaseModel, FiniteFloat, StrictInt

from linkbert.config import STORE_SETTINGS, Config, check_content, make_config, migrate, show_value
from linkbert.files import read_json, read_json_lines, replacing
from linkbert.instances.parts import Part, choose_stores

FORMAT = 1  # of run.json
UNDRAWN = {"step", "elapsed", "planned_steps", "pairs", "baseline_token"}  # say nothing as a curve
TIMINGS = ("elapsed", "tokens_per_second", "peak_share", "loader_share", "memory")  # differ when a run is repeated

# Settings that may change when a run is resumed: they decide neither what is learnt nor by which updates.
FREE = ("device", "precision", "spike", "on_spike", "gradient_checkpointing", "compile", "bert_modules", "sharding",
        "threads", "micro_batch_size", "logging_steps", "save_steps", "save_total_limit", "keep_best", "eval_steps",
        "eval_pairs")  # fmt: skip

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


def stores_and_settings(
    store: str | PathLike[str] | None, run: Path | None, preset: str | None, otherwise: str, words: Sequence[str]
) -> tuple[list[Part], Config]:
    """Find what to read and how: STORE and a preset where given, else those of RUN/run.json, else `otherwise`."""
    record = read_record(run) if run is not None else {}
    parts, _ = choose_stores([str(store)] if store is not None else [], record)
    if record and not preset:
        return parts, make_config(None, words, base=record["config"])
    return parts, make_config(preset or otherwise, words)


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


def check_same_run(run: Path, before: dict[str, Any], now: dict[str, Any]) -> None:
    """Refuse to resume with another setting or another store than RUN started with; the message names the first."""
    kept, done = [*run.glob("checkpoints/step-*[0-9]")], (run / "model").is_dir()
    anew = f"start a new run with init={run / 'model' if done else 'CHECKPOINT'}"
    anew = anew if kept or done else "delete it: it has no checkpoint"
    stores, others = (each.get("stores") or {"": each["store"]} for each in (before, now))
    if stores.keys() != others.keys():
        was, given = (", ".join(f"{n}={each['path']}".lstrip("=") for n, each in s.items()) for s in (stores, others))
        raise ValueError(f"{run} was started on {was}, not on {given}: resume with the same stores")
    old = decisive_settings(now) | decisive_settings(before)  # an earlier version had fewer
    for key, value in decisive_settings(now).items():
        longer = key == "max_steps" and value > old[key] and may_grow(run, old)
        if old[key] != value and not longer:
            was = f"{key}={show_value(old[key])}"
            how = f"it is finished; {anew}" if done else f"resume with {was}, or {anew}"
            raise ValueError(f"{run} was started with {was}, not {key}={show_value(value)}: {how}")
    for name, store in stores.items():
        if store.get("fingerprint") != others[name]["fingerprint"]:
            was, given = store["path"], others[name]["path"]
            how = f"resume with that one, or {anew}"
            raise ValueError(f"{run} was started on another store ({was}) than {given}: {how}")


def may_grow(run: Path, old: Mapping[str, Any]) -> bool:
    """Check whether a run may get more steps: nothing that it did so far depends on how many there are."""
    steps = [folder.name[5:] for folder in run.glob("checkpoints/step-*")]
    done = max((int(step) for step in steps if step.isdecimal()), default=0)
    stable = {"constant_with_warmup": 1.0, "warmup_stable_decay": 1 - old["decay_ratio"]}.get(old["lr_scheduler_type"])
    counted = not 0 < old["warmup_steps"] < 1 and old["warmup_steps"] < old["max_steps"]
    same_masks = old["mlm_probability_end"] in (0, old["mlm_probability"])
    return stable is not None and done <= stable * old["max_steps"] and counted and same_masks


def decisive_settings(record: dict[str, Any]) -> dict[str, Any]:
    """Return what decides a run's batches and updates, each store's own settings and weight among it."""
    found = migrate(record["config"])
    for name, store in record.get("stores", {}).items():
        own = found | store.get("settings", {})  # a run of an earlier version may lack some
        found |= {f"{name}.{key}": own[key] for key in STORE_SETTINGS if key in own}
        found[f"{name}.scope"] = store.get("scope", own.get("scope"))
        found[f"the weight of {name}"] = store.get("weight", 1.0)
    asked = found.pop("scope", None)  # what it came to counts
    if "store" in record:
        found["scope"] = record["store"].get("scope", asked)
    return {key: value for key, value in found.items() if key not in FREE}


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
