"""A run: everything put together from stores' folders and a Config, and the RUN folder around it.

In: STORE (or several, as Parts), RUN and a Config. Out: RUN/model, the last checkpoint without its training state,
written last, and the scores; next to it run.json (written first), journal.jsonl, tensorboard/ and checkpoints/. A run
resumes only as what it was: what decides speed, files or scoring alone may change (FREE); the rest is refused by name.
"""

import json
import logging
import os
import platform
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor

import linkbert
from linkbert.config import Config, choose_config, migrate, show_value
from linkbert.files import as_path, locked, remove, write_json
from linkbert.instances.batches import Batches
from linkbert.instances.mixture import OpenPart, count_tokens, fingerprint, make_sampler, open_parts
from linkbert.instances.parts import Part
from linkbert.instances.sampler import Sampler, describe_relations
from linkbert.instances.vocabulary import check_same_vocabulary, load_vocabulary
from linkbert.model.checkpoint import start_model, write_model
from linkbert.model.device import DTYPES, choose_precision, matrix_peak
from linkbert.model.optimizer import make_optimizer
from linkbert.model.step import compiles, operations_a_token, row_cost, rows_at_once, step_function
from linkbert.pretraining import loop
from linkbert.pretraining.card import model_card
from linkbert.pretraining.checkpoint import State, find_model, last_checkpoint, restore_optimizer, save_final_model
from linkbert.pretraining.distributed import broadcast, gather_in_thread, join_processes, run_on_main, shard
from linkbert.pretraining.evaluation import evaluate, held_out_batches
from linkbert.pretraining.journal import FORMAT, check_same_run, read_before, resume_words
from linkbert.pretraining.loop import Progress
from linkbert.pretraining.scores import Scores, from_json

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Result:
    """How a run ended: `finished`, or stopped by a signal after `step` of `steps` and ready to be resumed."""

    run: Path
    step: int
    steps: int
    finished: bool
    model: Path | None  # RUN/model of a finished run
    scores: Scores | None  # of the last evaluation; None where no documents are held out
    elapsed: float  # seconds, over all sessions
    tokens: int  # seen in training
    resume: str = "--resume"  # the words that resume it
    is_main_process: bool = True  # the one of several that prints


def pretrain(
    stores: str | os.PathLike[str] | Sequence[str | os.PathLike[str] | Part],
    to: Path | str,
    settings: Config | Mapping[str, Any] | Sequence[str] = (),
    *,
    preset: str | None = None,
    resume: bool = False,
    progress: Callable[[Progress], None] = lambda _: None,
    report: Callable[[str], None] = log.info,
) -> Result:
    """Pretrain an encoder on a store, or several (paths or Parts), into the folder `to`, as `linkbert pretrain` does.

    `settings` override those of `preset` (default: tiny): a mapping, `key=value` words, or a whole Config, which needs
    no preset. With `resume` the run in `to` continues from its last checkpoint with its own settings; without, `to`
    must be empty or absent. `progress` is called after every update and when an evaluation or a checkpoint starts,
    `report` with the lines that come before the first step: the realised shares of relations. SIGINT and SIGTERM end
    the run with a checkpoint, and no error: look at `result.finished` before you use the model. With `resume` where no
    run is, a new one starts, and a line says so. A bad setting or store is a ValueError, and leaves no folder behind.

    >>> from linkbert.pretraining.run import pretrain
    >>> settings = {"max_steps": 4, "batch_size": 8, "sequence_length": 32, "eval_pairs": 16, "held_out": 0.2}
    >>> result = pretrain("store", "run", settings, preset="tiny", progress=lambda now: print(now.stage, now.step))
    training 1
    training 2
    training 3
    training 4
    evaluation 4
    checkpoint 4
    >>> result.finished, str(result.model)
    (True, 'run/model')
    """
    run_path = as_path(to, "to")
    if isinstance(settings, Config):
        config, preset = settings, preset or ""
    else:
        words, changes = (list[str](), settings) if isinstance(settings, Mapping) else (list(settings), {})
        words = settings.split() if isinstance(settings, str) else words
        together = [key for key in ("objective", "shares") if key in changes]  # neither fits alone; the first is named
        words += [f"{key}={show_value(changes[key])}" for key in together]
        config, preset = choose_config(preset, words, read_before(run_path, resume=resume))
        config = config.replace(**changes)
    with ExitStack() as stack:
        processes = stack.enter_context(join_processes(config))
        precision = run_on_main(processes, lambda: choose_precision(config.precision, processes.device))
        config = config.replace(precision=precision)
        if not processes.is_main_process:
            progress, report = (lambda _: None), (lambda _: None)
        # What may be refused comes first: a refused run leaves no folder behind.
        every = [Part("", Path(stores))] if isinstance(stores, str | os.PathLike) else stores
        parts = [each if isinstance(each, Part) else Part(as_path(each, "a store").name, Path(each)) for each in every]
        if len({each.name for each in parts}) < len(parts):
            raise ValueError("two of the stores have the same name; give Parts with names of their own")
        opened = open_parts(parts, config)
        sampler, vocabulary = make_sampler(opened, config), opened[0].tokens.vocabulary
        samplers: list[Sampler] = getattr(sampler, "samplers", [sampler])
        for one in samplers:
            one.check_linkable()

        def prepare() -> tuple[str, dict[str, Any], dict[str, Any]]:
            stack.enter_context(locked(run_path))
            return prepare_run(run_path, describe_run(opened, config, preset, processes.world_size), resume=resume)

        found, saved, record = run_on_main(processes, prepare)
        state = State(**saved)
        if resume and not found:
            has = "a run without a checkpoint: it starts again" if record["resumed"] else "no run to resume: one starts"
            (log.warning if report == log.info else report)(f"{run_path} has {has} at step 0")
        start = config
        if found and processes.is_main_process:  # the others need not see RUN
            start = config.replace(init=found)
        elif config.init != "none":
            folder = find_model(config.init)
            check_same_vocabulary(load_vocabulary(folder), vocabulary, folder)
            start = config.replace(init=str(folder))
        model = start_model(start, len(vocabulary), counts=count_tokens(opened), tokens=vocabulary.special_ids)
        model.to(processes.device)
        broadcast(processes, [parameter.data for parameter in model.parameters()])
        shard(model, processes, config.sharding)
        rows, costs, told = rows_at_once(model, config), row_cost(model, config), gather_in_thread(processes)
        batches = Batches(sampler, fixed=compiles(model, config), row_cost=costs, micro_batch_size=rows, gather=told)
        asked = {each.part.name: held_out_batches(each, rows, processes=processes) for each in opened}
        held_out = {name: pairs for name, pairs in asked.items() if pairs}
        optimizer = make_optimizer(model, config)
        restore_optimizer(found, model, optimizer, state.step - state.skipped, processes)
        for store, one in zip(opened, samplers, strict=True):
            for line in describe_relations(one):
                report(f"{store.part.name}: {line}".removeprefix(": "))
        if processes.is_main_process:
            write_json(run_path / "run.json", record)
            if found and not replace(state, planned=loop.planned_steps(state, config)).finished:
                remove(run_path / "model")  # of fewer steps; the last checkpoint has it

        def score() -> dict[str, Any]:
            return asdict(evaluate(model, held_out, processes))

        def save(folder: Path, state: State, weights: dict[str, Tensor]) -> None:
            card = model_card(record | {"written": today()}, state, config, opened, encoder=model.config)
            write_model(model, folder, vocabulary=opened[0].part.path / "vocabulary", card=card, weights=weights)

        compiling = Progress("compiling", state.step, config.max_steps)
        peak = matrix_peak(processes.device, DTYPES[config.precision])
        state = loop.pretrain(
            model,
            optimizer,
            batches,
            config,
            run=run_path,
            forward=step_function(model, config, before_compiling=partial(progress, compiling)),
            save=save,
            evaluate=score if held_out else None,
            state=state,
            processes=processes,
            fastest=processes.world_size * peak / operations_a_token(model, config),
            progress=progress,
        )
        if processes.is_main_process and state.finished:
            save_final_model(run_path, state.step)
    final = run_path / "model" if state.finished else None
    scores = from_json(state.evaluation) if state.evaluation else None
    where, how = (state.step, state.planned, state.finished), resume_words(config.objective)
    return Result(run_path, *where, final, scores, state.elapsed, state.tokens, how, processes.is_main_process)


def prepare_run(run: Path, now: dict[str, Any], *, resume: bool) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """Check that RUN may start or be resumed; return its last checkpoint ("": none), its State, and its run.json."""
    if not (before := read_before(run, resume=resume)):
        return "", {}, now
    check_same_run(run, before, now)
    for part in (run / "checkpoints").glob("*.part"):
        remove(part)
    found, state = last_checkpoint(run) or (None, State())
    if not found and (damaged := sorted(path.name for path in run.glob("checkpoints/step-*"))):
        rest = f"bring one back, or delete them from {run / 'checkpoints'} to start again at step 0"
        raise ValueError(f"every checkpoint of {run} is damaged ({', '.join(damaged)}): {rest}")
    old = migrate(before["config"])
    changed = {key: value for key, value in now["config"].items() if value != old.get(key)}
    session = {"date": today(), "step": state.step, "changed": changed}
    kept = {key: before[key] for key in ("created", "preset", "init") if key in before}
    return str(found or ""), asdict(state), now | kept | {"resumed": [*before["resumed"], session]}


def describe_run(opened: Sequence[OpenPart], config: Config, preset: str, world_size: int) -> dict[str, Any]:
    """Return the run.json of a new run; of a mixture with what each store weighs, together 1, and its own settings."""
    stores: dict[str, Any] = {}
    for each in opened:
        own = {"weight": each.weight, "settings": json.loads(json.dumps(each.part.settings))} if each.part.name else {}
        stores[each.part.name] = {
            "path": str(each.part.path.resolve()),
            "fingerprint": fingerprint(each.part.path, each.config.graph),
            "scope": each.config.scope,  # as decided, where auto was asked
            **own,
        }
    versions = {each.__name__: each.__version__ for each in (linkbert, torch, transformers)}
    versions["python"] = platform.python_version()
    return {
        "format": FORMAT,
        "created": today(),
        "preset": preset,
        "config": config.model_dump(mode="json"),
        **({"init": str(Path(config.init).expanduser().resolve())} if Path(config.init).expanduser().exists() else {}),
        **({"store": stores[""]} if "" in stores else {"stores": stores}),
        "versions": versions,
        "processes": world_size,
        "resumed": [],
    }


def today() -> str:
    """Return the date, UTC: 2026-01-31."""
    return datetime.now(UTC).date().isoformat()
