"""Fine-tuning on tasks, by settings and seeds, as runs, each done once: what is finished is read from DIR.

First the grids of all tasks, on dev alone; then, with the best settings of each, the seeds; then the tasks that are
scored with another one's models. A Run is a plain value, so it may go to another process; torch is imported where a run
is done, not where all are found finished.
"""

import dataclasses
import functools
import itertools
import os
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field

import linkbert
from linkbert.config import OLD_NAMES, check_content, show_value
from linkbert.files import (
    as_path,
    find_encoder,
    locked,
    read_json,
    read_toml,
    refuse_links,
    replacing,
    sha256,
    write_json,
)
from linkbert.tasks.examples import Example, Prediction, Splits
from linkbert.tasks.kinds import kind_of
from linkbert.tasks.metrics import group_scores, intervals, per_example, scores_by_type
from linkbert.tasks.results import (
    GIVEN,
    Result,
    add_result,
    gather_submission,
    read_results,
    run_key,
    write_predictions,
)
from linkbert.tasks.settings import FineTuneConfig
from linkbert.tasks.splits import Data, check_examples, find_data, hash_files, model_task, read_splits, split_file
from linkbert.tasks.table import Task, find_tasks
from linkbert.workers import make_executor, run_shards

NOT_IN_KEY = ("seed", "threads", "device")  # settings that do not make another run; the seed has a place of its own
IN_KEY = ("kind", "format", "metrics", "files", "options", "split", "labels")  # of a task's table
Width = Annotated[int, Field(strict=True, ge=1, le=10_000_000)]
Progress = Callable[[str, float], None]  # what is done; the seconds that it still takes


@dataclass(frozen=True)
class Run:
    """One fine-tuning, or one scoring with the model of another (`source`, that run's key)."""

    task: Task
    model: str  # the name of the encoder as given
    encoder: Path  # its folder
    model_hash: str  # of its files
    settings: FineTuneConfig
    data: Data
    to: Path
    hashes: tuple[tuple[str, str], ...]  # of the data files, by path; those of `source`, too
    grid: bool = False
    source: str = ""
    keep: bool = False  # the fine-tuned model
    notes: tuple[str, ...] = ()

    @functools.cached_property
    def key(self) -> str:
        """Its name in DIR, by what makes it another run: the task as its table has it, model, settings, seed, data."""
        table = {name: getattr(self.task, name) for name in IN_KEY}
        settings = self.settings.model_dump() | dict.fromkeys(NOT_IN_KEY[1:])
        settings |= {"draw": self.settings.seed} if self.settings.fraction != 1 and self.settings.seed else {}
        return run_key({"task": self.task.name, "table": table, "model": self.model_hash, "settings": settings,
                        "hashes": self.hashes, "grid": self.grid, "source": self.source})  # fmt: skip

    def finished(self, lines: Collection[str]) -> bool:
        """Check whether it need not be done: its key is in `lines`, and its model where it is to be kept."""
        return self.key in lines and (not self.keep or (self.to / "models" / self.key / "config.json").is_file())


def find_model(name: str) -> tuple[Path, str]:
    """Find an encoder, a Hugging Face folder, a RUN, or a hub name: its folder, and a hash of its files."""
    folder = find_encoder(name)
    if not (folder / "config.json").is_file():
        from linkbert.pretraining import checkpoint  # only here is torch needed

        folder = checkpoint.find_model(name)
    suffixes = {".json", ".txt", ".model", ".safetensors" if [*folder.glob("*.safetensors")] else ".bin"}
    files = [each for each in folder.iterdir() if each.suffix in suffixes]
    return folder, run_key({each.name: sha256(each) for each in files if each.is_file()})


@functools.cache
def read_grids() -> dict[str, Any]:
    """Read grids.toml."""
    return read_toml(resources.files("linkbert.tasks") / "grids.toml")


def width_of(encoder: Path) -> int:
    """Return the width of an encoder by its config.json."""
    found = check_content(dict[str, Any], read_json(path := encoder / "config.json"), path)
    return check_content(dict[str, Width], {"hidden_size": found.get("hidden_size", 768)}, path)["hidden_size"]


def size_of(hidden: int) -> str:
    """Name the paper's size of an encoder of that width: up to 512 is tiny, below 1024 base."""
    return "tiny" if hidden <= 512 else "base" if hidden < 1024 else "large"


def own_settings(task: Task, hidden: int) -> dict[str, Any]:
    """Return a task's settings for an encoder of that width: its table's, or those of the authors' -large script."""
    return {**task.settings, **read_grids()["scripts"].get(size_of(hidden), {}).get(task.name, {})}


def read_grid(words: str | None, task: Task, hidden: int, given: Collection[str] = frozenset()) -> list[dict[str, Any]]:
    """Read a grid as the settings of each of its points; None is one point without any.

    `paper` is the paper's for the task's suite and an encoder of that width, with the epochs and the warm-up of the
    authors' script where the paper has none, and without `given` settings, which another grid may not have.

    >>> read_grid("learning_rate=1e-5,3e-5;num_train_epochs=2", find_task("rte"), 768)
    [{'learning_rate': 1e-05, 'num_train_epochs': 2.0}, {'learning_rate': 3e-05, 'num_train_epochs': 2.0}]
    """
    axes: dict[str, list[Any]] = {}
    if words == "paper":
        sizes = read_grids().get(task.suite, read_grids()[kind_of(task).grid])
        script = own_settings(task, hidden).items()
        axes = {key: [value] for key, value in script if key in ("num_train_epochs", "warmup_steps")}
        axes |= sizes.get(size_of(hidden), sizes["base"])
        axes = {key: values for key, values in axes.items() if key not in given}
    elif words is not None:
        for word in words.split(";"):
            key, _, texts = word.strip().partition("=")
            key = OLD_NAMES.get(key, key)
            if not texts:
                raise ValueError(f"--grid {words!r} cannot be read: it takes paper, or such as learning_rate=1e-5,3e-5")
            if key in NOT_IN_KEY or key in given:
                of = f"{key} is a setting of all runs (more seeds: --seeds N)"
                raise ValueError(f"--grid {words!r}: {of}; leave it out")
            axes[key] = [getattr(FineTuneConfig(**{key: text}), key) for text in texts.split(",")]
    points = itertools.product(*(dict.fromkeys(values) for values in axes.values()))  # each once
    return [dict(zip(axes, point, strict=True)) for point in points]


def finetune(
    model: str | Path,
    tasks: str | Task | Mapping[str, Any] | Sequence[str | Task],
    *,
    data: str | Path | Mapping[str, Sequence[Example]],
    to: str | Path,
    settings: Sequence[str] | Mapping[str, Any] = (),
    seeds: int = 1,
    grid: str | None = None,
    parallel: int = 1,
    keep_model: bool = False,
    score_only: bool = False,
    progress: Progress = lambda *_: None,
) -> list[dict[str, Any]]:
    """Fine-tune a model on tasks, score it, and return the records of `to`/results.jsonl, those of a task by seed.

    `model` is a RUN, a Hugging Face folder or a hub name. `tasks` are names, FILE.toml or FILE.toml:NAME, Tasks, or a
    table: {"name": "colour", "kind": "text", "metrics": ["accuracy"]}. `data` is the folder of their files, a dataset
    of the hub, or the examples themselves: {"train": [...], "dev": [...], "test": [...]}. `settings` are those of
    FineTuneConfig, {"learning_rate": 1e-4} or ["learning_rate=1e-4"], over the tasks' own; `seeds` are so many runs,
    from the setting `seed` on. `grid` ("paper", or "learning_rate=1e-5,3e-5;batch_size=16,32") is tried with one seed;
    the best on dev is then run. What is finished in `to` is not done again. ValueError before any run where a file is
    missing or a setting is wrong. `score_only`: the model is fine-tuned already, and is scored as it is.

    A record has "task", "model", "settings", "seed", "scores" ({"test": {"accuracy": 0.9}}, in [0, 1]), "intervals",
    "baselines", "notes", "counts", "predictions" (paths under `to`) and more: docs/finetuning.md.
    """
    as_path(model, "model"), as_path(to, "to")
    if seeds < 1 or parallel < 1:
        raise ValueError("--seeds and --parallel take 1 or more")
    if isinstance(settings, Mapping):
        settings = [f"{key}={show_value(value)}" for key, value in settings.items()]
    asked, encoder, folder = find_tasks(tasks), find_model(str(model)), Path(to)
    own = {split: [*each] for split, each in data.items()} if isinstance(data, Mapping) else {}
    where = check_examples(own, choosing=bool(grid)) if isinstance(data, Mapping) else find_data(str(data), asked)
    examples = {split: run_key({"examples": list(map(repr, each))}) for split, each in own.items()}  # their hashes
    # The task whose model scores each: itself, mostly.
    alone = score_only or isinstance(where, Mapping)
    sources = {task.name: task if alone else model_task(task, where) for task in asked}  # type: ignore[arg-type]
    if score_only and (grid or seeds > 1):
        raise ValueError("--score-only trains nothing: leave --grid and --seeds out")

    def make(task: Task, point: Mapping[str, Any], **more: Any) -> Run:
        source = sources.get(task.name, task)
        widths = {key: value for key, value in task.settings.items() if key in ("max_length", "stride")}
        base = {**own_settings(source, width), **widths}
        whole = FineTuneConfig.from_words(settings, base=base).replace(**point)
        hashes = dict(examples) or hash_files(source, where) | hash_files(task, where)  # type: ignore[arg-type]
        if whole.dev_split != "none":
            hashes |= {whole.dev_split: sha256(split_file(task, whole.dev_split))}
        return Run(task, str(model), *encoder, whole, where, folder, tuple(sorted(hashes.items())), **more)

    def seeded(task: Task, point: Mapping[str, Any], **more: Any) -> list[Run]:
        more |= {"source": GIVEN} if score_only else {}
        first = FineTuneConfig.from_words(settings).seed
        return [make(task, {**point, "seed": first + i}, **more) for i in range(seeds)]

    width = width_of(encoder[0])
    given = {OLD_NAMES.get(key, key) for key in (word.partition("=")[0] for word in settings)}
    trained = {source.name: source for source in sources.values()}
    points = {name: read_grid(grid, task, width, given) for name, task in trained.items()}
    tried = {name: [make(trained[name], point, grid=True) for point in each] for name, each in points.items()
             if len(each) > 1}  # fmt: skip
    for task in asked:  # so that missing files and unknown metrics are reported before any run
        make(task, {}), kind_of(task)
    folder.mkdir(parents=True, exist_ok=True)  # a file in its place is reported before any run
    refuse_links(folder)
    for run in (seeded(task, {})[0] for task in asked if task.file):
        refuse_other_data(run)
    lines = _do([run for each in tried.values() for run in each], folder, parallel, progress, grid=True)
    kept = {sources[task.name].name for task in asked if keep_model or sources[task.name] is not task}
    chosen, runs = {}, {}
    for name, each in points.items():
        chosen[name], notes = choose(trained[name], each, [lines[run.key] for run in tried.get(name, ())])
        runs[name] = seeded(trained[name], chosen[name], keep=name in kept, notes=notes)
    _do([run for each in runs.values() for run in each], folder, parallel, progress)
    for task in asked:
        if (source := sources[task.name]) is not task:
            pairs = zip(seeded(task, chosen[source.name]), runs[source.name], strict=True)
            runs[task.name] = [dataclasses.replace(run, source=of.key) for run, of in pairs]
    wanted = [run for task in asked for run in runs[task.name]]
    lines = _do(wanted, folder, parallel, progress)
    gather_submission(folder, encoder[1])
    return [lines[run.key] for run in wanted]


def refuse_other_data(run: Run) -> None:
    """Refuse results of one's own data in a folder that has those of other files under the same name."""
    for record in read_results(run.to).values():
        file = record.get("table", {}).get("file", run.task.file)
        other = record["task"] == run.task.name and Path(file).resolve() != Path(run.task.file).resolve()
        if other and {*dict(run.hashes).values()}.isdisjoint(record["hashes"].values()):
            remedy = "give these results another folder"
            raise ValueError(f"{run.to} has results of {file}, which is called {run.task.name!r}, too: {remedy}")


def _do(
    runs: Sequence[Run], folder: Path, parallel: int, progress: Progress, *, grid: bool = False
) -> dict[str, Result]:
    """Do the runs of a folder that are not finished there; return its records by key."""
    known = read_results(folder, grid=grid) if runs else {}
    left = [run for run in runs if not run.finished(known)]
    of = f"of {len(left)} runs" + " of grids" * grid
    parallel, done, start = min(parallel, len(left)), 0, time.monotonic()
    if not left:
        return known

    def report(run: Run) -> None:
        nonlocal done
        done += 1
        mean = (time.monotonic() - start) / done
        text = f"{done} {of} done, {run.task.name} just now, {mean:.0f} s each"
        progress(text, mean * (len(left) - done))

    work: Callable[[Run], None] = do_run
    if parallel == 1:
        work = functools.partial(do_run, progress=lambda text, rest: progress(f"{done + 1} {of}: {text}", rest))
    elif any(not run.settings.threads for run in left):
        share = max(1, (os.cpu_count() or 1) // parallel)
        left = [dataclasses.replace(run, settings=run.settings.replace(threads=share)) for run in left]
    with make_executor(parallel) as executor:
        run_shards(work, left, executor, progress=report)
    return read_results(folder, grid=grid)


def choose(task: Task, points: Sequence[Any], lines: Sequence[Result]) -> tuple[Any, tuple[str, ...]]:
    """Choose a grid's best point by the first metric on dev, the first of equals; say what dev cannot tell apart."""
    if not lines:
        return points[0], ()
    metric = task.metrics[0]
    scores = [line["scores"]["dev"][metric] for line in lines]
    best = int(np.argmax(scores))
    words = " ".join(f"{key}={show_value(value)}" for key, value in points[best].items())
    notes = [f"settings chosen on dev among {len(lines)}: {words}"]
    near = sum(value >= lines[best]["intervals"]["dev"][metric][0] for value in scores)
    if near > 1:
        count = lines[best]["counts"].get("dev: examples", 0)
        apart = f"{count} dev examples do not tell them apart"
        notes.append(f"{near} of them lie within the best one's 95 % interval: {apart}")
    return points[best], tuple(notes)


@functools.lru_cache(maxsize=1)  # the seeds of a task read it once; another file has another hash
def _read(_: Any, task: Task, data: Data, **options: Any) -> Splits:
    return read_splits(task, data, **options)


def do_run(run: Run, progress: Progress = lambda *_: None) -> None:
    """Do one run, and write its predictions, its model where it is to be kept, and last its line."""
    from linkbert.tasks.finetune import fine_tune

    task, settings = run.task, run.settings
    read = read_splits if isinstance(run.data, Mapping) else functools.partial(_read, run.hashes)
    options = {key: getattr(settings, key) for key in ("fraction", "dev_split", "distract", "distract_in")}
    options |= {"seed": settings.seed} if settings.fraction != 1 else {}
    splits = read(task, run.data, **options)

    def report(what: str, done: int, count: int, seconds: float) -> None:
        rate = done / max(seconds, 1e-9)
        unit = "steps" if what == "training" else "rows"
        text = f"{task.name}, seed {settings.seed}: {what} {done:,} of {count:,} {unit}, {rate:.1f}/s"
        progress(text, (count - done) / max(rate, 1e-9))

    with locked(run.to / "predictions" / run.key):  # ValueError: another process is at the same one
        folder = run.to / "models" / run.source if run.source not in ("", GIVEN) else run.encoder
        shown = dataclasses.replace(splits, test=()) if run.grid else splits
        result = fine_tune(task, shown, folder, settings, trained=bool(run.source), progress=report)
        record: dict[str, Any] = {
            "key": run.key, "task": task.name, **({"table": dataclasses.asdict(task)} if task.file else {}),
            "model": run.model, "model_hash": run.model_hash, "source": run.source,
            "size": size_of(width_of(run.encoder)),
            "settings": {key: value for key, value in settings.model_dump().items() if key not in NOT_IN_KEY},
            "seed": settings.seed,
            **{key: {} for key in ("scores", "groups", "types", "intervals", "baselines", "predictions")},
            "counts": dict(splits.counts) | result.counts, "hashes": dict(run.hashes), "labels": list(result.labels),
            "notes": [*splits.notes, *run.notes, *result.notes],
            "epochs": result.epochs, "steps": result.steps, "seconds": round(result.seconds, 2),
            "examples_per_second": round(sum(each["rows"] for each in result.epochs) / max(result.seconds, 1e-9), 2),
            "threads": settings.threads, "version": linkbert.__version__,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
        }  # fmt: skip
        for split, predictions in result.predictions.items():
            _score(run, splits, split, predictions, record)
        if run.keep:
            record["kept"] = f"models/{run.key}"
            with replacing(run.to / "models" / run.key, folder=True) as part:
                result.model.save_pretrained(part)  # type: ignore[operator]
                result.tokenizer.save_pretrained(part)
                inputs = {"max_length": settings.max_length, "stride": settings.stride}
                table = dataclasses.asdict(task) | {"settings": inputs, "threshold": result.threshold}
                write_json(part / "task.json", table)
    add_result(run.to, record, grid=run.grid)  # behind the lock: a kill leaves none of a finished run


def _score(run: Run, splits: Splits, split: str, predictions: Sequence[Prediction], record: dict[str, Any]) -> None:
    """Write the predictions of a set, and put its scores into the record."""
    task, kind, examples = run.task, kind_of(run.task), getattr(splits, split)
    known = examples[0].gold is not None
    own = per_example(task.metrics[0], examples, predictions).tolist() if known else []
    path = Path("predictions") / f"{run.key}-{split}.jsonl"
    write_predictions(run.to / path, examples, predictions, own or [None] * len(examples))
    record["predictions"][split] = path.as_posix()
    if not known:
        return
    record["scores"][split] = kind.score(examples, predictions)
    record["intervals"][split] = intervals(task.metrics, examples, predictions)
    record["baselines"][split] = kind.baselines(splits.train, examples)
    record["types"][split] = scores_by_type(task.metrics[0], examples, predictions)
    groups: dict[str, list[int]] = {}
    for i, example in enumerate(examples):
        groups.setdefault(example.group if example.reports_groups else "", []).append(i)
    groups = dict(sorted(groups.items())) if len(groups) > 1 else {}
    if "answer_f1" in task.metrics and not all(example.answers for example in examples):
        for i, example in enumerate(examples):  # the names of SQuAD 2.0's script
            groups.setdefault("HasAns" if example.answers else "NoAns", []).append(i)
    scored = group_scores(task.metrics, examples, predictions, groups) if groups else {}
    found = {name: {"examples": len(groups[name])} | scores for name, scores in scored.items()}
    if task.suite == "mrqa":
        spans = [tuple(dict.fromkeys(each.context[a:b] for a, b in each.spans)) or each.answers for each in examples]
        note = "F1 of the answers found in the context (detected_answers), as the authors score"
        if any(set(own) != set(each.answers) for own, each in zip(spans, examples, strict=True)):
            note = "F1 of every answer, as MRQA's script scores; of detected_answers, as the authors do, in Every score"
            there = [dataclasses.replace(each, answers=own) for own, each in zip(spans, examples, strict=True)]
            found["detected_answers"] = {"examples": len(there)} | kind.score(there, predictions)
        record["notes"] += [note] if note not in record["notes"] else []
    if found:
        record["groups"][split] = found
