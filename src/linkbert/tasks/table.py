"""The tables of tasks.toml as Task records: every dataset is declared there, and none of them has code of its own."""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import Any

from linkbert.config import nearest

KINDS = ("question", "text", "tags", "choice")
SPLITS = ("train", "dev", "test")


@dataclass(frozen=True)
class Task:
    """A dataset: its files, their form, how it is trained and scored, and what the paper says of it."""

    name: str
    title: str
    kind: str  # one of KINDS
    format: str  # how its files are read: a name of formats.FORMATS or questions.QUESTION_FORMATS
    metrics: tuple[str, ...]  # names of metrics.METRICS; the first decides
    suite: str  # mrqa, glue, blurb, medqa, mmlu or further
    group: str = ""  # of a suite whose score is a mean over groups (BLURB), or of sets that are averaged first (MNLI)
    files: Mapping[str, tuple[str | tuple[str, ...], ...]] = field(default_factory=dict)
    # By split, what may stand under --data or under --data/SUITE, the first that is there; a tuple is read together.
    # Each may be compressed (.gz, .xz, .bz2) or lie in an archive (`cola_public.zip!raw/in_domain_train.tsv`).
    options: Mapping[str, Any] = field(default_factory=dict)  # of the format: columns, a header
    split: Mapping[str, Any] = field(default_factory=dict)  # a split of our own where one is missing
    labels: tuple[str, ...] = ()  # where train does not say them
    model_of: tuple[str, ...] = ()  # the tasks whose model scores this one, the first that is at hand (MMLU: medqa)
    settings: Mapping[str, Any] = field(default_factory=dict)  # of fine-tuning, apart from the defaults
    paper: Mapping[str, float] = field(default_factory=dict)  # scores in the paper, by model
    where: str = ""  # where the files are had
    hub: str = ""  # the dataset of Hugging Face's hub that has them in a form of `files`
    licence: str = ""
    note: str = ""


@cache
def tasks() -> dict[str, Task]:
    """Read every table of tasks.toml, by name, in its order; what it does not say is that of the one it is `like`."""
    tables = tomllib.loads(resources.files("linkbert.tasks").joinpath("tasks.toml").read_text(encoding="utf-8"))
    for table in tables.values():
        if table.get("like") in tables:
            table.update(tables[table.pop("like")] | table)
    return {name: _task(name, table) for name, table in tables.items()}


def find_task(name: str) -> Task:
    """Look a task up; an unknown name is a ValueError that names the nearest one."""
    known = tasks()
    if name not in known:
        raise ValueError(f"unknown task {name!r}; {nearest(name, known)}")
    return known[name]


def suite(name: str) -> list[Task]:
    """List the tasks of a suite in the order of the paper's tables."""
    found = [task for task in tasks().values() if task.suite == name]
    if not found:
        raise ValueError(f"unknown suite {name!r}; {nearest(name, {task.suite for task in tasks().values()})}")
    return found


def _task(name: str, table: dict[str, Any]) -> Task:
    known = [item.name for item in dataclasses.fields(Task)]
    for key in table:
        if key not in known:
            raise ValueError(f"tasks.toml: [{name}] has an unknown key {key!r}; {nearest(key, known)}")
    values: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in table.items()}
    values["files"] = {
        split: tuple(tuple(each) if isinstance(each, list) else each for each in found)
        for split, found in table.get("files", {}).items()
    }
    task = Task(name=name, **values)
    if task.kind not in KINDS or not set(task.files) <= set(SPLITS):
        raise ValueError(f"tasks.toml: [{name}] has kind {task.kind!r} and files {sorted(task.files)}")
    return task
