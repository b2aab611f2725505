"""The runs of a study: each is done once, in any order, by one process or many.

    DIR/asked.json                        the study's tables, as they were read
    DIR/timing-KEY.json                   tokens a second of a baseline, where they had to be measured; by its settings
    DIR/runs/KEY/                         a pretraining run; KEY is a hash of its settings and of its stores
    DIR/results/KEY/NAME-HASH.json, .npz  what a probe or a task found for its model; HASH is of what was asked
    DIR/results/KEY/NAME-HASH/            the results of fine-tuning
    DIR/study.json, .md, .html            what came of it (differences.py)

Every file is renamed when whole, and a run resumes from its last checkpoint: a study that is killed anywhere and
started again ends as one that was not. Several processes or jobs may work in one DIR on runs of
their own (--run KEY); each locks the run it makes, and one that meets a locked run leaves it, and says so.
"""

import logging
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from functools import cache, partial
from multiprocessing import current_process
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from pydantic import FiniteFloat

from linkbert import registry
from linkbert.config import STORE_SETTINGS, Config, Positive, check_content, in_seconds, nearest
from linkbert.files import LockedError, locked, read_json, refuse_links, remove, replacing, write_json
from linkbert.instances.mixture import fingerprint, make_sampler, open_parts
from linkbert.instances.sampler import NoUsableAnchorError, lengths_of
from linkbert.pretraining.journal import decisive_settings, read_journal
from linkbert.tasks.results import run_key
from linkbert.tasks.splits import find_data, find_files, hash_files, model_task
from linkbert.tasks.suite import IN_KEY, find_model, finetune
from linkbert.tasks.table import find_tasks
from linkbert.trials.arms import Arm, Question, Study, check_study
from linkbert.workers import make_executor, run_shards

DRAWING = (*STORE_SETTINGS, "sequence_length", "seed", "eval_pairs", "mlm_probability", "masking")  # given to a probe
SAMPLED = 16_384  # pairs of which an arm's tokens a pair are the mean
TIMING = "30s"  # of training, for tokens a second where no run has finished
OWN = {"runs", "results", "timing", "study.json", "study.md", "study.html"}  # names in a study's folder
STDERR_FILENO = 2  # what children say; on ours there may be a job array
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Run:
    """A pretraining run of a study, and the model that is asked."""

    study: Study
    folder: Path  # of the study
    arm: str
    seed: int
    config: Config
    preset: str
    tokens: float  # about
    key: str  # "" where its stores are not there

    @property
    def path(self) -> Path:
        """Return the folder of its pretraining."""
        return self.folder / "runs" / self.key

    @property
    def trained(self) -> bool:
        """Check whether it has its model."""
        return (self.path / "model").is_dir()

    @property
    def done(self) -> bool:
        """Check whether it has its model and the answer to every question."""
        return self.trained and all(self.answer(each).is_file() for each in self.study.questions)

    def answer(self, question: Question) -> Path:
        """Return the file of the answer to a question, which is written last."""
        label, asked = re.sub(r"[^\w.-]", "_", question.label)[:60], name_of(self.study, question)
        path = self.folder / "results" / self.key / f"{label}-{run_key(asked)[:8]}.json"
        if question.kind == "task" and not path.is_file():
            own = key_but_data(question, asked)
            there = [[*file] for file in asked["data"] if not isinstance(file, str)]  # a string's are letters
            for each in path.parent.glob(f"{label}-{'?' * 8}.json"):  # had from files of which some are gone
                before = read_json(each)
                known = isinstance(before, dict) and before.get("asked") == own
                if known and all(file in before["data"] for file in there):
                    return each
        return path


def what_is_asked(study: Study, question: Question) -> dict[str, Any]:
    """Return what a probe is asked: the store, and the settings it is given."""
    common = study.config(Arm())[0].model_dump(mode="json")
    store = study.stores[question.store or next(iter(study.stores))]
    settings = {key: common[key] for key in DRAWING} | store.settings | question.settings
    return {"probe": question.name, "store": str(store.path), "settings": settings}


def name_of(study: Study, question: Question) -> dict[str, Any]:
    """Return what makes a question another one: all it is given, and the content of its store or of its data."""
    if question.kind == "task":
        task, data = question.task, Path(question.data).expanduser()
        data = find_data(question.data, [task]) if data.exists() else data  # nothing is fetched: of a hub's, the name
        asked = question.model_dump(exclude={"title", "label"}) | {"name": task.name}
        if task.file:
            asked["table"] = {key: getattr(task, key) for key in (*IN_KEY, "model_of", "settings")}
        with suppress(ValueError):  # files that are not there yet
            source = model_task(task, data)
            asked |= {"data": sorted({**hash_files(source, data), **hash_files(task, data)}.items())}
        return asked
    asked = what_is_asked(study, question)
    path, settings = Path(asked["store"]), asked["settings"]
    folders = (path / "tokens", path / "graphs" / settings["graph"])
    dates = tuple(each.stat().st_mtime_ns for each in folders if each.is_dir())
    handed_on = unusual({key: value for key, value in settings.items() if key not in question.settings})
    content = _once(fingerprint, dates, path, settings["graph"])
    return asked | {"store": content, "settings": handed_on | question.settings}


def key_but_data(question: Question, asked: Mapping[str, Any]) -> str:
    """Return the key of what `name_of` gives for a task, but for the content of its data: that may be gone."""
    return run_key({**asked, "data": question.data})


@cache
def _once(make: Callable[..., Any], _dates: tuple[int, ...], *given: Any) -> Any:  # until what is read is another
    return make(*given)


def unusual(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings apart from their defaults: what a later version adds gives no run another name."""
    usual = Config().model_dump(mode="json")
    return {key: value for key, value in settings.items() if value != usual.get(key)}


def lacking(study: Study) -> Iterator[tuple[str, list[str]]]:
    """Yield the stores and graphs that are not there, and the words of the command that makes each."""
    asked = [study.config(arm)[0].graph for arm in study.read_arms.values()]
    for name, each in study.stores.items():
        if not (each.path / "tokens").is_dir():
            if not each.build:
                raise ValueError(f"store {name} is not at {each.path}: build it, or say how by its `build`")
            yield name, ["build", *each.build, "--to", str(each.path)]
        graphs = [each.settings.get("graph", graph) for graph in asked] if each.train else []
        asking = [probe for probe in study.questions if (probe.store or next(iter(study.stores))) == name]
        graphs += [probe.settings["graph"] for probe in asking if probe.kind == "probe" and "graph" in probe.settings]
        for graph in dict.fromkeys(graphs):
            if not (each.path / "graphs" / graph / "graph.json").is_file():
                yield f"{name}'s graph {graph}", ["graph", str(each.path), "--method", graph]


def prepare(study: Study, folder: Path) -> list[Run]:
    """Write down what is asked, make stores and graphs that are lacking, and return the runs, each once."""
    every = folder.iterdir() if folder.exists() else ()
    there = {each.name.partition("-")[0] for each in every if each.suffix != ".part"}
    if "asked.json" not in there and not OWN.issuperset(there):
        raise ValueError(f"{folder} is not empty, and no study's: name a new folder")
    refuse_links(folder)
    asked, path, before = study.model_dump(mode="json"), folder / "asked.json", None
    with suppress(ValueError, FileNotFoundError):  # damaged or lost, it is written anew
        before = read_json(path)
    if before != asked:  # tasks of an array do not all write it
        write_json(path, asked)
    if next(lacking(study), None):
        check_data(study.questions)
    for name, words in lacking(study):  # a graph is looked for when the build, which makes one, has ended
        if subprocess.run([sys.executable, "-m", "linkbert", *words], check=False, stdout=STDERR_FILENO).returncode:
            raise ValueError(f"{name} is not made: `linkbert {' '.join(words)}` failed, as is said above")
    return once_each(expand(study, folder))


def check_data(questions: Iterable[Question]) -> None:
    """Refuse tasks whose files are not there, before anything is built or trained."""
    asked = [(each.data, [each.task]) for each in questions if each.kind == "task"]
    for settings in [each.settings for each in questions if each.name == "reading"]:
        from linkbert.trials.probes import READ

        asked.append((settings["data"], find_tasks(settings.get("tasks") or READ)))
    for data, tasks in asked:
        folder = find_data(data, tasks)
        for task in tasks:
            find_files(task, folder), model_task(task, folder)


def expand(study: Study, folder: Path, *, there: bool = True) -> list[Run]:
    """Return the runs of a study, by arm and seed; two of the same settings have the same key.

    Arms are compared at equal tokens: one gets as many steps as see the tokens of the arm it is compared with, unless
    it has a budget of its own. Where the stores are not `there`, pairs count as full, and runs have no key.
    """
    runs, tokens_of = list[Run](), dict[str, float]()
    for name in sorted(study.arms, key=lambda name: study.against(name) != name):  # baselines first
        arm = study.read_arms[name]
        config, budget = study.config(arm)[0], arm.budget or study.budget
        pair = tokens_per_pair(study, config) if there else config.sequence_length
        tokens = tokens_of.get(study.against(name), 0.0) if not arm.budget else 0.0
        if not tokens and in_seconds(budget.time) and there:
            tokens = in_seconds(budget.time) * tokens_per_second(study, folder, study.against(name))
        tokens = tokens or budget.tokens or (budget.steps or config.max_steps) * config.batch_size * pair
        steps = max(1, round(tokens / (config.batch_size * pair)))
        tokens_of[name] = steps * config.batch_size * pair
        for seed in arm.seeds or study.seeds:
            config, preset = study.config(arm, seed, max_steps=steps, budget="none")
            key = key_of(study, config) if there else ""
            runs.append(Run(study, folder, name, seed, config, preset, tokens_of[name], key))
    last = {run.key: run for run in runs if there}
    if twin := next((run for run in runs if there and run.config != last[run.key].config), None):
        own = last[twin.key]
        differs = [key for key, value in own.config.model_dump().items() if value != getattr(twin.config, key)]
        remedy = "which makes no other run: leave one of them out"
        raise ValueError(f"arms {twin.arm} and {own.arm} differ in {', '.join(differs)} alone, {remedy}")
    order = [*study.arms]
    return sorted(runs, key=lambda run: (order.index(run.arm), run.seed))


def once_each(runs: Iterable[Run]) -> list[Run]:
    """Leave one of several runs of one key."""
    return [*{run.key: run for run in runs}.values()]


def tokens_per_pair(study: Study, config: Config) -> float:
    """Return the tokens of a pair, special ones included: the mean over the first ones of a run."""
    sampler = make_sampler(open_parts(study.parts, config), config)
    return float(lengths_of(sampler.draw(np.arange(SAMPLED))[0]).mean())


def key_of(study: Study, config: Config) -> str:
    """Name a run by what decides it."""
    from linkbert.pretraining.run import describe_run

    record = describe_run(open_parts(study.parts, config), config, "", 1)
    stores = record.get("stores") or {"": record["store"]}
    prints = {name: each.get("fingerprint", "") for name, each in stores.items()}
    settings = unusual(decisive_settings(record))
    if Path(config.init).is_dir():
        dates = tuple(sorted(each.stat().st_mtime_ns for each in Path(config.init).iterdir()))
        settings["init"] = _once(find_model, dates, config.init)[1]
    return run_key({"settings": settings, "stores": prints})


def tokens_per_second(study: Study, folder: Path, name: str) -> float:
    """Return how fast a baseline trains here: as DIR has it, else measured in half a minute of training."""
    config, preset = study.config(study.read_arms[name])
    path = folder / f"timing-{run_key(unusual(config.model_dump(mode='json')))}.json"
    if not path.is_file():
        from linkbert.pretraining.run import pretrain

        often = {"save_steps": 10**6, "logging_steps": 1, "eval_steps": 0, "eval_pairs": 16}
        config = config.replace(max_time=TIMING, budget="none", max_steps=max(10_000, config.max_steps), **often)
        with replacing(folder / "timing", folder=True) as part:
            if not path.is_file():  # another process may have measured while this one waited
                if not pretrain(study.parts, part, config, preset=preset).finished:
                    raise KeyboardInterrupt
                lines = [line for line in read_journal(part / "journal.jsonl") if "learning_rate" in line]
                speeds = [line["tokens_per_second"] for line in lines[2:] or lines]  # the first ones compile
                write_json(path, {"tokens_per_second": float(np.median(speeds)), "arm": name})
        remove(folder / "timing")
    return float(read_answer(path, "tokens_per_second", Positive))


def do_run(run: Run, parallel: int = 1, *, alone: bool = True) -> None:
    """Pretrain, then ask what has no answer yet, unless another process does. Under torchrun, pretrain alone.

    A training that diverges is a DivergedError; where the run is not `alone`, a warning, so that others go on.
    """
    from linkbert.pretraining.loop import DivergedError
    from linkbert.pretraining.run import pretrain

    together, more = int(os.environ.get("WORLD_SIZE", "1")) > 1, device_of(run, parallel)
    try:
        with nullcontext() if together else locked(run.folder / "results" / run.key):
            if not run.trained:
                config, started = run.config.replace(**more), (run.path / "run.json").is_file()
                if not pretrain(run.study.parts, run.path, config, preset=run.preset, resume=started).finished:
                    raise KeyboardInterrupt
            for question in () if together else run.study.questions:
                if not (path := run.answer(question)).is_file():
                    start = time.monotonic()
                    try:
                        found = (ask_task if question.kind == "task" else ask_probe)(run, question, path, more)
                    except NoUsableAnchorError as error:  # so it is of every model
                        log.warning("%s of %s: no answer; %s", question.label, run.arm, error)
                        found = {"measures": {}, "note": str(error)}
                    if question.kind == "task":
                        asked = name_of(run.study, question)
                        found |= {"asked": key_but_data(question, asked), "data": asked["data"]}
                    write_json(path, found | {"seconds": round(time.monotonic() - start, 2)})
    except LockedError:
        log.warning("%s, seed %s: another process makes it", run.arm, run.seed)
    except ValueError as error:
        if isinstance(error, DivergedError) and not alone:
            log.warning("%s, seed %s, is left undone: %s", run.arm, run.seed, str(error).partition(";")[0])
            return
        raise ValueError(f"{run.arm}, seed {run.seed}: {error}") from error


def device_of(run: Run, parallel: int) -> dict[str, Any]:
    """Return the settings of what one of several workers computes on: a GPU of its own, or its part of the CPU."""
    from linkbert.pretraining.distributed import count_cards

    if parallel == 1:
        return {key: getattr(run.config, key) for key in ("device", "threads")}
    # Workers are numbered: SpawnProcess-1, SpawnProcess-2.
    if (cards := count_cards()) and run.config.device in ("auto", "cuda"):
        return {"device": f"cuda:{int(current_process().name.rpartition('-')[2]) % cards}"}
    return {"threads": run.config.threads or max(1, (os.cpu_count() or 1) // parallel)}


def ask_probe(run: Run, question: Question, path: Path, more: Mapping[str, Any]) -> dict[str, Any]:
    """Ask a probe; its values by example go to a file of their own."""
    asked = what_is_asked(run.study, question)
    probe = registry.find("probes", question.name)
    found = probe(run.path / "model", Path(asked["store"]), {**more, **asked["settings"]})
    if ":" in question.name:
        own = found.get("measures") if isinstance(found, dict) else found
        remedy = "; a probe returns its measures (docs/studies.md)"
        check_content(dict[str, FiniteFloat], own, question.name, remedy)
    arrays = {f"rows/{name}": np.asarray(each, np.float64) for name, each in found.get("rows", {}).items()}
    for name, each in found.get("groups", {}).items():
        groups = each
        if not isinstance(each, np.ndarray) or each.dtype.kind not in "iu":  # only which are equal counts
            groups = np.unique([str(group) for group in each], return_inverse=True)[1]
        if len(groups) != len(arrays.get(f"rows/{name}", ())):
            raise ValueError(f"probe {question.label}: rows and groups of {name} are not equally many")
        arrays[f"groups/{name}"] = groups
    with replacing(path.with_suffix(".npz")) as part, part.open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
    return {"measures": {name: float(value) for name, value in found["measures"].items()}}


def ask_task(run: Run, question: Question, path: Path, more: Mapping[str, Any]) -> dict[str, Any]:
    """Fine-tune on a task by its seeds; finished ones are not repeated."""
    settings, how = {**more, **question.settings}, question.model_dump(include={"data", "seeds", "grid"})
    records = finetune(run.path / "model", question.task, to=path.with_suffix(""), settings=settings, **how)
    return {"keys": [record["key"] for record in records]}


def read_answer(path: Path, key: str, kind: Any) -> Any:
    """Return what a file of a study holds under a key; a ValueError says how it is made anew."""
    try:
        found = read_json(path)
        return check_content(kind, found.get(key) if isinstance(found, dict) else found, path)
    except ValueError as error:
        raise ValueError(f"{error}: {path.name} has no {key}; delete it, and run the study again") from None


def run_study(
    study: Study, folder: Path, *, parallel: int = 1, only: str = "", report: Callable[[str], None] = print
) -> None:
    """Do all runs of a study that are not done, or one by its key."""
    runs = prepare(study, folder) if os.environ.get("RANK", "0") == "0" else once_each(expand(study, folder))
    if only and only not in (keys := [run.key for run in runs]):
        raise ValueError(f"{folder} has no run {only!r}; {nearest(only, keys)}")
    done = {run.key for run in runs if run.done}
    left = sorted((run for run in runs if run.key not in done and only in ("", run.key)), key=lambda run: run.seed)
    check_data([each for each in study.questions if any(not run.answer(each).is_file() for run in left)])

    def finished(run: Run) -> None:
        if run.done:
            done.add(run.key)
            report(f"{len(done)} of {len(runs)} runs done: {run.arm}, seed {run.seed}")

    parallel = max(1, min(parallel, len(left)))
    before = signal.getsignal(signal.SIGTERM)
    with suppress(ValueError):  # not the main thread
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: what trains writes a checkpoint
    try:
        with make_executor(parallel) as executor:
            run_shards(partial(do_run, parallel=parallel, alone=len(left) == 1), left, executor, progress=finished)
    finally:
        with suppress(ValueError):
            signal.signal(signal.SIGTERM, before)


def open_study(folder: Path) -> list[Run]:
    """Open a study's folder; return its runs, done or not."""
    if not (folder / "asked.json").is_file():
        raise ValueError(f"{folder} is no folder of a study: write `linkbert study FILE.toml --to DIR`")
    try:
        asked = read_json(folder / "asked.json")
    except ValueError as error:
        raise ValueError(f"{error}; write `linkbert study FILE.toml --to {folder}`") from None
    study = check_study(asked, folder / "asked.json")
    if gone := [each.path for each in study.stores.values() if not (each.path / "tokens").is_dir()]:
        raise ValueError(f"store {gone[0]} is not there, by whose content runs and answers are named: put it back")
    return expand(study, folder)


def plan(study: Study, folder: Path, *, parallel: int = 1) -> dict[str, Any]:
    """Count the runs of a study, and estimate its time: by finished runs, else by half a minute of training."""
    absent = [name for name, _ in lacking(study)]
    with TemporaryDirectory() as scratch:
        to = folder if (folder / "asked.json").is_file() else Path(scratch)
        runs, seconds = expand(study, to, there=not absent), float("nan")
        paths = [run.answer(each) for run in runs for each in study.questions]
        took = [read_answer(path, "seconds", float) for path in paths if path.is_file()]
        if not absent:
            ended = [(run, read_journal(run.path / "journal.jsonl")) for run in runs if run.trained]
            speeds = [run.tokens / lines[-1]["elapsed"] for run, lines in ended if lines]
            speed = float(np.mean(speeds)) if speeds else tokens_per_second(study, to, study.against(runs[0].arm))
            seconds = sum(run.tokens for run in runs if not run.trained) / speed
            seconds += (len(paths) - len(took)) * float(np.mean(took or [0]))
    seeds = Counter(run.arm for run in runs)
    own = {name: arm.budget or study.read_arms[study.against(name)].budget for name, arm in study.read_arms.items()}
    timed = {name for name, each in own.items() if absent and in_seconds((each or study.budget).time)}
    arms = {run.arm: {"steps": run.config.max_steps, "tokens": 0 if run.arm in timed else run.tokens,
                      "seeds": seeds[run.arm]} for run in runs}  # fmt: skip
    probes = sum(each.kind == "probe" for each in study.questions) * len(runs)
    tunings = sum(each.seeds for each in study.questions if each.kind == "task") * len(runs)
    return {"arms": arms, "runs": len(runs), "done": sum(run.done for run in runs), "probes": probes, "lacking": absent,
            "fine_tunings": tunings, "seconds": seconds / parallel, "answers_measured": bool(took)}  # fmt: skip
