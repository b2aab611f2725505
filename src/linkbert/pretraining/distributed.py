"""Several processes that train as one: who I am, sums over all, who holds the weights, and how a run ends.

In: the environment that torchrun sets. Out: a DistributedContext, and sums in place. The main process alone writes
files, shards aside. Gradients are summed as one vector after the last micro-batch, not by DDP, whose buckets change
after the first step, and with them the last bit of a sum. What hosts tell each other goes over gloo, so that no GPU is
waited for. gloo is tested; nccl was never run by us on several GPUs.
"""

import json
import logging
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from types import FrameType
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from linkbert.config import Config
from linkbert.model.device import choose_device

CPU = torch.device("cpu")
# A process may keep the others waiting for so long: while it alone compiles (40 to 60 s on two quiet cores, 10 times
# that on busy ones), or the main process waits for a slow disk to take the checkpoint before (4 GB at 50 MB/s: 80 s).
TIMEOUT = timedelta(minutes=10)

T = TypeVar("T")

log = logging.getLogger(__name__)


@dataclass
class Stop:
    """Whether the run is asked to stop after this step; a signal that comes while it is `at_once` interrupts it."""

    should_stop: bool = False
    at_once: bool = False


@dataclass(frozen=True)
class DistributedContext:
    """This process among those of the run."""

    rank: int = 0
    world_size: int = 1
    device: torch.device = CPU
    stop: Stop = field(default_factory=Stop)

    @property
    def is_main_process(self) -> bool:
        """Whether this is the process that writes files."""
        return self.rank == 0


def count_cards() -> int:
    """Return how many GPUs this machine shows."""
    return torch.cuda.device_count()


@contextmanager
def join_processes(config: Config) -> Iterator[DistributedContext]:
    """Join the other processes of this run, if there are several; of those that fail, one alone says why."""
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    rank, local_rank = (int(os.environ.get(name, "0")) if world_size > 1 else 0 for name in ("RANK", "LOCAL_RANK"))
    if config.threads:
        torch.set_num_threads(config.threads)
    store = next(dist.rendezvous("env://", rank=rank, world_size=world_size))[0] if world_size > 1 else None
    try:
        device = choose_device(config.device, local_rank)
        if device.type == "cuda":
            torch.cuda.set_device(device)
        if config.batch_size < world_size:
            raise ValueError(f"batch_size must be >= {world_size}, a pair for each process, got {config.batch_size}")
        if store is not None:
            backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
            dist.init_process_group(backend, store=store, rank=rank, world_size=world_size, timeout=TIMEOUT)
        yield DistributedContext(rank, world_size, device)
        if store is not None:
            dist.barrier()
    except Exception as error:
        if store is None:
            raise
        with suppress(ValueError):  # torchrun's SIGTERM must not cut off the message; only the main thread can do this
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        reports = local_rank == 0  # where the store is gone with its machine, one process of every other machine does
        with suppress(RuntimeError, dist.DistError):
            reports = store.add("failed", 1) == 1
        if not reports:
            raise SystemExit(1) from error
        if isinstance(error, dist.DistError) or (type(error) is RuntimeError and "gloo" in str(error).lower()):
            text = "another process of this run ended or does not answer; resume from the last checkpoint with --resume"
            raise ValueError(text) from error
        raise
    finally:
        if dist.is_initialized():
            with suppress(Exception):
                dist.destroy_process_group()


def all_reduce(context: DistributedContext, tensor: Tensor) -> Tensor:
    """Sum a tensor over all processes, in place; every process gets the sum."""
    if context.world_size > 1:
        dist.all_reduce(tensor)
    return tensor


def gather(context: DistributedContext, numbers: Sequence[int], *, group: Any = None) -> list[list[int]]:
    """Return what each process gives, as many whole numbers as every other, by rank; it is a matter of hosts alone."""
    if context.world_size == 1:
        return [[*numbers]]
    own = torch.tensor(numbers)
    rows = [torch.empty_like(own) for _ in range(context.world_size)]
    dist.all_gather(rows, own, group=group)
    return [row.tolist() for row in rows]


def gather_in_thread(context: DistributedContext) -> Callable[[Sequence[int]], list[list[int]]]:
    """Return a `gather` for a thread: over a group of its own, since training uses the other one at the same time."""
    group = dist.new_group(backend="gloo", timeout=TIMEOUT) if context.world_size > 1 else None
    return partial(gather, context, group=group)


def broadcast(context: DistributedContext, tensors: Iterable[Tensor]) -> None:
    """Overwrite tensors, in place, with those of the main process."""
    if context.world_size > 1:
        for tensor in tensors:
            dist.broadcast(tensor, src=0)


def run_on_main(context: DistributedContext, function: Callable[[], T]) -> T:
    """Call a function in the main process and return its result in all; where it refuses, all stop.

    The others have it as JSON holds it: torch's own function would pickle.
    """
    if context.world_size == 1:
        return function()
    content, failure = b"", None
    try:
        content = json.dumps(function()).encode() if context.is_main_process else b""
    except (ValueError, OSError) as error:
        failure = error
    size = torch.tensor(len(content))
    broadcast(context, [size])
    if not size:
        raise failure or SystemExit(1)
    letters = torch.tensor(list(content or bytes(int(size))), dtype=torch.uint8)
    broadcast(context, [letters])
    return json.loads(bytes(letters.tolist()))  # type: ignore[no-any-return]


def sum_gradients(context: DistributedContext, model: nn.Module) -> None:
    """Sum gradients over all processes, in place; of a sharded model the last backward pass has done that.

    One vector holds them, 0 where there is none; the hosts count who has one. What every process lacks stays None.
    """
    if context.world_size == 1 or isinstance(model, FSDPModule):
        return
    parameters = [each for each in model.parameters() if each.requires_grad]
    counts = all_reduce(context, torch.tensor([each.grad is not None for each in parameters], dtype=torch.int64))
    parts = [torch.zeros_like(each) if each.grad is None else each.grad for each in parameters]
    vector_to_parameters(all_reduce(context, parameters_to_vector(parts)), parts)
    for parameter, part, count in zip(parameters, parts, counts.tolist(), strict=True):
        parameter.grad = part if count else None


def shard(model: nn.Module, context: DistributedContext, sharding: str) -> None:
    """Split a model's weights over processes, in place (FSDP2), as the setting `sharding` says: none, full or hybrid.

    Each process holds its rows of weights, gradients and moments; a layer is gathered, in fp32, before it computes and
    dropped after. With `hybrid` the processes of a machine share the rows, and machines sum their gradients.
    """
    world_size = context.world_size
    local = int(os.environ.get("LOCAL_WORLD_SIZE", world_size))  # processes of this machine
    if world_size == 1 or sharding == "none":
        return
    if torch.__version__ < "2.9":
        raise ValueError(f"sharding={sharding} needs torch 2.9 or later, this is {torch.__version__}; or sharding=none")
    if sharding == "hybrid" and world_size % local:
        raise ValueError(f"sharding=hybrid needs as many processes on every machine, got {world_size} by {local}")
    shape = (world_size // local, local) if sharding == "hybrid" else (world_size,)
    mesh = init_device_mesh(context.device.type, shape, mesh_dim_names=("machine", "rows")[-len(shape) :])
    for part in [*cast(Any, model.layers), model]:
        sharded = fully_shard(part, mesh=mesh)
        sharded.set_gradient_divide_factor(1.0)
        sharded.set_force_sum_reduction_for_comms(True)
    register_fsdp_forward_method(model, "predict")


def check_stop(context: DistributedContext) -> None:
    """Raise an InterruptedError, in all processes, where one of them is asked to stop."""
    if all_reduce(context, torch.tensor(float(context.stop.should_stop))):
        raise InterruptedError("the run is asked to stop")


@contextmanager
def stop_on_signals(context: DistributedContext) -> Iterator[Stop]:
    """Turn SIGINT, SIGTERM and SIGUSR1 into a request; a second SIGINT acts as usual. Only the main thread can do this.

    While `Stop.at_once` is set each is a KeyboardInterrupt: in the first step of a process that is alone, which may
    compile, there is nothing to save. A second SIGTERM does nothing: torchrun and Slurm both send one, and kill in the
    end what does not leave.
    """
    stop, before = context.stop, dict[signal.Signals, Any]()
    stop.at_once = context.world_size == 1

    def request(number: int, _: FrameType | None) -> None:
        if stop.at_once:
            stop.should_stop = True  # the interrupt may be lost: in a callback of the compiler, Python only prints it
            raise KeyboardInterrupt
        if not stop.should_stop:
            log.warning("stopping at %s: a checkpoint is written first", signal.Signals(number).name)
        stop.should_stop = True
        if number == signal.SIGINT:
            signal.signal(number, before[signal.SIGINT])

    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
            before[number] = signal.getsignal(number)
            signal.signal(number, request)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
