"""A run: everything put together from a store's folder and a Config, and the RUN folder around it.

In: STORE, RUN and a Config. Out: RUN/model and the scores. The folder:

    RUN/run.json                        settings, store with its fingerprint, versions, date; written first
    RUN/journal.jsonl, RUN/tensorboard/ losses and scores, see journal.py
    RUN/checkpoints/step-0000100/       see checkpoint.py
    RUN/model/                          the last checkpoint without its training state; written last

A run goes on only as what it was: with another setting that decides batches or updates, or another store, `resume` is
refused by name. What merely decides speed, files or scoring may change; so may precision, the remedy for a loss that
is not a number.
"""

from __future__ import annotations

import hashlib
import logging
import platform
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
import transformers

import linkbert
from linkbert.config import Config, show_value, to_dict
from linkbert.files import locked, read_json, remove, write_json
from linkbert.instances.batches import Batches
from linkbert.instances.sampler import LinkGraph, NoUsableAnchorError, Sampler, open_graph
from linkbert.instances.sampler import held_out as held_out_documents
from linkbert.instances.tokens import TokenStore
from linkbert.instances.vocabulary import check_same_vocabulary, load_vocabulary
from linkbert.model.checkpoint import find_encoder, load_model, start_model, write_model
from linkbert.model.linkbert import LinkBert
from linkbert.model.step import compiles, step_function
from linkbert.pretraining.card import model_card
from linkbert.pretraining.checkpoint import (
    MOMENTS,
    State,
    checkpoint_folder,
    last_checkpoint,
    restore_optimizer,
    save_final_model,
)
from linkbert.pretraining.distributed import Processes, number_from_first, send_from_first
from linkbert.pretraining.distributed import processes as join_processes
from linkbert.pretraining.evaluation import Scores, evaluate, from_json, to_json
from linkbert.pretraining.loop import Progress, pretrain
from linkbert.pretraining.optimizer import make_optimizer

FORMAT = 1
# Settings that may change when a run goes on: they decide neither what is learnt nor by which updates.
FREE = ("device", "precision", "compile", "threads", "micro_batch", "log_every", "checkpoint_every", "keep",
        "evaluate_every", "evaluate_pairs")  # fmt: skip
BLOCKS, BLOCK = 64, 4096  # a fingerprint reads so many blocks, of so many bytes, of each file

T = TypeVar("T")
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
    first: bool = True  # whether this process is the one of several that speaks


def pretrain_store(
    store_path: Path,
    run_path: Path,
    config: Config,
    *,
    resume: bool = False,
    progress: Callable[[Progress], None] = lambda _: None,
) -> Result:
    """Pretrain an encoder on a store, into RUN; go on from RUN's last checkpoint with `resume`."""
    with ExitStack() as stack:
        processes = stack.enter_context(join_processes(config))
        # What may be refused comes first: a refused run leaves no folder behind.
        tokens, graph = TokenStore.open(store_path), open_graph(store_path, config)

        def prepare() -> tuple[tuple[Path, State] | None, dict[str, Any]]:
            stack.enter_context(locked(run_path))
            return prepare_run(run_path, store_path, config, resume=resume, processes=processes)

        found, record = agree(processes, prepare) or (None, {})
        if found:
            model = load_model(found[0])
        else:
            start = config
            if config.init != "none":
                folder = find_encoder(config.init)
                check_same_vocabulary(load_vocabulary(folder), tokens.vocabulary, folder)
                start = replace(config, init=str(folder))
            model = start_model(start, len(tokens.vocabulary), counts=tokens.count_tokens())
        model.to(processes.device)
        sampler = Sampler(tokens, graph, config, anchors=config.anchors)
        batches = Batches(sampler, trim=not compiles(model, config))
        held_out = held_out_batches(tokens, graph, config, anchors=config.anchors)
        optimizer = make_optimizer(
            model,
            learning_rate=config.learning_rate,
            betas=(config.beta1, config.beta2),
            epsilon=config.epsilon,
            weight_decay=config.weight_decay,
        )
        state = found[1] if found else State()
        if found:
            restore_optimizer(found[0], model, optimizer, state.step)
        share_start(processes, model, optimizer, state)
        if processes.first:
            write_json(run_path / "run.json", record)

        def score() -> dict[str, Any]:
            pairs = held_out.one_by_one(0, processes.rank, processes.count) if held_out else ()
            return to_json(evaluate(model, pairs, processes=processes))

        def save(folder: Path, state: State) -> None:
            manifest, links = read_json(store_path / "store.json"), graph.meta if graph else {}
            card = model_card(
                record | {"written": today()}, state, config, manifest=manifest, tokens=tokens.meta, graph=links
            )
            write_model(model, folder, vocabulary_folder=store_path / "vocabulary", card=card)

        state = pretrain(
            model,
            optimizer,
            batches,
            config,
            run=run_path,
            forward=step_function(model, config),
            save=save,
            evaluate=score if held_out else None,
            state=state,
            processes=processes,
            progress=progress,
        )
        finished = state.step == config.steps
        if processes.first and finished:
            save_final_model(run_path, checkpoint_folder(run_path, state.step))
    return Result(
        run_path,
        state.step,
        config.steps,
        finished,
        run_path / "model" if finished else None,
        from_json({k: v for k, v in state.evaluation.items() if k != "step"}) if state.evaluation else None,
        state.elapsed,
        state.tokens,
        processes.first,
    )


def held_out_batches(
    tokens: TokenStore, graph: LinkGraph | None, config: Config, *, anchors: str = "all"
) -> Batches | None:
    """Give batches whose A is held out, `config.evaluate_pairs` pairs a step; None where no document is held out."""
    if not (held_out_documents(tokens.hashes, config.held_out) & (np.diff(tokens.documents) > 0)).any():
        log.warning("held_out=%g leaves no document to score on; the run goes without scores", config.held_out)
        return None
    asked = replace(config, batch_size=config.evaluate_pairs)
    try:
        return Batches(Sampler(tokens, graph, asked, split="held-out", anchors=anchors), trim=True)
    except NoUsableAnchorError as error:
        log.warning("%s; scores are of all anchors instead", error)
        return Batches(Sampler(tokens, graph, asked, split="held-out"), trim=True)


def prepare_run(
    run: Path, store: Path, config: Config, *, resume: bool, processes: Processes
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
        "config": to_dict(config),
        "store": {"path": str(store.resolve()), "fingerprint": fingerprint(store, config.graph)},
        "versions": versions(),
        "processes": processes.count,
        "resumed": [],
    }
    if not there:
        return None, now
    before = read_json(run / "run.json")
    check_same_run(run, before, now)
    for part in (run / "checkpoints").glob("*.part"):
        remove(part)
    found = last_checkpoint(run)
    changed = {key: value for key, value in now["config"].items() if value != before["config"].get(key)}
    sitting = {"date": today(), "step": found[1].step if found else 0, "changed": changed}
    return found, now | {"created": before["created"], "resumed": [*before["resumed"], sitting]}


def check_same_run(run: Path, before: Any, now: dict[str, Any]) -> None:
    """Refuse to go on with another setting or another store than RUN began with; the message names the first."""
    if not isinstance(before, dict) or before.get("format") != FORMAT:
        raise ValueError(f"{run / 'run.json'} is not of format {FORMAT}; it was written by another version of linkbert")
    model = f"init={run}/model" if (run / "model").is_dir() else "init=CHECKPOINT"
    for key, value in now["config"].items():
        old = before["config"].get(key, value)
        if key in FREE or old == value:
            continue
        old, value = (show_value(tuple(v) if isinstance(v, list) else v) for v in (old, value))
        why = "; the learning rate of every step depends on it" if key in ("steps", "warmup") else ""
        raise ValueError(
            f"{run} was begun with {key}={old}, not {key}={value}{why}: resume with {key}={old}, "
            f"or start a new run with {model}"
        )
    if before["store"]["fingerprint"] != now["store"]["fingerprint"]:
        raise ValueError(
            f"{run} was begun on another store ({before['store']['path']}) than {now['store']['path']}: "
            f"resume with that one, or start a new run with {model}"
        )


def fingerprint(store: Path, graph: str) -> str:
    """Tell stores apart by what a run reads of them: a hash of sizes and sampled blocks, not of dates or paths."""
    digest = hashlib.blake2b(digest_size=16)
    folders = (store / "tokens", store / "graphs" / graph)
    for path in [*(p for folder in folders for p in sorted(folder.glob("*.bin"))), store / "vocabulary" / "vocab.txt"]:
        size = path.stat().st_size
        digest.update(f"{path.name} {size}\n".encode())
        with path.open("rb") as file:
            for start in range(0, size, max(BLOCK, size // BLOCKS)):
                file.seek(start)
                digest.update(file.read(BLOCK))
    return digest.hexdigest()


def agree(processes: Processes, prepare: Callable[[], T]) -> T | None:
    """Let process 0 prepare the run; where it refuses, all of them stop."""
    found, failure = None, None
    if processes.first:
        try:
            found = prepare()
        except (ValueError, OSError) as error:
            failure = error
    if number_from_first(processes, int(failure is not None)):
        raise failure or ValueError("process 0 refused to start; its message says why")
    return found


def share_start(processes: Processes, model: LinkBert, optimizer: torch.optim.Optimizer, state: State) -> None:
    """Give every process the weights, moments and step of process 0, which alone may have found a checkpoint."""
    state.step = number_from_first(processes, state.step)
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    send_from_first(processes, [parameter.data for parameter in model.parameters()])
    if state.step and processes.count > 1:
        for parameter in parameters:
            if not processes.first:
                count = torch.tensor(float(state.step), device=parameter.device)
                optimizer.state[parameter] = {"step": count, **{m: torch.zeros_like(parameter) for m in MOMENTS}}
            send_from_first(processes, [optimizer.state[parameter][moment] for moment in MOMENTS])


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
