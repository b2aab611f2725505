"""Checkpoints of a run: all that the next update depends on, in files that are never unpickled.

In: a model, its optimizer and the State of the run. Out: RUN/checkpoints/step-0000100/, a Hugging Face folder (weights,
config, vocabulary, card) with a folder training/ in it: AdamW's two moments of every parameter, fp32, as safetensors,
and state.json (step, sums since the last journal line, counts, and size and sha256 of every file). Where the model is
sharded, each process writes its rows of the moments by torch.distributed.checkpoint; any number of processes resumes
from them. A folder is written by a thread, from copies, under a temporary name, flushed to disk and renamed; so a crash
leaves whole checkpoints, and one that a disk has damaged since is noticed and skipped for the one before it.

Pairs, masks, dropout and learning rate follow from (store, config, step), so the step is all the position there is.
"""

from __future__ import annotations

import logging
import os
import shutil
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext, suppress
from copy import deepcopy
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.distributed.checkpoint import HuggingFaceStorageReader, HuggingFaceStorageWriter
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.tensor import DTensor

from linkbert.files import read_json, remove, replacing, sha256, write_json
from linkbert.model.checkpoint import model_folder, tied_names
from linkbert.pretraining import distributed
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
    window: list[float] = field(default_factory=list)  # sums since the last journal line, see loop.journal_entry
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
    """Writes a run's checkpoints in a thread, while training continues; one at a time.

    What is written is copied to the CPU at the step; so a run needs memory for one more model and its moments there.
    A write that fails is raised by the next `begin` or `check`. As a context manager it waits for the last write.
    """

    def __init__(
        self,
        run: Path,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        context: DistributedContext,
        *,
        save: Callable[[Path, State, dict[str, Tensor]], None],
        keep: int = 0,
        keep_best: bool = True,
    ) -> None:
        """Keep the `keep` newest (0: all), and the best; `save` writes the Hugging Face folder from copied weights."""
        self.run, self.model, self.optimizer, self.context = run, model, optimizer, context
        self.save, self.keep, self.keep_best = save, keep, keep_best
        self.thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self.writing: Future[None] | None = None
        # The thread needs a group of its own: training uses the other one at the same time.
        self.group = dist.new_group(backend="gloo", timeout=distributed.TIMEOUT) if is_sharded(model) else None

    def begin(self, state: State) -> None:
        """Copy what a checkpoint of `state` holds and start to write it, once the one before is whole.

        All processes of a run call this at the same step.
        """
        self.wait()
        weights = copy_weights(self.model, keep=self.context.is_main_process)
        if self.group or self.context.is_main_process:
            moments = {
                name: moment.detach().to("cpu", copy=True)
                for name, moment in named_moments(self.model, self.optimizer).items()
            }
            self.writing = self.thread.submit(self._write, deepcopy(state), weights, moments)

    def check(self) -> None:
        """Raise what a write that is over failed with."""
        if self.writing is not None and self.writing.done():
            self.wait()

    def wait(self) -> None:
        """Wait until what is being written is whole; raise what it failed with."""
        writing, self.writing = self.writing, None
        if writing is not None:
            writing.result()

    def _write(self, state: State, weights: dict[str, Tensor], moments: dict[str, Tensor]) -> None:
        folder = checkpoint_folder(self.run, state.step)
        try:
            if not self.context.is_main_process:
                self._write_moments(folder.with_name(folder.name + ".part") / "training", moments)
                return
            with replacing(folder) as part:
                (part / "training").mkdir(parents=True)
                self._write_moments(part / "training", moments)
                self.save(part, state, weights)
                seal(part, state)
            self._remove_old(state)
        except Exception as error:  # safetensors has an error class of its own for a full disk
            last = checkpoints(self.run)
            rest = f"the last good checkpoint is {last[-1]}" if last else "there is no earlier checkpoint"
            if isinstance(error, OSError) or "os error" in str(error):
                why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
                raise ValueError(f"cannot write {folder}: {why}; {rest}; free some space and add --resume") from error
            raise

    def _write_moments(self, folder: Path, moments: dict[str, Tensor]) -> None:
        """Write all moments, or of a sharded model this process's rows of them; then all processes are done."""
        if self.group is None:
            save_file(moments, str(folder / OPTIMIZER))
            return
        dist.barrier(self.group)  # until the main process has made the folder
        try:
            writer = HuggingFaceStorageWriter(str(folder), save_distributed=True)
            dcp.save(moments, storage_writer=writer, process_group=self.group)
        except CheckpointException as error:
            raise next(iter(error.failures.values()))[0] from error
        if self.context.is_main_process:
            written: Any = HuggingFaceStorageReader(str(folder)).read_metadata().state_dict_metadata
            for name, value in moments.items():
                if name not in written or sum(chunk.sizes.numel() for chunk in written[name].chunks) < value.numel():
                    raise ValueError(f"{folder} lacks shards of other processes: RUN must be on a disk that all share")

    def _remove_old(self, state: State) -> None:
        # Later ones are those that a resumed run has skipped as damaged; they do not count, and are written again.
        before = [each for each in checkpoints(self.run) if int(each.name[5:]) <= state.step]
        best = best_checkpoint(before) if self.keep_best else None
        for old in before[: -self.keep] if self.keep else []:
            if old != best:
                discard(old)

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with nullcontext() if kind is None else suppress(Exception):
            self.wait()
        self.thread.shutdown()


def is_sharded(model: nn.Module) -> bool:
    """Return whether each process holds its rows of the weights only."""
    return isinstance(next(model.parameters()), DTensor)


def copy_weights(model: nn.Module, *, keep: bool = True) -> dict[str, Tensor]:
    """Copy a model's weights to the CPU, whole, tied ones once.

    All processes of a sharded model must call this; those with `keep` get the weights.
    """
    weights, again = {}, tied_names(model)
    for name, value in model.state_dict().items():
        if name in again:
            continue
        whole = value.full_tensor() if isinstance(value, DTensor) else value
        if keep:
            weights[name] = whole.detach().to("cpu", torch.float32, copy=True)
    return weights


def named_moments(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Name AdamW's moments: {"exp_avg.bert.pooler.dense.weight": (H, H) fp32}; a parameter without gradients has none.

    By hand, as torch's get_optimizer_state_dict takes a step where there are none yet, and has values that are no
    tensors, which safetensors cannot hold.
    """
    return {
        f"{moment}.{name}": optimizer.state[parameter][moment]
        for name, parameter in model.named_parameters()
        for moment in (MOMENTS if optimizer.state.get(parameter) else ())
    }


def seal(folder: Path, state: State) -> None:
    """Write the State with size and sha256 of all that a checkpoint holds, and wait until all of it is on disk."""
    files = {str(path.relative_to(folder)): describe_file(path) for path in files_under(folder)}
    write_json(folder / "training" / "state.json", {"format": FORMAT, **asdict(state), "files": files})
    flush_to_disk(folder)


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
    """Find the newest checkpoint that is whole; each that is not is skipped with a warning."""
    for folder in reversed(checkpoints(run)):
        try:
            return folder, read_state(folder)
        except (ValueError, OSError) as error:
            log.warning("%s is skipped: %s", folder, error)
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
    context: DistributedContext | None = None,
) -> None:
    """Give AdamW the moments that a checkpoint holds, however many processes wrote it.

    The main process names the folder. It alone reads it, unless the model is sharded: then each reads its rows.
    """
    context = context or DistributedContext()
    training = broadcast_object(context, str(folder / "training") if folder else "")
    if not training:
        return
    written: set[str] = set()
    if context.is_main_process:
        written = set(HuggingFaceStorageReader(training).read_metadata().state_dict_metadata)
    written = set(broadcast_object(context, sorted(written)))
    moments: dict[str, Tensor] = {}
    for name, parameter in model.named_parameters():
        own = {moment: torch.zeros_like(parameter.detach()) for moment in MOMENTS if f"{moment}.{name}" in written}
        if own:
            # The fused kernel wants its counter where the parameter is.
            optimizer.state[parameter] = {"step": torch.tensor(float(step), device=parameter.device), **own}
            moments |= {f"{moment}.{name}": value for moment, value in own.items()}
    if foreign := sorted(written - moments.keys()):
        raise ValueError(f"{folder} holds {foreign[0]}, which this model does not have")
    if context.is_main_process or is_sharded(model):
        with warnings.catch_warnings():  # each process reads by itself, which torch takes for a mistake
            warnings.filterwarnings("ignore", "torch.distributed is disabled")
            dcp.load(moments, storage_reader=HuggingFaceStorageReader(training), no_dist=True)
    if not is_sharded(model):
        broadcast(context, moments.values())


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
