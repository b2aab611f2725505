"""Checkpoints of a run: all that the next update depends on, in files that are never unpickled.

RUN/checkpoints/step-0000100/ is a Hugging Face folder with training/ in it: AdamW's moments as safetensors (of a
sharded model by torch.distributed.checkpoint), and state.json, with size and sha256 of every file. It is written in a
thread under a temporary name, flushed to disk and renamed: a crash leaves whole ones, and a damaged one is skipped.
"""

import logging
import os
import shutil
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from copy import deepcopy
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any, cast

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from pydantic import BaseModel, Field, FiniteFloat, StrictInt
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor

from linkbert.config import Amount, Config, Natural, Positive, check_content
from linkbert.files import find_encoder, model_files, read_json, remove, replacing, sha256, write_json
from linkbert.model.checkpoint import tied_names
from linkbert.pretraining import distributed
from linkbert.pretraining.distributed import DistributedContext, broadcast, run_on_main
from linkbert.pretraining.journal import resume_words
from linkbert.pretraining.scores import from_json

FORMAT = 1
MOMENTS = ("exp_avg", "exp_avg_sq")

log = logging.getLogger(__name__)


@dataclass
class State:
    """Where a run stands after `step` updates."""

    step: Natural = 0
    planned: Natural = 0  # steps of the whole run; with a budget, as many as its time has room for
    tokens: Natural = 0  # seen in training, padding not counted
    # Pairs seen: contiguous, random, linked.
    relations: Annotated[list[Natural], Field(min_length=3, max_length=3)] = field(default_factory=lambda: [0, 0, 0])
    window: list[FiniteFloat] = field(default_factory=list)  # sums since the last journal line, see loop.journal_entry
    elapsed: Amount = 0.0  # seconds, over all sessions
    trained: Amount = 0.0  # seconds of those that steps took
    skipped: Natural = 0  # steps whose update was not made
    faults_in_a_row: Natural = 0  # of those, the last ones, fp16's overflows left out
    norms: list[Amount] = field(default_factory=list)  # gradient norms, whose median defines a spike
    scale: Positive = 65_536.0  # of losses in fp16
    since_overflow: Natural = 0  # steps, of fp16, since it changed
    evaluation: dict[str, Any] | None = None  # the last one
    due: bool = False  # an evaluation of this step, which was stopped; with it a resumed run starts

    @property
    def finished(self) -> bool:
        """Whether the run has come to its end."""
        return 0 < self.planned <= self.step and not self.due


class Scored(BaseModel):
    """What decides which checkpoint is the best."""

    step: StrictInt
    mlm_loss: FiniteFloat


def checkpoint_folder(run: Path, step: int) -> Path:
    """Name a checkpoint: step 100 of RUN -> RUN/checkpoints/step-0000100."""
    return run / "checkpoints" / f"step-{step:07d}"


def checkpoints(run: Path) -> list[Path]:
    """List the checkpoints of a run, oldest first, whole or not."""
    folders = (folder for folder in (run / "checkpoints").glob("step-*") if folder.name[5:].isdecimal())
    return sorted(folders, key=lambda folder: int(folder.name[5:]))


@dataclass
class Checkpoints:
    """Writes a run's checkpoints in a thread, one at a time; what fails is raised by the next `start` or `check`."""

    run: Path
    model: nn.Module
    optimizer: torch.optim.Optimizer
    context: DistributedContext
    config: Config
    save: Callable[[Path, State, dict[str, Tensor]], None]  # writes the Hugging Face folder from copied weights
    saved: int  # the step of the last checkpoint
    writing: Future[None] | None = None

    def __post_init__(self) -> None:
        sharded = isinstance(self.model, FSDPModule)
        self.thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        # The thread needs a group of its own: training uses the other one at the same time.
        self.group = dist.new_group(backend="gloo", timeout=distributed.TIMEOUT) if sharded else None

    def start(self, state: State) -> None:
        """Copy what a checkpoint of `state` holds and start to write it; all processes call this at the same step."""
        self.check(wait=True)
        self.saved = state.step
        weights = copy_weights(self.model, keep=self.context.is_main_process)
        if self.group or self.context.is_main_process:
            moments = {
                f"{moment}.{name}": self.optimizer.state[parameter][moment].detach().to("cpu", copy=True)
                for name, parameter in self.model.named_parameters()
                for moment in (MOMENTS if self.optimizer.state.get(parameter) else ())  # none without gradients
            }
            for name, parameter in self.model.named_parameters():  # whose gradient is not that of all steps
                steps = self.optimizer.state.get(parameter, {}).get("step")
                if steps is not None and int(steps) != state.step - state.skipped:
                    moments[f"step.{name}"] = steps.detach().to("cpu", torch.float32, copy=True)
            self.writing = self.thread.submit(self._write, deepcopy(state), weights, moments)

    def check(self, *, wait: bool = False) -> None:
        """Raise what the last write failed with, where it is over; with `wait`, wait for that first."""
        if self.writing is not None and (wait or self.writing.done()):
            writing, self.writing = self.writing, None
            writing.result()

    def _write(self, state: State, weights: dict[str, Tensor], moments: dict[str, Tensor]) -> None:
        folder = checkpoint_folder(self.run, state.step)
        try:
            if not self.context.is_main_process:
                self._write_moments(folder.with_name(folder.name + ".part") / "training", moments)
                return
            with replacing(folder, folder=True) as part:
                (part / "training").mkdir()
                self._write_moments(part / "training", moments)
                self.save(part, state, weights)
                files = sorted(path for path in part.rglob("*") if path.is_file())
                for path in files:
                    flush(path)  # no rename is to overtake it
                described = {str(path.relative_to(part)): describe_file(path) for path in files}
                content = {"format": FORMAT, **asdict(state), "files": described}
                write_json(part / "training" / "state.json", content)
                flush(self.run / "journal.jsonl")  # a checkpoint must not know more than its journal
            self._remove_old(state)
        except OSError as error:
            why, words = error.strerror or error, resume_words(self.config.objective)
            raise ValueError(f"cannot write {folder}: {why}; free some space, and resume with {words}") from error

    def _write_moments(self, folder: Path, moments: dict[str, Tensor]) -> None:
        """Write all moments, or of a sharded model this process's rows of them; then all processes are done."""
        if self.group is None:
            save_file(moments, str(folder / "optimizer.safetensors"))
            return
        dist.barrier(self.group)  # until the main process has made the folder
        if not folder.is_dir():
            raise ValueError(f"{folder} is not seen by all processes: RUN must be on a disk that all share")
        try:
            writer = dcp.HuggingFaceStorageWriter(str(folder), save_distributed=True)
            dcp.save(moments, storage_writer=writer, process_group=self.group)
        except CheckpointException as error:
            raise next(iter(error.failures.values()))[0] from error

    def _remove_old(self, state: State) -> None:
        # Later ones are those that a resumed run has skipped as damaged; they do not count, and are written again.
        before = [each for each in checkpoints(self.run) if int(each.name[5:]) <= state.step]
        best = best_checkpoint(before) if self.config.keep_best else None
        keep = self.config.save_total_limit
        for old in before[:-keep] if keep else []:
            if old != best:
                gone = old.with_name(old.name + ".part")  # a crash half-way leaves no broken one under its name
                remove(gone)
                remove(old.rename(gone))


def copy_weights(model: nn.Module, *, keep: bool = True) -> dict[str, Tensor]:
    """Copy weights to the CPU, whole, tied ones once, of processes that `keep` them; if sharded, all must call this."""
    weights, again = {}, tied_names(model)
    for name, value in model.state_dict().items():
        if name not in again:
            whole = value.full_tensor() if isinstance(value, DTensor) else value
            if keep:
                weights[name] = whole.detach().to("cpu", torch.float32, copy=True)
    return weights


def best_checkpoint(folders: Sequence[Path]) -> Path | None:
    """Find the one whose own evaluation gave the lowest held-out MLM loss; None where none was scored."""
    scored = []
    for folder in folders:
        with suppress(ValueError, OSError):  # one that is damaged is not the best
            state, _ = read_described(folder)
            found = check_content(Scored, state.evaluation, folder)
            if found.step == state.step:
                scored.append((found.mlm_loss, folder))
    return min(scored)[1] if scored else None


def save_final_model(run: Path, step: int) -> None:
    """Copy the checkpoint of a step without its training/ to RUN/model."""
    with replacing(run / "model", folder=True) as part:
        for path in model_files(checkpoint_folder(run, step)):  # copytree would hide a full disk in a list
            flush(Path(shutil.copy(path, part)))


def last_checkpoint(run: Path) -> tuple[Path, State] | None:
    """Find the newest checkpoint that is whole; each that is not is skipped with a warning."""
    for folder in reversed(checkpoints(run)):
        try:
            return folder, read_state(folder)
        except (ValueError, OSError) as error:
            log.warning("%s is skipped: %s", folder, error)
    return None


def read_described(folder: Path) -> tuple[State, dict[str, Any]]:
    """Read a checkpoint's State, and what it says of its files, at which it does not look."""
    path = folder / "training" / "state.json"
    content = read_json(path)
    known = isinstance(content, dict) and content.get("format") == FORMAT and "step" in content
    if not known or not isinstance(content.get("files"), dict):
        raise ValueError(f"{path} is not of format {FORMAT}; it is damaged, or of another version of linkbert")
    values = {each.name: content[each.name] for each in fields(State) if each.name in content}
    state = cast(State, check_content(State, values, path))
    if checkpoint_folder(folder, state.step).name != folder.name:
        raise ValueError(f"{path} is of step {state.step}, its folder of another; it is damaged")
    return state, content["files"]


def read_state(folder: Path) -> State:
    """Read a checkpoint's State; a file that is missing is an OSError, one that is not as written a ValueError."""
    state, files = read_described(folder)
    if state.evaluation is not None:
        check_content(Natural, state.evaluation.get("step"), path := folder / "training" / "state.json")
        from_json(state.evaluation, path)
    for name, described in files.items():
        place = folder / name
        if not place.resolve().is_relative_to(folder.resolve()):
            raise ValueError(f"{name} leaves the folder")
        size = described.get("bytes") if isinstance(described, dict) else None
        if place.stat().st_size != size or not place.is_file() or describe_file(place) != described:
            raise ValueError(f"{name} is not as it was written")
    return state


def restore_optimizer(
    folder: Path | str, model: nn.Module, optimizer: torch.optim.Optimizer, updates: int, context: DistributedContext
) -> None:
    """Give AdamW the moments that a checkpoint ("": none) holds after so many updates.

    The main process alone reads it, unless the model is sharded: then each reads its rows, whoever wrote them.
    """
    reader, moments = lambda: dcp.HuggingFaceStorageReader(f"{folder}/training"), dict[str, Tensor]()
    whole, sharded = Path(folder, "training", "optimizer.safetensors"), isinstance(model, FSDPModule)
    alone = folder and context.is_main_process and not sharded and whole.is_file()  # else torch has to be 2.9
    held = load_file(whole) if alone else {}
    names = run_on_main(context, lambda: [*(held or reader().read_metadata().state_dict_metadata)] if folder else [])
    written = {*names}
    for name, parameter in model.named_parameters():
        own = {moment: torch.zeros_like(parameter.detach()) for moment in MOMENTS if f"{moment}.{name}" in written}
        if own:
            # The fused kernel wants its counter where the parameter is.
            own["step"] = torch.tensor(float(updates), device=parameter.device)
            optimizer.state[parameter] = own
            moments |= {key: own[moment] for moment in own if (key := f"{moment}.{name}") in written}
    if foreign := sorted(written - moments.keys()):
        raise ValueError(f"{folder} holds {foreign[0]}, which this model does not have")
    for name, value in held.items():
        moments[name].copy_(value)
    if moments and not held and (context.is_main_process or sharded):
        with warnings.catch_warnings():  # each process reads by itself, which torch takes for a mistake
            warnings.filterwarnings("ignore", "torch.distributed is disabled")
            dcp.load(moments, storage_reader=reader(), no_dist=True)
    if not sharded:
        broadcast(context, moments.values())


def describe_file(path: Path) -> dict[str, Any]:
    """Describe a file's content: {"bytes": 3, "sha256": "ba78..."}."""
    return {"bytes": path.stat().st_size, "sha256": sha256(path)}


def flush(path: Path) -> None:
    """Wait until a file is on disk."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def find_model(name: str | Path) -> Path:
    """Find the Hugging Face folder that MODEL means: itself, RUN/model, a RUN's last checkpoint, or a hub name's."""
    folder = find_encoder(name)
    if (folder / "config.json").is_file():
        return folder
    if found := last_checkpoint(folder):
        path, state = found
        log.warning("%s is not finished: this is its step %d of %d", name, state.step, state.planned)
        return path
    raise ValueError(f"{name} holds no model: no checkpoint of it is whole")
