"""A run: everything put together from stores' folders and a Config, and the RUN folder around it.

In: STORE (or several, as Parts), RUN and a Config. Out: RUN/model and the scores. The folder:

    RUN/run.json                        settings, stores with their fingerprints, versions, date; written first
    RUN/journal.jsonl, RUN/tensorboard/ losses and scores, see journal.py
    RUN/checkpoints/step-0000100/       see checkpoint.py
    RUN/model/                          the last checkpoint without its training state; written last

A run goes on only as what it was: with another setting that decides batches or updates, or another store, `resume` is
refused by name. What merely decides speed, files or scoring may change; so may precision, spike and on_spike, the
remedies for a loss that is not a number, and the pace that a budget follows.
"""

from __future__ import annotations

import hashlib
import json
import logging
import platform
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor

import linkbert
from linkbert.config import STORE_SETTINGS, Config, choose_config, migrate, show_value
from linkbert.files import locked, read_json, remove, write_json
from linkbert.instances.batches import Batches
from linkbert.instances.mixture import OpenPart, Part, count_tokens, describe_mixture, make_sampler, open_parts
from linkbert.instances.vocabulary import check_same_vocabulary, load_vocabulary
from linkbert.model.checkpoint import find_encoder, load_model, start_model, write_model
from linkbert.model.device import DTYPES, choose_precision, matrix_peak
from linkbert.model.optimizer import make_optimizer
from linkbert.model.step import compiles, operations_a_token, row_cost, step_function
from linkbert.pretraining import loop
from linkbert.pretraining.card import Learnt, model_card
from linkbert.pretraining.checkpoint import (
    State,
    checkpoint_folder,
    checkpoints,
    last_checkpoint,
    restore_optimizer,
    save_final_model,
)
from linkbert.pretraining.distributed import (
    DistributedContext,
    broadcast,
    broadcast_object,
    join_processes,
    parallelize,
    run_on_main,
    unsharded,
)
from linkbert.pretraining.evaluation import ask_of, evaluate_stores, held_out_pairs
from linkbert.pretraining.journal import FORMAT, read_record
from linkbert.pretraining.loop import Progress
from linkbert.pretraining.scores import Scores, from_json, to_json

# Settings that may change when a run goes on: they decide neither what is learnt nor by which updates.
FREE = ("device", "precision", "pace", "spike", "on_spike", "gradient_checkpointing", "compile", "sharding", "threads",
        "micro_batch_size", "logging_steps", "save_steps", "save_total_limit", "keep_best", "stop_before", "eval_steps",
        "eval_pairs")  # fmt: skip
BLOCKS, BLOCK = 64, 4096  # a fingerprint reads so many blocks, of so many bytes, of each file

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Result:
    """How a run ended: `finished`, or stopped by a signal after `step` of `steps` and ready to go on."""

    run: Path
    step: int
    steps: int
    finished: bool
    model: Path | None  # RUN/model of a finished run
    scores: Scores | None  # of the last evaluation; None where no documents are held out
    elapsed: float  # seconds, over all sittings
    tokens: int  # seen in training
    is_main_process: bool = True  # the one of several that prints


def pretrain(
    stores: Path | str | Sequence[Part],
    to: Path | str,
    settings: Config | Mapping[str, Any] | Sequence[str] = (),
    *,
    preset: str | None = None,
    resume: bool = False,
    progress: Callable[[Progress], None] = lambda _: None,
    report: Callable[[str], None] = log.info,
) -> Result:
    """Pretrain an encoder on a store, or on several (Parts), into the folder `to`; `linkbert pretrain` calls this.

    `settings` override those of `preset` (default: tiny): a mapping, `key=value` words, or a whole Config, which needs
    no preset. With `resume` the run in `to` continues from its last checkpoint with its own settings; without, `to`
    must be empty or absent. `progress` is called after every update and when an evaluation or a checkpoint starts,
    `report` with the lines that come before the first step: the realised shares of relations. SIGINT and SIGTERM end
    the run with a checkpoint; a bad setting or store is a ValueError, and leaves no folder behind.

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
    run_path = Path(to)
    if isinstance(settings, Config):
        config, preset = settings, preset or ""
    else:
        before = read_record(run_path) if resume and (run_path / "run.json").is_file() else {}
        words, changes = (list[str](), settings) if isinstance(settings, Mapping) else (list(settings), {})
        words += [f"objective={changes[key]}" for key in changes if key == "objective"]  # named again
        config, preset = choose_config(preset, words, before)
        config = config.replace(**changes)
    with ExitStack() as stack:
        processes = stack.enter_context(join_processes(config))
        precision = choose_precision(config.precision, processes.device) if processes.is_main_process else ""
        config = config.replace(precision=broadcast_object(processes, precision))
        # What may be refused comes first: a refused run leaves no folder behind.
        opened = open_parts([Part("", Path(stores))] if isinstance(stores, Path | str) else stores, config)
        sampler, vocabulary = make_sampler(opened, config), opened[0].tokens.vocabulary
        for each in getattr(sampler, "samplers", [sampler]):
            each.check_linkable()

        def prepare() -> tuple[tuple[Path, State] | None, dict[str, Any]]:
            stack.enter_context(locked(run_path))
            return prepare_run(run_path, opened, config, preset, resume=resume, processes=processes)

        found, record = run_on_main(processes, prepare) or (None, {})
        if found:
            model = load_model(found[0], config.objective)
        else:
            start = config
            if config.init != "none":
                folder = find_encoder(config.init, f"init={config.init}")
                check_same_vocabulary(load_vocabulary(folder), vocabulary, folder)
                start = config.replace(init=str(folder))
            tokens = vocabulary.special_ids
            model = start_model(start, len(vocabulary), counts=count_tokens(opened), tokens=tokens)
        model.to(processes.device)
        broadcast(processes, [parameter.data for parameter in model.parameters()])
        called = parallelize(model, processes, config.sharding)
        if processes.is_main_process:
            for line in describe_mixture(sampler, [each.part.name for each in opened]):
                report(line)
        batches = Batches(sampler, fixed=compiles(model, config), row_cost=row_cost(model, config))
        held_out = {each.part.name: pairs for each in opened if (pairs := held_out_pairs(each))}
        optimizer = make_optimizer(
            model,
            learning_rate=config.learning_rate,
            betas=(config.adam_beta1, config.adam_beta2),
            epsilon=config.adam_epsilon,
            weight_decay=config.weight_decay,
        )
        state = State(**broadcast_object(processes, asdict(found[1] if found else State())))
        restore_optimizer(found[0] if found else None, model, optimizer, state.updates, processes)
        if processes.is_main_process:
            write_json(run_path / "run.json", record)

        def score() -> dict[str, Any]:
            with unsharded(model):
                return to_json(evaluate_stores(model, ask_of(held_out, processes), processes=processes))

        def save(folder: Path, state: State, weights: dict[str, Tensor]) -> None:
            learnt, kind = [learnt_from(each) for each in opened], model.config.model_type
            card = model_card(record | {"written": today()}, state, config, learnt, kind=kind)
            vocabulary_folder = opened[0].part.path / "vocabulary"
            write_model(model, folder, vocabulary_folder=vocabulary_folder, card=card, weights=weights)

        def say_compiling() -> None:
            if processes.is_main_process:
                progress(Progress("compiling, about a minute", state.step, config.max_steps))

        peak = matrix_peak(processes.device, DTYPES[config.precision])
        state = loop.pretrain(
            model,
            optimizer,
            batches,
            config,
            run=run_path,
            forward=step_function(model, config, called, before_compiling=say_compiling),
            save=save,
            evaluate=score if held_out else None,
            state=state,
            processes=processes,
            wrapped=called,
            fastest=processes.world_size * peak / operations_a_token(model, config),
            progress=progress,
        )
        if processes.is_main_process and state.finished:
            save_final_model(run_path, checkpoint_folder(run_path, state.step))
    return Result(
        run_path,
        state.step,
        state.plan[2],
        state.finished,
        run_path / "model" if state.finished else None,
        from_json(state.evaluation) if state.evaluation else None,
        state.elapsed,
        state.tokens,
        processes.is_main_process,
    )


def learnt_from(opened: OpenPart) -> Learnt:
    """Collect what a model card says of a store."""
    manifest, links = read_json(opened.part.path / "store.json"), opened.graph.meta if opened.graph else {}
    name, weight = opened.part.name, opened.weight
    return Learnt(name, weight, opened.config, manifest=manifest, tokens=opened.tokens.meta, graph=links)


def prepare_run(
    run: Path, opened: Sequence[OpenPart], config: Config, preset: str, *, resume: bool, processes: DistributedContext
) -> tuple[tuple[Path, State] | None, dict[str, Any]]:
    """See that RUN may begin or go on; give the checkpoint to go on from, if there is one, and run.json's content."""
    there = [path.name for path in run.iterdir() if not path.name.endswith(".part")] if run.is_dir() else []
    if run.exists() and not run.is_dir():
        raise ValueError(f"{run} is a file; name a folder for the run")
    if there and not resume:
        raise ValueError(f"{run} is not empty; add --resume to go on with the run in it, or name another folder")
    if there and not (run / "run.json").is_file():
        raise ValueError(f"{run} holds other things than a run (no run.json); name another folder")
    now: dict[str, Any] = {
        "format": FORMAT,
        "created": today(),
        "preset": preset,
        "config": config.model_dump(mode="json"),
        **describe_stores(opened),
        "versions": versions(),
        "processes": processes.world_size,
        "resumed": [],
    }
    if not there:
        return None, now
    before = read_record(run)
    check_same_run(run, before, now)
    for part in (run / "checkpoints").glob("*.part"):
        remove(part)
    if (run / "checkpoints").is_file():
        raise ValueError(f"{run / 'checkpoints'} is a file where the run's checkpoints are to lie: move it away")
    found = last_checkpoint(run)
    if not found and (damaged := [path.name for path in checkpoints(run)]):
        raise ValueError(
            f"every checkpoint of {run} is damaged ({', '.join(damaged)}): bring one back, or delete them from "
            f"{run / 'checkpoints'} to begin anew, at step 0"
        )
    changed = {key: value for key, value in now["config"].items() if value != migrate(before["config"]).get(key)}
    sitting = {"date": today(), "step": found[1].step if found else 0, "changed": changed}
    kept = {"created": before["created"], "preset": before.get("preset", "")}
    return found, now | kept | {"resumed": [*before["resumed"], sitting]}


def describe_stores(opened: Sequence[OpenPart]) -> dict[str, Any]:
    """Say what stores a run reads: {"store": {"path", "fingerprint"}}, or {"stores": {name: {...}}} for a mixture.

    Of a mixture, also what each weighs, all of them together 1, and the settings that are its own.
    """
    stores: dict[str, Any] = {}
    for each in opened:
        path = each.part.path
        stores[each.part.name] = {
            "path": str(path.resolve()),
            "fingerprint": fingerprint(path, each.config.graph),
            "scope": each.config.scope,  # as decided, where auto was asked
        }
        if each.part.name:
            settings = json.loads(json.dumps(each.part.settings))
            stores[each.part.name] |= {"weight": each.weight, "settings": settings}
    return {"store": stores[""]} if "" in stores else {"stores": stores}


def check_same_run(run: Path, before: dict[str, Any], now: dict[str, Any]) -> None:
    """Refuse to go on with another setting or another store than RUN began with; the message names the first."""
    model = f"init={run}/model" if (run / "model").is_dir() else "init=CHECKPOINT"
    stores, others = (each.get("stores") or {"": each["store"]} for each in (before, now))
    if stores.keys() != others.keys():
        raise ValueError(f"{run} was begun on {_named(stores)}, not on {_named(others)}: resume with the same stores")
    began = _all_settings(before)
    for key, value in _all_settings(now).items():
        old = began.get(key, value)
        if key in FREE or old == value:
            continue
        old, value = (show_value(v) for v in (old, value))
        steers = key in ("max_steps", "warmup_steps", "lr_scheduler_type", "decay_ratio")
        why = "; the learning rate of every step depends on it" if steers else ""
        raise ValueError(
            f"{run} was begun with {key}={old}, not {key}={value}{why}: resume with {key}={old}, "
            f"or start a new run with {model}"
        )
    for name, was in stores.items():
        other = others[name]
        if was["fingerprint"] != other["fingerprint"]:
            raise ValueError(
                f"{run} was begun on another store ({was['path']}) than {other['path']}: "
                f"resume with that one, or start a new run with {model}"
            )


def _all_settings(record: dict[str, Any]) -> dict[str, Any]:
    """Give what decides a run's batches and updates, each store's own settings and weight among it."""
    found = migrate(record["config"])
    for name, store in record.get("stores", {}).items():
        found |= {f"{name}.{key}": store["settings"].get(key, found.get(key)) for key in STORE_SETTINGS}
        found[f"{name}.scope"] = store.get("scope", found[f"{name}.scope"])
        found[f"the weight of {name}"] = store["weight"]
    asked = found.pop("scope", None)  # what it came to counts
    if "store" in record:
        found["scope"] = record["store"].get("scope", asked)
    return found


def _named(stores: dict[str, Any]) -> str:
    return " and ".join(f"{name}={store['path']}".removeprefix("=") for name, store in stores.items())


def fingerprint(store: Path, graph: str) -> str:
    """Tell stores apart by what a run reads of them: a hash of sizes and sampled blocks, not of dates or paths."""
    digest = hashlib.blake2b(digest_size=16)
    folders = (store / "tokens", store / "graphs" / graph)
    words = [path for name in ("vocab.txt", "tokenizer.json") if (path := store / "vocabulary" / name).is_file()]
    for path in [*(p for folder in folders for p in sorted(folder.glob("*.bin"))), *words]:
        size = path.stat().st_size
        digest.update(f"{path.name} {size}\n".encode())
        with path.open("rb") as file:
            for start in range(0, size, max(BLOCK, size // BLOCKS)):
                file.seek(start)
                digest.update(file.read(BLOCK))
    return digest.hexdigest()


def versions() -> dict[str, str]:
    """Name what the arithmetic depends on."""
    return {
        "linkbert": linkbert.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }


def today() -> str:
    """Give the date, UTC: 2026-01-31."""
    return datetime.now(UTC).date().isoformat()
