"""Checkpoints of a run: all that the next update depends on, in files that nothing unpickles.

In: a model, its optimizer and the State of the run. Out: RUN/checkpoints/step-0000100/, a Hugging Face folder (weights,
config, vocabulary, card) with a folder training/ beside: optimizer.safetensors (AdamW's two moments of every parameter,
fp32) and state.json (step, sums since the last journal line, counts, and size and sha256 of every file). A folder is
written under a temporary name, flushed to disk and renamed; so a crash leaves whole checkpoints, and a checkpoint that
time or a disk has spoilt is noticed and passed over for the one before it.

Pairs, masks, dropout and learning rate follow from (store, config, step), so the step is all the position there is.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from linkbert.files import read_json, remove, replacing, sha256, write_json
from linkbert.model.checkpoint import model_folder

FORMAT = 1
MOMENTS = ("exp_avg", "exp_avg_sq")

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


def save_checkpoint(
    run: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    state: State,
    *,
    save: Callable[[Path, State], None],
    keep: int = 0,
) -> Path:
    """Write a checkpoint and remove all but the `keep` newest (0 keeps all); `save` writes the Hugging Face folder.

    A full disk is a ValueError of one line; the checkpoints there were stay.
    """
    folder = checkpoint_folder(run, state.step)
    try:
        with replacing(folder) as part:
            (part / "training").mkdir(parents=True)
            save(part, state)
            save_file(optimizer_tensors(model, optimizer), str(part / "training" / "optimizer.safetensors"))
            files = {str(path.relative_to(part)): describe_file(path) for path in files_under(part)}
            write_json(part / "training" / "state.json", {"format": FORMAT, **asdict(state), "files": files})
            flush_to_disk(part)
    except Exception as error:  # safetensors has an error class of its own for a full disk
        last = checkpoints(run)
        rest = f"the last good checkpoint is {last[-1]}" if last else "there is no earlier checkpoint"
        if isinstance(error, OSError) or "os error" in str(error):
            why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            raise ValueError(f"cannot write {folder}: {why}; {rest}; make room and go on with --resume") from error
        raise
    # Later ones are those that a resumed run has passed over as damaged; they do not count, and are written again.
    before = [each for each in checkpoints(run) if int(each.name[5:]) <= state.step]
    for old in before[:-keep] if keep else []:
        discard(old)
    return folder


def save_final_model(run: Path, checkpoint: Path) -> Path:
    """Copy a checkpoint without its training/ to RUN/model."""
    with replacing(run / "model") as part:
        shutil.copytree(checkpoint, part, ignore=shutil.ignore_patterns("training"))
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
    if not isinstance(content, dict) or content.pop("format", None) != FORMAT:
        raise ValueError(f"{path} is not of format {FORMAT}; it was written by another version of linkbert")
    for name, described in content.pop("files").items():
        if not (folder / name).is_file():
            raise ValueError(f"{name} is missing")
        if describe_file(folder / name) != described:
            raise ValueError(f"{name} is not as it was written")
    return State(**content)


def optimizer_tensors(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Name AdamW's moments after their parameters: {"exp_avg.bert.pooler.dense.weight": (H, H) fp32, ...}.

    A parameter that never had a gradient has none.
    """
    return {
        f"{moment}.{name}": optimizer.state[parameter][moment].detach().cpu().contiguous()
        for name, parameter in model.named_parameters()
        if optimizer.state.get(parameter)
        for moment in MOMENTS
    }


def restore_optimizer(folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer, step: int) -> None:
    """Give AdamW the moments that a checkpoint holds."""
    path = folder / "training" / "optimizer.safetensors"
    with safe_open(path, framework="pt") as file:
        held = set(file.keys())
        for name, parameter in model.named_parameters():
            names = [f"{moment}.{name}" for moment in MOMENTS]
            if not held.issuperset(names):
                continue
            held.difference_update(names)
            moments = {
                moment: file.get_tensor(n).to(parameter.device) for moment, n in zip(MOMENTS, names, strict=True)
            }
            count = torch.tensor(float(step), dtype=torch.float32)
            # The fused kernel wants its counter where the parameter is.
            optimizer.state[parameter] = {"step": count.to(parameter.device), **moments}
    if held:
        raise ValueError(f"{path} holds moments of {min(held)}, which this model does not have")


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
