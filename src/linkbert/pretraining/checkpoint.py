"""Checkpoints of a run: all that the next update depends on, in files that nothing unpickles.

In: a model, its optimizer and the State of the run. Out: RUN/checkpoints/step-0000100/, a Hugging Face folder (weights,
config, vocabulary, card) with a folder training/ beside: optimizer.safetensors (AdamW's two moments of every parameter,
fp32) and state.json (step, sums since the last journal line, counts, and size and sha256 of every file). Of a sharded
model each process writes the moments that it holds, optimizer-00001-of-00004.safetensors, with the first row of each in
the file's head; any number of processes goes on from them. A folder is written by a thread, from copies, under a
temporary name, flushed to disk and renamed; so a crash leaves whole checkpoints, and a checkpoint that time or a disk
has spoilt is noticed and passed over for the one before it.

Pairs, masks, dropout and learning rate follow from (store, config, step), so the step is all the position there is.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, nullcontext, suppress
from copy import deepcopy
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.distributed import Store
from torch.distributed.tensor import DTensor, distribute_tensor

from linkbert.files import read_json, remove, replacing, sha256, write_json
from linkbert.model.checkpoint import model_folder, tied_names
from linkbert.pretraining.distributed import DistributedContext, broadcast, broadcast_object

FORMAT = 1
MOMENTS = ("exp_avg", "exp_avg_sq")
OPTIMIZER = "optimizer.safetensors"

log = logging.getLogger(__name__)


@dataclass
class State:
    """Where a run stands after `step` updates."""

    step: int = 0
    tokens: int = 0  # seen in training, padding not counted
    relations: list[int] = field(default_factory=lambda: [0, 0, 0])  # pairs seen: contiguous, random, linked
    window: list[float] = field(default_factory=list)  # sums since the last journal line (loop.py names them)
    elapsed: float = 0.0  # seconds, over all sittings
    trained: float = 0.0  # seconds of those that steps took
    plan: list[Any] = field(default_factory=list)  # how fast the schedule is gone through (pace.Plan)
    skipped: int = 0  # steps whose update was not made
    faults_in_a_row: int = 0  # of those, the last ones, fp16's overflows left out
    norms: list[float] = field(default_factory=list)  # gradient norms, as many as a spike is told by
    scale: float = 65_536.0  # of losses in fp16
    since_overflow: int = 0  # updates made
    evaluation: dict[str, Any] | None = None  # the last one

    @property
    def updates(self) -> int:
        """How many updates were made."""
        return self.step - self.skipped

    @property
    def finished(self) -> bool:
        """Whether the run has come to its end."""
        return bool(self.plan) and self.step >= self.plan[2]


def checkpoint_folder(run: Path, step: int) -> Path:
    """Name a checkpoint: step 100 of RUN -> RUN/checkpoints/step-0000100."""
    return run / "checkpoints" / f"step-{step:07d}"


def checkpoints(run: Path) -> list[Path]:
    """List the checkpoints of a run, oldest first, whole or not."""
    folders = (run / "checkpoints").glob("step-*")
    return sorted((f for f in folders if f.name[5:].isdigit()), key=lambda folder: int(folder.name[5:]))


class Checkpoints:
    """Writes a run's checkpoints in a thread, while training goes on; one at a time.

    What is written is copied at the step, to the CPU; so a run needs room for one more model and its moments there.
    A write that fails is raised by the next `begin` or `check`. As a context manager it waits for the last write.
    """

    def __init__(
        self,
        run: Path,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        processes: DistributedContext,
        *,
        save: Callable[[Path, State, dict[str, Tensor]], None],
        keep: int = 0,
        keep_best: bool = True,
    ) -> None:
        """Keep the `keep` newest (0: all), and the best; `save` writes the Hugging Face folder from copied weights."""
        self.run, self.model, self.optimizer, self.processes = run, model, optimizer, processes
        self.save, self.keep, self.keep_best = save, keep, keep_best
        self.thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self.writing: Future[None] | None = None
        self.given_up = threading.Event()

    def begin(self, state: State) -> None:
        """Copy what a checkpoint of `state` holds and begin to write it, once the one before is whole.

        All processes of a run call this at the same step.
        """
        self.wait()
        weights = copy_weights(self.model, keep=self.processes.is_main_process)
        shard = copy_moments(self.model, self.optimizer, self.processes)
        if shard is not None:
            self.writing = self.thread.submit(self._write, deepcopy(state), weights, shard)

    def check(self) -> None:
        """Raise what a write that is over failed with."""
        if self.writing is not None and self.writing.done():
            self.wait()

    def wait(self) -> None:
        """Wait until what is being written is whole; raise what it failed with."""
        writing, self.writing = self.writing, None
        if writing is not None:
            writing.result()

    def _write(self, state: State, weights: dict[str, Tensor], shard: Shard) -> None:
        folder = checkpoint_folder(self.run, state.step)
        try:
            if self.processes.is_main_process:
                self._write_folder(folder, state, weights, shard)
            else:
                self._write_shard(folder, state, shard)
        except Exception as error:  # safetensors has an error class of its own for a full disk
            last = checkpoints(self.run)
            rest = f"the last good checkpoint is {last[-1]}" if last else "there is no earlier checkpoint"
            if isinstance(error, OSError) or "os error" in str(error):
                why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
                raise ValueError(f"cannot write {folder}: {why}; {rest}; make room and go on with --resume") from error
            raise

    def _write_folder(self, folder: Path, state: State, weights: dict[str, Tensor], shard: Shard) -> None:
        """Write all but the shards of others, see that those are there, and remove what need not be kept."""
        with replacing(folder) as part:
            (part / "training").mkdir(parents=True)
            if shard.count > 1:
                self._store.set(f"checkpoint/{state.step}", "begun")
            self.save(part, state, weights)
            save_file(shard.tensors, str(part / "training" / shard.name), metadata=shard.rows)
            others = [replace(shard, index=i) for i in range(1, shard.count)]
            told = {f"training/{each.name}": self._hear(f"checkpoint/{state.step}/{each.index}") for each in others}
            files = {str(path.relative_to(part)): describe_file(path) for path in files_under(part)}
            if files != files | {name: json.loads(described) for name, described in told.items()}:
                raise ValueError(f"{folder} lacks shards of other processes: RUN must lie on a disk that all share")
            write_json(part / "training" / "state.json", {"format": FORMAT, **asdict(state), "files": files})
            flush_to_disk(part)
        # Later ones are those that a resumed run has passed over as damaged; they do not count, and are written again.
        before = [each for each in checkpoints(self.run) if int(each.name[5:]) <= state.step]
        best = best_checkpoint(before) if self.keep_best else None
        for old in before[: -self.keep] if self.keep else []:
            if old != best:
                discard(old)

    def _write_shard(self, folder: Path, state: State, shard: Shard) -> None:
        self._hear(f"checkpoint/{state.step}")
        path = folder.with_name(folder.name + ".part") / "training" / shard.name
        path.parent.mkdir(parents=True, exist_ok=True)  # of a RUN that is not shared: process 0 tells
        save_file(shard.tensors, str(path), metadata=shard.rows)
        flush_to_disk(path.parent)
        self._store.set(f"checkpoint/{state.step}/{shard.index}", json.dumps(describe_file(path)))

    @property
    def _store(self) -> Store:
        assert self.processes.store is not None
        return self.processes.store

    def _hear(self, key: str) -> str:
        """Wait for a word of another process."""
        while not self._store.check([key]):
            if self.given_up.wait(0.05):
                raise ValueError("the run ended before a checkpoint was whole")
        return self._store.get(key).decode()

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None and self.processes.world_size > 1:
            self.given_up.set()
        with nullcontext() if kind is None else suppress(Exception):
            self.wait()
        self.thread.shutdown()


@dataclass(frozen=True)
class Shard:
    """What one process writes of the optimizer: the moments of some rows of every parameter."""

    index: int
    count: int
    tensors: dict[str, Tensor]  # {"exp_avg.bert.pooler.dense.weight": (rows, H) fp32, ...}
    rows: dict[str, str]  # the first row of each, where that is not 0

    @property
    def name(self) -> str:
        """The name of its file."""
        return f"optimizer-{self.index + 1:05d}-of-{self.count:05d}.safetensors" if self.count > 1 else OPTIMIZER


def copy_weights(model: nn.Module, *, keep: bool = True) -> dict[str, Tensor]:
    """Copy a model's weights to the CPU, whole, tied ones once.

    Of a sharded model all processes must ask; those with `keep` get them.
    """
    weights, again = {}, tied_names(model)
    for name, value in model.state_dict().items():
        if name in again:
            continue
        whole = value.full_tensor() if isinstance(value, DTensor) else value
        if keep:
            weights[name] = whole.detach().to("cpu", torch.float32, copy=True)
    return weights


def copy_moments(model: nn.Module, optimizer: torch.optim.Optimizer, processes: DistributedContext) -> Shard | None:
    """Copy what this process writes of AdamW's moments: all in process 0, or its rows where the model is sharded.

    None is nothing. A parameter that never had a gradient has no moments.
    """
    first = next(model.parameters())
    index, count, mine = 0, 1, processes.is_main_process
    if isinstance(first, DTensor):
        *machine, index = first.device_mesh.get_coordinate() or [0]
        count, mine = first.device_mesh.size(-1), not any(machine)
    if not mine:
        return None
    tensors, rows = {}, {}
    for name, parameter in model.named_parameters():
        for moment in MOMENTS if optimizer.state.get(parameter) else ():
            value = optimizer.state[parameter][moment]
            local = value.to_local() if isinstance(value, DTensor) else value
            if local.numel():
                tensors[f"{moment}.{name}"] = local.detach().to("cpu", copy=True)
                if count > 1:  # cut as torch.chunk cuts
                    rows[f"{moment}.{name}"] = str(index * -(-len(value) // count))
    return Shard(index, count, tensors, rows)


def best_checkpoint(folders: Sequence[Path]) -> Path | None:
    """Find the one whose own evaluation gave the lowest held-out MLM loss; None where none was scored."""
    scored = []
    for folder in folders:
        with suppress(ValueError, OSError, KeyError, TypeError):  # one that is damaged is not the best
            state = read_json(folder / "training" / "state.json")
            if state["evaluation"]["step"] == state["step"]:
                scored.append((state["evaluation"]["mlm_loss"], folder))
    return min(scored)[1] if scored else None


def save_final_model(run: Path, checkpoint: Path) -> Path:
    """Copy a checkpoint without its training/ to RUN/model."""
    with replacing(run / "model") as part:
        part.mkdir()
        for path in checkpoint.iterdir():
            if path.is_file():  # not training/; copytree would hide a full disk in a list
                shutil.copy(path, part)
        flush_to_disk(part)
    return run / "model"


def last_checkpoint(run: Path) -> tuple[Path, State] | None:
    """Find the newest checkpoint that is whole; each that is not is passed over with a warning."""
    for folder in reversed(checkpoints(run)):
        try:
            return folder, read_state(folder)
        except (ValueError, OSError) as error:
            log.warning("%s is passed over: %s", folder, error)
    return None


def read_state(folder: Path) -> State:
    """Read a checkpoint's State; ValueError where a file is missing or not as it was written."""
    path = folder / "training" / "state.json"
    if not path.is_file():
        raise ValueError("training/state.json is missing")
    content = read_json(path)
    known = {"format", "files", *(each.name for each in fields(State))}
    whole = isinstance(content, dict) and {"format", "files", "step"} <= content.keys() <= known
    if not whole or not isinstance(content["files"], dict) or content.pop("format") != FORMAT:
        raise ValueError(f"{path} is not of format {FORMAT}; it is damaged, or of another version of linkbert")
    for name, described in content.pop("files").items():
        if not (folder / name).is_file():
            raise ValueError(f"{name} is missing")
        if describe_file(folder / name) != described:
            raise ValueError(f"{name} is not as it was written")
    return State(**content)


def restore_optimizer(
    folder: Path | None,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    step: int,
    processes: DistributedContext | None = None,
) -> None:
    """Give AdamW the moments that a checkpoint holds, however many processes wrote it; process 0 alone reads it."""
    processes = processes or DistributedContext()
    with ExitStack() as stack:
        files = sorted(folder.glob("training/optimizer*.safetensors")) if folder else []
        opened = [stack.enter_context(safe_open(path, framework="pt")) for path in files]
        names = {key.partition(".")[2] for file in opened for key in file.keys()}  # noqa: SIM118
        held = set(broadcast_object(processes, sorted(names)))
        for name, parameter in model.named_parameters():
            if name not in held:
                continue
            held.discard(name)
            moments = {}
            for moment in MOMENTS:
                whole = join_rows(opened, f"{moment}.{name}") if opened else torch.empty(parameter.shape)
                whole = whole.to(parameter.device)
                broadcast(processes, [whole])
                if isinstance(parameter, DTensor):
                    whole = distribute_tensor(whole, parameter.device_mesh, parameter.placements, src_data_rank=None)
                moments[moment] = whole
            # The fused kernel wants its counter where the parameter is.
            optimizer.state[parameter] = {"step": torch.tensor(float(step), device=parameter.device), **moments}
    if held:
        raise ValueError(f"{folder} holds moments of {min(held)}, which this model does not have")


def join_rows(files: Sequence[Any], key: str) -> Tensor:
    """Put a tensor together from the shards that hold some of its rows."""
    parts = [((file.metadata() or {}).get(key, "0"), file.get_tensor(key)) for file in files if key in file.keys()]  # noqa: SIM118
    return torch.cat([part for _, part in sorted(parts, key=lambda each: int(each[0]))])


def describe_file(path: Path) -> dict[str, Any]:
    """Describe a file's content: {"bytes": 3, "sha256": "ba78..."}."""
    return {"bytes": path.stat().st_size, "sha256": sha256(path)}


def discard(folder: Path) -> None:
    """Remove a folder so that a crash half-way leaves no broken one under its name."""
    gone = folder.with_name(folder.name + ".part")
    remove(gone)
    folder.rename(gone)
    remove(gone)


def files_under(folder: Path) -> Iterator[Path]:
    """Give every file in a folder and below, in order of name."""
    return (path for path in sorted(folder.rglob("*")) if path.is_file())


def flush_to_disk(folder: Path) -> None:
    """Wait until every file of a folder is on disk, so that the rename that follows cannot overtake it."""
    for path in files_under(folder):
        with path.open("rb") as file:
            os.fsync(file.fileno())


def find_model(path: Path) -> Path:
    """Find the Hugging Face folder that a path means: itself, RUN/model, or the last whole checkpoint of a RUN."""
    folder = model_folder(path)
    if folder is not None:
        return folder
    found = last_checkpoint(path)
    if found is None:
        raise ValueError(f"{path} holds no model: it is neither a Hugging Face folder nor a run with a checkpoint")
    return found[0]
