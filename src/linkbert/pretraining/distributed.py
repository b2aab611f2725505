"""Several processes that train as one: who I am, sums over all, who holds the weights, and how a run ends.

In: the environment that torchrun sets (RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR). Out: a DistributedContext, sums in
place, and the module that a step calls in the model's place. Every process takes its slice of the global batch;
gradients are summed with the last micro-batch, so that the update does not depend on the number of processes. The main
process alone writes files, shards aside; what it read is broadcast to the others.

What torch would do otherwise, and why not here: DDP lays out its buckets again after the first step, in the order in
which gradients came, and a sum over four processes depends on that layout in its last bit; so a resumed run would not
equal the unbroken one. With a search for unused parameters it keeps the first layout. And gradients are summed, not
averaged, as the losses are divided by global counts already: FSDP2 has a setting for that, DDP's mean is multiplied
(`gradient_divisor`).

A process that fails prints one line; the others end without one. Where a process is killed, its connections break (or
torchrun stops the others); where it hangs or its machine vanishes, the others wait for TIMEOUT. Backends: gloo on CPUs,
tested; nccl on CUDA, written and never run by us on more than one GPU.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from datetime import timedelta
from types import FrameType
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method
from torch.nn.parallel import DistributedDataParallel

from linkbert.config import Config
from linkbert.model.device import choose_device

CPU = torch.device("cpu")
# A process may keep the others waiting for so long: while it alone compiles (40 to 60 s on two quiet cores, 10 times
# that on busy ones), or the main process waits for a slow disk to take the checkpoint before (4 GB at 50 MB/s: 80 s).
TIMEOUT = timedelta(minutes=10)

T = TypeVar("T")
KEPT: list[Any] = []  # the last process group

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class DistributedContext:
    """This process among those of the run; `local_world_size` processes share its machine."""

    rank: int = 0
    world_size: int = 1
    device: torch.device = CPU
    local_world_size: int = 1

    @property
    def is_main_process(self) -> bool:
        """Whether this is the process that writes files."""
        return self.rank == 0


def read_launch_env(environment: Mapping[str, str]) -> tuple[int, int, int, int]:
    """Read rank, world size, local rank and local world size as torchrun sets them; one process where there are none.

    A task that srun started without torchrun is a ValueError, as each would train on its own.

    >>> read_launch_env({"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4"})
    (5, 8, 1, 4)
    """
    found = {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": environment.get("WORLD_SIZE", "1")}
    found |= {name: environment.get(name, value) for name, value in found.items()}
    if wrong := [f"{name}={value}" for name, value in found.items() if not value.isdecimal()]:
        raise ValueError(f"{wrong[0]} in the environment is not a number; unset it, or start with torchrun")
    if "WORLD_SIZE" not in environment and environment.get("SLURM_PROCID", "0") != "0":
        raise ValueError("srun started several tasks without torchrun; start with srun torchrun (docs/training.md)")
    rank, world_size, local_rank, local_world_size = map(int, found.values())
    return rank, world_size, local_rank, local_world_size


@contextmanager
def join_processes(config: Config) -> Iterator[DistributedContext]:
    """Join the other processes of this run, if several were started; leave them at the end, all together.

    Of those that fail, the first raises its error, the others SystemExit without a message.
    """
    rank, world_size, local_rank, local_world_size = read_launch_env(os.environ)
    if config.threads:
        torch.set_num_threads(config.threads)
    if world_size == 1:
        yield DistributedContext(device=use_device(config.device))
        return
    store, _, _ = next(dist.rendezvous("env://", rank=rank, world_size=world_size))
    try:
        device = use_device(config.device, local_rank)
        if config.batch_size < world_size:
            raise ValueError(
                f"batch_size={config.batch_size} leaves some of {world_size} processes without a pair; raise it"
            )
        backend = "nccl" if device.type == "cuda" else "gloo"
        dist.init_process_group(backend, store=store, rank=rank, world_size=world_size, timeout=TIMEOUT)
        # DDP must not be the last to let go of the group: it would wait for gloo's threads with the interpreter's lock
        # held, and they may wait for that lock to free a tensor. The group itself lets go of the lock first.
        KEPT[:] = [dist.group.WORLD]
        yield DistributedContext(rank, world_size, device, local_world_size)
        dist.barrier()
    except Exception as error:
        with suppress(ValueError):  # torchrun's SIGTERM must not cut off the message; only the main thread can do this
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if not reports_failure(store, local_rank):
            raise SystemExit(1) from error
        if isinstance(error, dist.DistError) or (type(error) is RuntimeError and "gloo" in str(error).lower()):
            raise ValueError(
                "another process of this run ended or does not answer; resume from the last checkpoint with --resume"
            ) from error
        raise
    finally:
        with suppress(Exception):
            dist.destroy_process_group()


def use_device(name: str, local_rank: int = 0) -> torch.device:
    """Choose this process's device and make it the current one."""
    device = choose_device(name, local_rank)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    return device


def reports_failure(store: dist.Store, local_rank: int) -> bool:
    """Return whether this process prints why the run failed: the first that asks torchrun's store.

    Where the store is gone with its machine, one process of every other machine does.
    """
    try:
        return store.add("failed", 1) == 1
    except (RuntimeError, dist.DistError):
        return local_rank == 0


def all_reduce(context: DistributedContext, tensor: Tensor) -> Tensor:
    """Sum a tensor over all processes, in place; every process gets the sum."""
    if context.world_size > 1:
        dist.all_reduce(tensor)
    return tensor


def broadcast(context: DistributedContext, tensors: Iterable[Tensor]) -> None:
    """Overwrite tensors, in place, with those of the main process."""
    if context.world_size > 1:
        for tensor in tensors:
            dist.broadcast(tensor, src=0)


def broadcast_object(context: DistributedContext, value: Any) -> Any:
    """Return what the main process has, in every process; it must be what JSON can hold."""
    if context.world_size == 1:
        return value
    text = json.dumps(value).encode() if context.is_main_process else b""
    size = torch.tensor(len(text), device=context.device)
    broadcast(context, [size])
    letters = torch.zeros(int(size), dtype=torch.uint8, device=context.device)
    if text:
        letters.copy_(torch.frombuffer(bytearray(text), dtype=torch.uint8))
    broadcast(context, [letters])
    return json.loads(bytes(letters.cpu().tolist()))


def run_on_main(context: DistributedContext, function: Callable[[], T]) -> T | None:
    """Call a function in the main process and return its result there; where it refuses, all processes stop."""
    result, failure = None, None
    if context.is_main_process:
        try:
            result = function()
        except (ValueError, OSError) as error:
            failure = error
    if broadcast_object(context, failure is not None):
        raise failure or SystemExit(1)
    return result


def parallelize(model: nn.Module, context: DistributedContext, sharding: str) -> nn.Module:
    """Return the module that a step calls: the model itself, or (sharding none) DDP around it.

    With `full` or `hybrid` the model is changed in place, FSDP2: of every layer, and of what is no layer, each process
    holds its rows of weights, gradients and moments; what it computes with is gathered before and dropped after. With
    `hybrid` the processes of a machine share the rows, and machines sum their gradients. Weights are gathered in fp32,
    as the run's arithmetic casts them itself.
    """
    world_size, local = context.world_size, context.local_world_size
    if world_size == 1:
        return model
    if sharding == "none":
        options: dict[str, Any] = {"find_unused_parameters": True, "gradient_as_bucket_view": True, "init_sync": False}
        return DistributedDataParallel(WithUnused(model), **options)
    if sharding == "hybrid" and world_size % local:
        raise ValueError(f"sharding=hybrid needs as many processes on every machine, got {world_size} by {local}")
    shape = (world_size // local, local) if sharding == "hybrid" else (world_size,)
    mesh = init_device_mesh(context.device.type, shape, mesh_dim_names=("machine", "rows")[-len(shape) :])
    layers: Any = model.layers
    for part in [*layers, model]:
        sharded = fully_shard(part, mesh=mesh)
        sharded.set_gradient_divide_factor(1.0)
        sharded.set_force_sum_reduction_for_comms(True)
    register_fsdp_forward_method(model, "predict")
    return model


class WithUnused(nn.Module):
    """A model with a parameter that nothing uses: DDP, looking for unused ones, warns where it finds none."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model, self.unused = model, nn.Parameter(torch.zeros(1, device=next(model.parameters()).device))

    def forward(self, *inputs: Any) -> Any:
        """Call the model."""
        return self.model(*inputs)


def gradient_divisor(module: nn.Module) -> int:
    """Return what gradients were divided by when they were summed: DDP gives the mean over its processes.

    A hook that sums would be Python's, and have gloo's threads wait for the interpreter's lock.
    """
    return dist.get_world_size() if isinstance(module, DistributedDataParallel) else 1


@contextmanager
def no_sync(module: nn.Module, enabled: bool = True) -> Iterator[None]:
    """Run a forward and backward pass without summing gradients over the processes, where `enabled`."""
    if isinstance(module, FSDPModule):
        module.set_requires_gradient_sync(not enabled)
    with module.no_sync() if isinstance(module, DistributedDataParallel) and enabled else nullcontext():
        yield


@contextmanager
def unsharded(model: nn.Module) -> Iterator[None]:
    """Hold all weights of a sharded model while it is only read, so that processes need not make as many passes."""
    parts = [part for part in model.modules() if isinstance(part, FSDPModule)]
    for part in parts:
        part.unshard()
        part.set_reshard_after_forward(False, recurse=False)
    try:
        yield
    finally:
        for part in parts:
            part.reshard()
            part.set_reshard_after_forward(part is not model, recurse=False)


class Stop:
    """Whether the run is asked to stop: by a signal, or as the end of a Slurm job is `margin` seconds away."""

    def __init__(self, margin: float = 0.0, *, at_once: bool = False) -> None:
        self.asked, self.at_once = False, at_once
        self.end = float(os.environ.get("SLURM_JOB_END_TIME", "inf")) - margin

    @property
    def should_stop(self) -> bool:
        """Whether to stop now."""
        if not self.asked and time.time() >= self.end:
            log.warning("stopping as the Slurm job ends soon: a checkpoint is written first")
            self.asked = True
        return self.asked


@contextmanager
def stop_on_signals(margin: float = 0.0, *, at_once: bool = False) -> Iterator[Stop]:
    """Turn SIGINT, SIGTERM and SIGUSR1 into a request; a second SIGINT acts as usual. Only the main thread can do this.

    While `Stop.at_once` is set each of them is a KeyboardInterrupt: in a first step, which may compile for a minute,
    there is nothing to save. A second SIGTERM does nothing: torchrun and Slurm both send one, and kill in the end what
    does not leave.
    """
    stop = Stop(margin, at_once=at_once)
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)}

    def request(number: int, _: FrameType | None) -> None:
        if stop.at_once:
            raise KeyboardInterrupt
        if not stop.asked:
            log.warning("stopping at %s: a checkpoint is written first", signal.Signals(number).name)
        stop.asked = True
        if number == signal.SIGINT:
            signal.signal(number, before[signal.SIGINT])

    for number in before:
        signal.signal(number, request)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
