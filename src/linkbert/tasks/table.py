"""Datasets as tables of a TOML file, and as Task records: none has code of its own.

Ours are tasks.toml. An installed package adds a file of its own through the entry points linkbert.tasks (a path, or a
function that returns one); on the command line a word may be a file: FILE.toml, or one of its tables, FILE.toml:NAME.
"""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from linkbert import registry
from linkbert.config import check_content, nearest
from linkbert.files import read_toml

SPLITS = ("train", "dev", "test")
AUTHORS: Mapping[str, Mapping[str, Any]] = {  # the forms of the authors' data.zip, by kind; all are JSON lines
    "question": {"format": "squad-rows"},
    "text": {"format": "jsonl"},
    "tags": {"format": "tag-rows", "columns": {"id": "id", "words": "tokens", "tags": "ner_tags"}},
    "choice": {"format": "jsonl", "columns": {"id": "id", "question": "sent1", "label": "label",
                                              "options": [f"ending{number}" for number in range(4)]}},
}  # fmt: skip


@dataclass(frozen=True)
class Task:
    """A dataset: its files, their form, how it is trained and scored, and what the paper says of it."""

    name: str
    title: str
    kind: str  # text, tags, choice, question, one of an installed package, or "package.module:Class"
    format: str  # how its files are read: a name of splits.FORMATS, or "package.module:function"
    metrics: tuple[str, ...]  # names of metrics.METRICS, or of the kind's own; the first decides
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
    authors: str = ""  # its folder in the authors' data.zip, whose files are candidates of `files`, too
    where: str = ""  # where the files are had
    hub: str = ""  # the dataset of Hugging Face's hub that has them in a form of `files`
    licence: str = ""
    note: str = ""
    submission: str = ""  # the name of its file on GLUE's server
    file: str = ""  # of its table, where it is not in tasks.toml

    def __hash__(self) -> int:
        return hash(self.name)

    @property
    def paper_split(self) -> str:
        """The set on which a report reads it: GLUE's on dev, as its test labels are not public, else test."""
        return "dev" if self.suite == "glue" else "test"


@cache
def tasks() -> dict[str, Task]:
    """Read every table of tasks.toml and of installed packages, by name, in their order."""
    found = read_tables(resources.files("linkbert.tasks").joinpath("tasks.toml"))
    for name in (name for name in registry.usable("tasks") if name not in registry.BUILT_IN["tasks"]):
        value = registry.find("tasks", name)
        if not isinstance(value, type):  # else a kind
            installed = read_tables(Path(value() if callable(value) else value), found)
            found |= {key: task for key, task in installed.items() if key not in found}
    return found


def read_tables(path: Any, known: Mapping[str, Task] | None = None) -> dict[str, Task]:
    """Read the tables of a file; what one does not say is that of the table it is `like`, of the file or a known one.

    ValueError: a file that is not TOML, a table with an unknown key or kind, or with the name of a known one.
    """
    found: dict[str, Task] = {}
    for name, table in read_toml(path).items():
        where, others = f"{path}: [{name}]", {**(known or {}), **found}
        if not isinstance(table, dict):
            raise ValueError(f"{path}: {name} is not a table: a dataset is [NAME] and what stands below it")
        if known and name in known:
            raise ValueError(f"{where} has the name of one of linkbert's datasets: give it another one")
        if like := table.pop("like", ""):
            if not isinstance(like, str) or like not in others:
                raise ValueError(f"{where} is like {like!r}; {nearest(str(like), others)}")
            own = {"authors": ""} if "files" in table else {}
            table = {item.name: getattr(others[like], item.name) for item in dataclasses.fields(Task)[1:]} | own | table
        found[name] = make_task(name, {**table, "file": str(path) if known is not None else ""}, where)
    return found


def make_task(name: str, table: Mapping[str, Any], where: str) -> Task:
    """Make a Task of a table; an error names `where` it stands."""
    known = [item.name for item in dataclasses.fields(Task)]
    if unknown := [key for key in table if key not in known]:
        raise ValueError(f"{where} has an unknown key {unknown[0]!r}; {nearest(unknown[0], known)}")
    values = {"title": name, "suite": "further", "format": "", **table, "name": name}
    kinds, files = registry.references("tasks"), table.get("files", {})
    if lacking := [key for key in ("kind", "metrics", "format")[: 3 if files else 2] if not values.get(key)]:
        raise ValueError(f"{where} has no {lacking[0]}: docs/tasks.md lists what a table has")
    if not isinstance(values["kind"], str) or (values["kind"] not in kinds and ":" not in values["kind"]):
        raise ValueError(f"{where} has kind {values['kind']!r}; {nearest(str(values['kind']), kinds)}")
    if not isinstance(files, Mapping) or any(isinstance(found, str) for found in files.values()):
        raise ValueError(f'{where} has files = {files!r:.60}: it takes lists by set, {{ train = ["train.tsv"] }}')
    if values.get("authors") and values["kind"] not in AUTHORS:
        raise ValueError(f"{where} has authors and kind {values['kind']!r}: the authors' are {', '.join(AUTHORS)}")
    if not set(files) <= set(SPLITS):
        raise ValueError(f"{where} has files of {', '.join(files)}: there are {', '.join(SPLITS)}")
    task: Task = check_content(Task, values, where)
    if not isinstance(task.options.get("columns", {}), Mapping):
        raise ValueError(f"{where} has options.columns = {task.options['columns']!r:.60}: it takes a name by role")
    return dataclasses.replace(task, **_with_authors(dataclasses.asdict(task))) if task.authors else task


def _with_authors(values: Mapping[str, Any]) -> dict[str, Any]:
    """Add the files of the data.zip (data/qa/squad_hf/train.json), and their form."""
    folder, options, files = values["authors"], values.get("options", {}), {}
    for split in SPLITS:
        names = ("val", "dev") if split == "dev" else (split,)  # MMLU's `dev` are examples for a prompt
        added = [f"{top}{folder}/{name}.json" for top in ("", "data/") for name in names]
        files[split] = tuple(dict.fromkeys((*values["files"].get(split, ()), *added)))
    form = dict(AUTHORS[values["kind"]])
    if values["kind"] == "text":
        texts = {"a": "sentence1", "b": "sentence2"} if "b" in options.get("columns", {}) else {"a": "sentence"}
        form["columns"] = {"id": "id", **texts, "label": "label"}
    forms = {"*_hf/*.json": form} | options.get("forms", {})
    return {"files": files, "options": {**options, "forms": forms}}


def find_task(name: str) -> Task:
    """Look a task up; an unknown name is a ValueError that names the nearest one."""
    known = tasks()
    if name not in known:
        raise ValueError(f"unknown task {name!r}; {nearest(name, known)}")
    return known[name]


def models_of(task: Task) -> list[Task]:
    """Find the tasks whose model scores one: of the file of its table, or known."""
    own = read_tables(Path(task.file), tasks()) if task.model_of and Path(task.file).suffix == ".toml" else {}
    found = [own.get(name) or find_task(name) for name in task.model_of]
    if chained := [each.name for each in found if each.model_of]:
        raise ValueError(f"{task.name}: model_of names {chained[0]}, which is scored by another's model itself")
    return found


def find_tasks(wanted: str | Task | Mapping[str, Any] | Sequence[str | Task | Mapping[str, Any]]) -> list[Task]:
    """Find tasks: names ("rte,mrpc"), FILE.toml, FILE.toml:NAME, Tasks, or tables ({"name": ..., "kind": ..., ...})."""
    if isinstance(wanted, Task):
        return [wanted]
    if isinstance(wanted, Mapping):
        name = str(wanted.get("name", "made"))
        return [make_task(name, {"file": "(a table)", **wanted}, f"the table of {name}")]
    if not isinstance(wanted, str):
        return [task for each in wanted for task in find_tasks(each)]
    found: list[Task] = []
    for word in wanted.split(","):
        file = re.fullmatch(r"(?s)(.+\.toml)(?::(.+))?", word)
        if not file and Path(word.rpartition(":")[0]).is_file():
            raise ValueError(f"{word.rpartition(':')[0]} is no FILE.toml with tables of datasets")
        own = read_tables(Path(file[1]), tasks()) if file else {word: find_task(word)}
        if file and file[2] and file[2] not in own:
            raise ValueError(f"{file[1]} has no table {file[2]!r}; {nearest(file[2], own)}")
        found += [own[file[2]]] if file and file[2] else own.values()
    return found


def task_of(record: Mapping[str, Any]) -> Task:
    """Return the task of a record of results: by its name, or from its own table."""
    try:
        return find_tasks(record.get("table", record["task"]))[0]
    except ValueError as error:
        raise ValueError(f"results.jsonl, run {record.get('key')}: {error}") from None


def suite(name: str) -> list[Task]:
    """List the tasks of a suite in the order of the paper's tables."""
    found = [task for task in tasks().values() if task.suite == name]
    if not found:
        raise ValueError(f"unknown suite {name!r}; {nearest(name, {task.suite for task in tasks().values()})}")
    return found
