"""A study: arms, seeds, probes and tasks of a TOML file, as runs that are done once, in any order, anywhere.

    DIR/asked.json                        the study's tables, as they were read
    DIR/timing.json                       tokens a second, where they had to be measured
    DIR/runs/KEY/                         a pretraining run; KEY is a hash of its settings and of its stores
    DIR/results/KEY/NAME-HASH.json, .npz  what a probe or a task found for its model; HASH is of what was asked
    DIR/results/KEY/NAME-HASH/            the results of fine-tuning
    DIR/study.json, .md, .html            what came of it (differences.py)

Every file is renamed when whole, and a run resumes from its last checkpoint: a study that is killed anywhere and
started again ends as one that was not. Several processes or jobs may work in one DIR; each locks the run it makes.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, Field, ValidationError

from linkbert import registry
from linkbert.config import STORE_SETTINGS, Config, Seed, check_content, in_seconds, nearest
from linkbert.files import locked, read_json, remove, replacing, write_json
from linkbert.instances.parts import Part
from linkbert.pretraining.journal import read_journal
from linkbert.tasks.results import run_key
from linkbert.tasks.settings import FineTuneConfig
from linkbert.tasks.table import Task, find_tasks
from linkbert.trials.arms import Arm, Budget, Length, arm_config, lacking_graphs, plan_lengths, read_arm
from linkbert.workers import make_executor, run_shards

DRAWING = (*STORE_SETTINGS, "sequence_length", "seed", "eval_pairs", "mlm_probability", "masking")  # given to a probe
TIMING = "30s"  # of training, for tokens a second where no run has finished
Report = Callable[[str], None]


class StoreTable(BaseModel, extra="forbid", frozen=True):
    """A store, and how it is built where it is not there."""

    path: Path
    build: list[str] = []  # the words of `linkbert build`, without --to
    weight: float | None = None  # of several that are trained on; none: by tokens
    train: bool = True  # or only probed
    settings: dict[str, Any] = {}


class Asked(BaseModel, extra="forbid", frozen=True):
    """What stands next to the settings of a probe or a task."""

    name: str = ""  # the probe or task; none: the name of the table
    title: str = ""
    store: str = ""  # of a probe; none: the first
    data: str = ""  # of a task; none: the study's
    seeds: int = Field(1, ge=1)  # of fine-tuning
    grid: str | None = None
    settings: dict[str, Any] = {}  # every other key


class Study(BaseModel, extra="forbid", frozen=True):
    """The tables of a study's file."""

    title: str
    stores: dict[str, StoreTable] = Field(min_length=1)
    arms: dict[str, dict[str, Any]] = Field(min_length=1)
    baseline: str = ""  # the arm that others are compared with; none: bert, or the first
    seeds: list[Seed] = Field([0], min_length=1)  # of pretraining
    budget: Budget = Budget()
    settings: dict[str, Any] = {}  # of pretraining, of all arms
    probes: dict[str, dict[str, Any]] = {"score": {}}
    tasks: dict[str, dict[str, Any]] = {}
    finetuning: dict[str, Any] = {}  # settings of all tasks
    data: str = ""  # the folder or the hub's dataset of the tasks
    compare: list[str] = []  # "ARM - ARM", or "ARM - ARM on NAME": what a sentence is asked for; none: all
    paper: str = ""  # the size of the encoder, where the paper has one: tiny, base, large
    note: str = ""

    @cached_property
    def read_arms(self) -> dict[str, Arm]:
        """Return the arms, by name."""
        return {name: read_arm(name, table, self.paper) for name, table in self.arms.items()}

    @property
    def base(self) -> str:
        """Return the arm that others are compared with."""
        return self.baseline or ("bert" if "bert" in self.arms else next(iter(self.arms)))

    def against(self, name: str) -> str:
        """Return the arm that one is compared with; itself for a baseline."""
        return self.read_arms[name].against or self.base

    def seeds_of(self, name: str) -> list[int]:
        """Return the seeds of an arm's pretraining."""
        return self.read_arms[name].seeds or self.seeds

    @property
    def common(self) -> dict[str, Any]:
        """Return the settings of all arms; where graphs are compared, links count without their places in all."""
        usual = self.settings.get("graph", "hyperlink")
        several = any(arm.settings.get("graph", usual) != usual for arm in self.read_arms.values())
        return {**({"scope": "document"} if several else {}), **self.settings}

    def config(self, name: str, seed: int = 0, **more: Any) -> tuple[Config, str]:
        """Return the settings and the preset of an arm's run."""
        return arm_config(self.common, self.read_arms[name], seed, **more)

    @property
    def parts(self) -> list[Part]:
        """Return the stores that are trained on."""
        found = [(name, each) for name, each in self.stores.items() if each.train]
        names = [name if len(found) > 1 else "" for name, _ in found]
        return [Part(name, each.path, each.weight, each.settings) for name, (_, each) in zip(names, found, strict=True)]

    @cached_property
    def questions(self) -> list[Question]:
        """Return what every model is asked: probes, then tasks."""
        found = []
        for kind, tables in (("probe", self.probes), ("task", self.tasks)):
            for label, table in tables.items():
                own = {key: value for key, value in table.items() if key in Asked.model_fields and key != "settings"}
                more = self.finetuning if kind == "task" else {}
                rest = {**more, **{key: value for key, value in table.items() if key not in own}}
                found.append(Question(label, kind, Asked(**{"name": label, **own}, settings=rest)))
        return found


@dataclass(frozen=True)
class Question:
    """A probe or a task that every model of the study is asked."""

    label: str
    kind: str  # probe or task
    asked: Asked

    @property
    def task(self) -> Task:
        """Return the dataset of a task."""
        found = find_tasks(self.asked.name)
        if len(found) != 1:
            raise ValueError(f"task {self.label}: name one dataset, got {self.asked.name}")
        return found[0]

    @property
    def title(self) -> str:
        """Return its name in tables."""
        return self.asked.title or (self.task.title if self.kind == "task" else self.label)


@dataclass(frozen=True)
class Run:
    """A pretraining run of a study, and the model that is asked."""

    key: str
    arm: str
    seed: int
    config: Config
    preset: str
    length: Length


@dataclass(frozen=True)
class Job:
    """A run as a worker gets it."""

    study: Study
    run: Run
    folder: Path
    parallel: int

    @property
    def path(self) -> Path:
        """Return the folder of its pretraining."""
        return self.folder / "runs" / self.run.key


def read_study(path: Path) -> Study:
    """Read a study's file; with `like = "FILE"` it is that one but for what it holds, and `NAME = false` takes away."""
    study = check_study(_read_tables(path), path)
    stores = {name: each.model_copy(update={"path": each.path.absolute()}) for name, each in study.stores.items()}
    data = str(Path(study.data).absolute()) if study.data and Path(study.data).is_dir() else study.data
    return study.model_copy(update={"stores": stores, "data": data})


def _read_tables(path: Path) -> dict[str, Any]:
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not a TOML file: {error}") from None
    if like := tables.pop("like", ""):
        return _merged(_read_tables(path.parent / str(like)), tables)
    return tables


def _merged(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    both = {key: _merged(old[key], value) if isinstance(value, dict) and isinstance(old.get(key), dict) else value
            for key, value in new.items()}  # fmt: skip
    gone = {key for key, value in new.items() if value is False and isinstance(old.get(key), dict)}
    return {key: value for key, value in {**old, **both}.items() if key not in gone}


def check_study(tables: Any, path: Path) -> Study:
    """Make a Study of tables; whatever is wrong with one is a ValueError of one line, before anything is run."""
    if unknown := [key for key in tables if key not in Study.model_fields]:
        raise ValueError(f"{path} has an unknown key {unknown[0]!r}; {nearest(unknown[0], Study.model_fields)}")
    study: Study = check_content(Study, tables, path)
    try:
        for name in study.arms:
            study.config(name)
            if study.against(name) not in study.arms or study.against(study.against(name)) != study.against(name):
                raise ValueError(
                    f"arm {name} is compared with {study.against(name)}, which is no baseline of the study"
                )
        for each in study.questions:
            if each.kind == "task":
                FineTuneConfig(**{**each.task.settings, **each.asked.settings})
            else:
                find_probe(each.asked.name)
            if each.asked.store and each.asked.store not in study.stores:
                raise ValueError(
                    f"{each.label} asks for store {each.asked.store}; {nearest(each.asked.store, study.stores)}"
                )
        for words in study.compare:
            read_comparison(study, words)
    except ValidationError as error:
        first = error.errors()[0]
        raise ValueError(f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    return study


def read_comparison(study: Study, words: str) -> tuple[str, str, list[str]]:
    """Read what is compared: "linkbert - bert on squad" -> both arms, and the labels of what they are compared on."""
    arms, _, label = words.partition(" on ")
    names, labels = arms.split(" - "), [each.label for each in study.questions]
    for word, known in [(name.strip(), study.arms) for name in names] + [(label.strip() or labels[0], labels)]:
        if word not in known:
            raise ValueError(f"compare {words!r}: {word!r} is not in the study; {nearest(word, known)}")
    if len(names) != 2:
        raise ValueError(f"compare {words!r} is not ARM - ARM, nor ARM - ARM on NAME")
    return names[0].strip(), names[1].strip(), [label.strip()] if label else labels


def find_probe(name: str) -> Callable[[Path, Path, dict[str, Any]], dict[str, Any]]:
    """Find a probe by its name, or by `package.module:function`."""
    if name == "score":
        return score
    if ":" in name:
        found: Any = registry.find("probes", name)
        return found
    if find_spec("linkbert.trials.probes") is None:
        raise ValueError(f"unknown probe {name!r}; there is score")
    from linkbert.trials.probes import PROBES  # type: ignore[import-untyped,unused-ignore]

    if name not in PROBES:
        raise ValueError(f"unknown probe {name!r}; {nearest(name, [*PROBES, 'score'])}")
    return PROBES[name]


def score(model: Path, store: Path, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Score a model on a store's held-out documents as `linkbert score` does; the questions are those of all arms.

    Relations are asked of three, or of BERT's two: both are told apart by name, as they are not to be compared.
    """
    from linkbert.pretraining.evaluation import score_model

    scores = score_model(model, [Part("", store)], Config(**settings))
    found = {"mlm_loss": scores.mlm_loss, "mlm_accuracy": scores.mlm_accuracy.value}
    if scores.relation_accuracy:
        name = "relation_accuracy" if len(scores.relations) == 3 else "next_sentence_accuracy"
        found[name] = scores.relation_accuracy.value
    gains = {"link_gain": scores.link_gain, "shared_gain": scores.shared_gain, "context_gain": scores.context_gain}
    return {"measures": found | {name: gain.value for name, gain in gains.items() if gain}, "rows": {}, "groups": {}}


def prepare_stores(study: Study) -> None:
    """Build the stores and the graphs that are lacking, by the commands that a user would type."""
    graphs = [study.config(name)[0].graph for name in study.arms]
    for name, each in study.stores.items():
        command = [sys.executable, "-m", "linkbert"]
        if not (each.path / "store.json").is_file() or (each.build and not (each.path / "tokens").is_dir()):
            if not each.build:
                raise ValueError(f"store {name} is not at {each.path}: build it, or say how by its `build`")
            subprocess.run([*command, "build", *each.build, "--to", str(each.path)], check=True)
        for graph in lacking_graphs(each.path, graphs if each.train else []):
            subprocess.run([*command, "graph", str(each.path), "--method", graph], check=True)


def lengths_of(study: Study, folder: Path, *, there: bool = True) -> dict[str, Length]:
    """Decide how long every arm is trained; a budget of time needs a measurement, which DIR keeps."""
    configs = {name: study.config(name)[0] for name in study.arms}
    own = {name: arm.budget for name, arm in study.read_arms.items() if arm.budget}
    budgets = {name: own.get(name, study.budget) for name in study.arms}
    against = {name: name if name in own else study.against(name) for name in study.arms}
    timed = any(in_seconds(each.time) for each in budgets.values())
    rate = tokens_per_second(study, folder) if timed and there else 0.0
    return plan_lengths(configs, budgets, against, study.parts if there else [], rate)


def tokens_per_second(study: Study, folder: Path) -> float:
    """Return how fast the baseline trains here: as DIR has it, else measured in half a minute of training."""
    path = folder / "timing.json"
    if not path.is_file():
        from linkbert.pretraining.run import pretrain

        config, preset = study.config(study.base)
        config = config.replace(max_time=TIMING, budget="none", save_steps=10**6, eval_steps=0, eval_pairs=16)
        with replacing(folder / "timing") as part:
            pretrain(study.parts, part, config.replace(max_steps=max(10_000, config.max_steps)), preset=preset)
            speeds = [
                line["tokens_per_second"] for line in read_journal(part / "journal.jsonl") if "learning_rate" in line
            ]
        remove(folder / "timing")
        write_json(path, {"tokens_per_second": float(np.median(speeds)), "arm": study.base})
    return float(read_json(path)["tokens_per_second"])


def expand(study: Study, lengths: Mapping[str, Length]) -> list[Run]:
    """Return the runs of a study, by arm and seed; two that have the same settings have the same key."""
    from linkbert.instances.mixture import open_parts
    from linkbert.pretraining.run import decisive_settings, describe_run

    runs = []
    for name in study.arms:
        for seed in study.seeds_of(name):
            config, preset = study.config(name, seed, max_steps=lengths[name].steps, budget="none")
            record = describe_run(open_parts(study.parts, config), config, preset, 1)
            stores = record.get("stores") or {"": record["store"]}
            prints = {part: each["fingerprint"] for part, each in stores.items()}
            key = run_key({"settings": decisive_settings(record), "stores": prints})
            runs.append(Run(key, name, seed, config, preset, lengths[name]))
    return runs


def place(job: Job, question: Question) -> Path:
    """Return the file of the answer to a question, which is written last."""
    name = f"{question.label}-{run_key(what_is_asked(job.study, question))[:8]}.json"
    return job.folder / "results" / job.run.key / name


def what_is_asked(study: Study, question: Question) -> dict[str, Any]:
    """Return what makes a question another one: of a probe the store, and the settings it is given."""
    asked = question.asked
    if question.kind == "task":
        return asked.model_dump(exclude={"title"}) | {"data": asked.data or study.data}
    common = arm_config(study.common, Arm())[0].model_dump(mode="json")
    store = study.stores[asked.store] if asked.store else next(iter(study.stores.values()))
    settings = {key: common[key] for key in DRAWING} | store.settings | asked.settings
    return {"probe": asked.name, "store": str(store.path), "settings": settings}


def do_run(job: Job) -> None:
    """Pretrain, then ask every question that has no answer yet. Under torchrun, pretrain alone."""
    from linkbert.pretraining.run import pretrain

    together = int(os.environ.get("WORLD_SIZE", "1")) > 1
    with nullcontext() if together else locked(job.folder / "results" / job.run.key), devices(job) as more:
        if not (job.path / "model").is_dir():
            config, started = job.run.config.replace(**more), (job.path / "run.json").is_file()
            result = pretrain(job.study.parts, job.path, config, preset=job.run.preset, resume=started)
            if not result.finished:
                raise KeyboardInterrupt
        for question in () if together else job.study.questions:
            if not (path := place(job, question)).is_file():
                start = time.monotonic()
                found = (ask_task if question.kind == "task" else ask_probe)(
                    job, question, path.with_name(path.stem), more
                )
                write_json(path, found | {"seconds": round(time.monotonic() - start, 2)})


@contextmanager
def devices(job: Job) -> Iterator[dict[str, Any]]:
    """Give the settings of what a run computes on: a GPU of its own, or its part of the CPU."""
    from linkbert.pretraining.distributed import count_cards

    cards = count_cards() if job.parallel > 1 else 0
    more: dict[str, Any] = {}
    if job.parallel > 1 and not cards:
        more["threads"] = job.run.config.threads or max(1, (os.cpu_count() or 1) // job.parallel)
    with ExitStack() as stack:
        for slot in range(job.parallel if cards else 0):
            with suppress(ValueError):  # another run has it
                stack.enter_context(locked(job.folder / f"slot-{slot}"))
                more["device"] = f"cuda:{slot % cards}"
                break
        yield more


def ask_probe(job: Job, question: Question, path: Path, more: Mapping[str, Any]) -> dict[str, Any]:
    """Ask a probe; its values by example go to a file of their own."""
    asked = what_is_asked(job.study, question)
    found = find_probe(question.asked.name)(job.path / "model", Path(asked["store"]), {**asked["settings"], **more})
    arrays: dict[str, Any] = {
        f"{kind}/{name}": np.asarray(each) for kind in ("rows", "groups") for name, each in found[kind].items()
    }
    with replacing(path.with_name(f"{path.name}.npz")) as part, part.open("wb") as file:
        np.savez_compressed(file, **arrays)
    return {"measures": {name: float(value) for name, value in found["measures"].items()}}


def ask_task(job: Job, question: Question, path: Path, more: Mapping[str, Any]) -> dict[str, Any]:
    """Fine-tune on a task by its seeds; finished ones are not repeated."""
    from linkbert.tasks.suite import finetune

    asked, data = question.asked, question.asked.data or job.study.data
    settings = {**asked.settings, **more}
    how: dict[str, Any] = {"data": data, "to": path, "settings": settings, "seeds": asked.seeds, "grid": asked.grid}
    records = finetune(job.path / "model", question.task, **how)
    return {"keys": [record["key"] for record in records]}


def prepare(study: Study, folder: Path, parallel: int = 1) -> tuple[Study, list[Job]]:
    """Write down what is asked, make stores and graphs that are lacking, and return the runs, each once."""
    if not (folder / "asked.json").is_file() and folder.exists() and any(folder.iterdir()):
        raise ValueError(f"{folder} is not empty, and no study's: name a new folder")
    write_json(folder / "asked.json", study.model_dump(mode="json"))
    prepare_stores(study)
    runs = {run.key: run for run in expand(study, lengths_of(study, folder))}
    return study, [Job(study, run, folder, parallel) for run in runs.values()]


def run_study(study: Study, folder: Path, *, parallel: int = 1, only: str = "", report: Report = print) -> None:
    """Do all runs of a study that are not done, or one by its key."""
    _, jobs = prepare(study, folder, parallel)
    if only and only not in (keys := [job.run.key for job in jobs]):
        raise ValueError(f"{folder} has no run {only!r}; {nearest(only, keys)}")
    jobs = [job for job in jobs if only in ("", job.run.key)]
    left = [job for job in jobs if not is_done(job)]
    done = len(jobs) - len(left)

    def finished(job: Job) -> None:
        nonlocal done
        done += 1
        report(f"{done} of {len(jobs)} runs done: {job.run.arm}, seed {job.run.seed}")

    with make_executor(max(1, min(parallel, len(left)))) as executor:
        run_shards(do_run, left, executor, progress=finished)


def is_done(job: Job) -> bool:
    """Check whether a run has its model and the answer to every question."""
    answers = (place(job, each).is_file() for each in job.study.questions)
    return (job.path / "model").is_dir() and all(answers)


def open_study(folder: Path) -> tuple[Study, list[Job]]:
    """Open a study's folder: what was asked, and its runs, done or not."""
    if not (folder / "asked.json").is_file():
        raise ValueError(f"{folder} is no folder of a study: write `linkbert study FILE.toml --to DIR`")
    study = check_study(read_json(folder / "asked.json"), folder / "asked.json")
    return study, [Job(study, run, folder, 1) for run in expand(study, lengths_of(study, folder))]


def progress_of(job: Job) -> dict[str, Any]:
    """Return how far a run is: its last step, and how many questions are answered."""
    steps = [line["step"] for line in read_journal(job.path / "journal.jsonl")]
    done = sum(place(job, each).is_file() for each in job.study.questions)
    where = {"step": max(steps, default=0), "steps": job.run.length.steps, "trained": (job.path / "model").is_dir()}
    return {"arm": job.run.arm, "seed": job.run.seed, "run": job.run.key, **where,
            "answers": done, "questions": len(job.study.questions), "done": is_done(job)}  # fmt: skip


def plan(study: Study, folder: Path | None = None, *, parallel: int = 1) -> dict[str, Any]:
    """Count the runs of a study, and estimate how long it takes: by finished runs, else by half a minute of training.

    Where its stores are not built, times and equal tokens are not known: `lacking` names them.
    """
    lacking = [name for name, each in study.stores.items() if not (each.path / "store.json").is_file()]
    graphs = [study.config(name)[0].graph for name in study.arms]
    lacking += [f"{name}'s graph {graph}" for name, each in study.stores.items() if each.train and name not in lacking
                for graph in lacking_graphs(each.path, graphs)]  # fmt: skip
    to = folder or Path(tempfile.mkdtemp())
    rate = 0.0 if lacking else tokens_per_second(study, to)
    lengths = lengths_of(study, to, there=not lacking)
    jobs = [] if lacking else [Job(study, run, to, 1) for run in expand(study, lengths)]
    places = [place(job, each) for job in jobs for each in study.questions]
    took = [read_json(path)["seconds"] for path in places if path.is_file()]
    trained = [job for job in jobs if (job.path / "model").is_dir()]
    speeds = [job.run.length.tokens / read_journal(job.path / "journal.jsonl")[-1]["elapsed"] for job in trained]
    speed = float(np.mean(speeds)) if speeds else rate
    seconds = sum(job.run.length.tokens / speed for job in jobs if job not in trained)
    seconds += (len(places) - len(took)) * float(np.mean(took)) if took else 0.0
    counts = {name: len(study.seeds_of(name)) for name in study.arms}
    every, kinds = sum(counts.values()), [each.kind for each in study.questions]
    tunings = sum(each.asked.seeds for each in study.questions if each.kind == "task")
    arms = {name: {"seeds": counts[name], "steps": each.steps, "tokens": each.tokens} for name, each in lengths.items()}
    return {"arms": arms, "runs": every, "done": sum(map(is_done, jobs)), "probes": kinds.count("probe") * every,
            "fine_tunings": tunings * every, "lacking": lacking, "seconds": seconds / parallel,
            "answers_measured": bool(took)}  # fmt: skip


def print_jobs(folder: Path, study: Study, jobs: Sequence[Job]) -> str:
    """Write a job array for Slurm, a task for a run that is not done; one that is stopped resumes."""
    left = [job.run.key for job in jobs if not is_done(job)]
    command = shlex.join([sys.executable, "-m", "linkbert", "study", str(folder.absolute()), "--run"])
    return f"""#!/bin/bash
#SBATCH --job-name={re.sub(r"[^A-Za-z0-9]+", "-", study.title)[:30]}
#SBATCH --array=0-{len(left) - 1}
#SBATCH --gpus=1
#SBATCH --requeue
#SBATCH --signal=TERM@120
runs=({" ".join(left)})
exec {command} "${{runs[$SLURM_ARRAY_TASK_ID]}}"
"""
