"""Many processes that train as one: who I am, and sums over all.

In: the environment variables that torchrun sets (`torchrun --no-python --nproc-per-node 4 linkbert pretrain ...`). Out:
a Processes record and in-place sums. Every process takes its slice of the global batch and sums gradients with the
others after its last micro-batch, so that the update does not depend on how many there are. Process 0 alone writes
files; what it read is sent to the others, so RUN need not lie on a shared disk. The reduction is one flat vector
(simple; it costs a second copy of the gradients).

Backends: gloo on CPU (tested with two processes), nccl on CUDA (written, never run by us).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

from linkbert.config import Config

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Processes:
    """This process among those of the run."""

    rank: int = 0
    count: int = 1
    device: torch.device = CPU

    @property
    def first(self) -> bool:
        """Whether this is the process that writes files."""
        return self.rank == 0


def choose_device(name: str, local_rank: int = 0) -> torch.device:
    """Turn the knob `device` into a device: auto is this process's GPU where there is one, else the CPU."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda":
        name = f"cuda:{local_rank}"
    try:
        device = torch.device(name)
    except RuntimeError:
        device = torch.device("meta")
    if device.type not in ("cpu", "cuda"):
        raise ValueError(f"device={name} is not known; it must be auto, cpu, cuda or cuda:N")
    if device.type == "cuda" and (not torch.cuda.is_available() or (device.index or 0) >= torch.cuda.device_count()):
        raise ValueError(f"device={name} is not there; this machine has {torch.cuda.device_count()} CUDA devices")
    return device


@contextmanager
def processes(config: Config) -> Iterator[Processes]:
    """Join the other processes of this run, if torchrun started several; leave them at the end."""
    count, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
    device = choose_device(config.device, int(os.environ.get("LOCAL_RANK", "0")))
    if device.type == "cuda":
        torch.cuda.set_device(device)
    if config.threads:
        torch.set_num_threads(config.threads)
    if config.batch_size < count:
        raise ValueError(f"batch_size={config.batch_size} leaves some of {count} processes without a pair; raise it")
    if count == 1:
        yield Processes(device=device)
        return
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo", init_method="env://")
    try:
        yield Processes(rank, count, device)
    finally:
        dist.destroy_process_group()


def sum_over(processes: Processes, tensor: Tensor) -> Tensor:
    """Sum a tensor over all processes, in place; every process gets the sum."""
    if processes.count > 1:
        dist.all_reduce(tensor)
    return tensor


def sum_all(processes: Processes, tensors: list[Tensor]) -> None:
    """Sum many tensors over all processes, in place, in one message."""
    if processes.count == 1 or not tensors:
        return
    flat = torch.cat([t.flatten() for t in tensors])
    dist.all_reduce(flat)
    for tensor, part in zip(tensors, flat.split([t.numel() for t in tensors]), strict=True):
        tensor.copy_(part.view_as(tensor))


def send_from_first(processes: Processes, tensors: Iterable[Tensor]) -> None:
    """Overwrite tensors, in place, with those of process 0."""
    if processes.count > 1:
        for tensor in tensors:
            dist.broadcast(tensor, src=0)


def number_from_first(processes: Processes, number: int) -> int:
    """Give every process the number that process 0 has."""
    tensor = torch.tensor(number, dtype=torch.int64, device=processes.device)
    send_from_first(processes, [tensor])
    return int(tensor)
