"""Many processes that train as one: who I am, sums over all, who holds the weights, and how a run ends.

In: the environment that torchrun sets (RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR), or Slurm's where MASTER_ADDR is
given. Out: a Processes record, sums in place, and the module that a step calls in the model's place. Every process
takes its slice of the global batch; gradients are summed with the last micro-batch, so that the update does not depend
on how many there are. Process 0 alone writes files, shards aside; what it read is sent to the others.

What torch would do otherwise, and why not here: DDP lays its buckets out anew after the first step, in the order in
which gradients came, and a sum over four processes depends on that layout in its last bit; so a resumed run would not
be the unbroken one. Told to look for unused parameters, it keeps the first layout. And gradients are to be summed, not
averaged, as the losses are divided by global counts already: FSDP2 is told so, DDP's mean is multiplied (`averaged`).

A process that ends tells the others: one line for all of them. Of one that is killed, or whose machine vanishes, the
neighbour hears no heartbeat; one that crashes, or hangs with the interpreter's lock held, prints where. Backends: gloo
on CPUs, tested; nccl on CUDA, written and never run by us.
"""

from __future__ import annotations

import faulthandler
import json
import logging
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from datetime import timedelta
from types import FrameType
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method
from torch.nn.parallel import DistributedDataParallel

from linkbert.config import Config

CPU = torch.device("cpu")
BEAT = 1.0  # seconds between signs of life
SILENCE = 45.0  # seconds without one, after which a process counts as dead: a long compilation may hold a thread up
GRACE = 10.0  # seconds in which a process whose run is over may leave by itself

KEPT: list[Any] = []  # the last group of processes

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Processes:
    """This process among those of the run; `node` is how many share its machine, `store` where they leave words."""

    rank: int = 0
    count: int = 1
    device: torch.device = CPU
    node: int = 1
    store: dist.Store | None = None

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
    if device.type not in ("cpu", "cuda") or name.startswith("cpu:"):
        raise ValueError(f"device={name} is not known; it must be auto, cpu, cuda or cuda:N")
    if device.type == "cuda" and (not torch.cuda.is_available() or (device.index or 0) >= torch.cuda.device_count()):
        raise ValueError(f"device={name} is not there; this machine has {torch.cuda.device_count()} CUDA devices")
    return device


def place(environment: Mapping[str, str]) -> dict[str, str]:
    """Give RANK, WORLD_SIZE, LOCAL_RANK and LOCAL_WORLD_SIZE: torchrun's, or Slurm's for a task that srun started.

    >>> place({"MASTER_ADDR": "node1", "SLURM_PROCID": "5", "SLURM_NTASKS": "10", "SLURM_LOCALID": "1",
    ...        "SLURM_TASKS_PER_NODE": "4,3(x2)"})
    {'RANK': '5', 'WORLD_SIZE': '10', 'LOCAL_RANK': '1', 'LOCAL_WORLD_SIZE': '4'}
    """
    found = {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0"}
    names = dict(zip(found, ("SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID"), strict=True))
    slurm = "WORLD_SIZE" not in environment and "MASTER_ADDR" in environment and "SLURM_PROCID" in environment
    found |= {name: environment.get(names[name] if slurm else name, value) for name, value in found.items()}
    tasks = re.split("[(,]", environment.get("SLURM_TASKS_PER_NODE", ""))[0] if slurm else ""
    return found | {"LOCAL_WORLD_SIZE": environment.get("LOCAL_WORLD_SIZE", tasks or found["WORLD_SIZE"])}


@contextmanager
def processes(config: Config) -> Iterator[Processes]:
    """Join the other processes of this run, if several were started; leave them at the end, all together.

    Of those that fail, the first raises its error, the others SystemExit without a word.
    """
    found = place(os.environ)
    if odd := [f"{name}={value}" for name, value in found.items() if not value.isdecimal()]:
        raise ValueError(f"{odd[0]} in the environment is not a number; unset it, or start with torchrun")
    rank, count, local_rank, node = map(int, found.values())
    if config.threads:
        torch.set_num_threads(config.threads)
    if count == 1:
        yield Processes(device=use_device(config.device))
        return
    os.environ.setdefault("MASTER_PORT", "29500")
    faulthandler.enable()
    store, _, _ = next(dist.rendezvous("env://", rank=rank, world_size=count))
    watch = Watch(store.clone(), rank, count)
    try:
        device = use_device(config.device, local_rank)
        if config.batch_size < count:
            raise ValueError(
                f"batch_size={config.batch_size} leaves some of {count} processes without a pair; raise it"
            )
        backend = "nccl" if device.type == "cuda" else "gloo"
        dist.init_process_group(backend, store=store, rank=rank, world_size=count, timeout=timedelta(minutes=30))
        # DDP must not be the last to let go of the group: it would wait for gloo's threads with the interpreter's lock
        # held, and they may wait for that lock to free a tensor. The group itself lets go of the lock first.
        KEPT[:] = [dist.group.WORLD]
        yield Processes(rank, count, device, node, store.clone())
        watch.leaving = True
        dist.barrier()
    except Exception as error:
        with suppress(ValueError):  # torchrun's SIGTERM shall not cut the last word off; only the main thread can
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if not watch.speaks():
            raise SystemExit(1) from error
        if isinstance(error, dist.DistError) or (type(error) is RuntimeError and "gloo" in str(error)):
            raise ValueError(lost("another process")) from error
        raise
    finally:
        watch.stop()
        with suppress(Exception):
            dist.destroy_process_group()


def use_device(name: str, local_rank: int = 0) -> torch.device:
    """Choose this process's device and make it the current one."""
    device = choose_device(name, local_rank)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    return device


def lost(who: str) -> str:
    """Say that a process is gone."""
    return f"{who} of this run is gone (killed, or cut off); go on from the last checkpoint with --resume"


class Watch:
    """A thread that gives a sign of life every BEAT seconds and listens for that of the next process.

    It ends this process where the main thread cannot, as it waits for one that is gone. The store is torchrun's, or
    lives in process 0 and goes with it. A silence is counted in beats of one's own, not by the clock: after a pause of
    all (a machine suspended, a job held by its scheduler) nobody may take the neighbour, not yet awake, for dead.
    """

    def __init__(self, store: dist.Store, rank: int, count: int) -> None:
        self.store, self.rank, self.next = store, rank, (rank + 1) % count
        self.leaving = self.told = False
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
        self.thread.start()

    def speaks(self) -> bool:
        """Tell whether this is the process that tells the user what happened: the first that asks."""
        if self.told:
            return False
        self.told = True
        try:
            first = self.store.add("told", 1) == 1
        except (RuntimeError, dist.DistError):  # the store went with process 0
            return self.rank == 1
        if first and self.rank == 0 and "TORCHELASTIC_RUN_ID" not in os.environ:
            time.sleep(2 * BEAT)  # until the others have seen it in this process's store
        return first

    def stop(self) -> None:
        """End the thread."""
        self.ended.set()
        self.thread.join(BEAT)
        faulthandler.cancel_dump_traceback_later()

    def _beat(self) -> None:
        silent, beats = 0, -1
        while not self.ended.wait(BEAT):
            faulthandler.dump_traceback_later(SILENCE)  # unless the next beat comes before
            who = f"process {self.next}"
            try:
                self.store.add(f"alive/{self.rank}", 1)
                now = self.store.add(f"alive/{self.next}", 0)
                over = self.store.add("told", 0) > 0
            except (RuntimeError, dist.DistError):
                if self.leaving:
                    return
                over, now, who = True, beats, "process 0"
            else:
                self.told |= over
            silent, beats = (silent + 1 if now == beats else 0), now
            if over or silent * BEAT > SILENCE:
                if over and self.ended.wait(GRACE):
                    return
                if self.speaks():
                    print(f"linkbert: {lost(who)}", file=sys.stderr, flush=True)  # noqa: T201
                os._exit(1)


def sum_over(processes: Processes, tensor: Tensor) -> Tensor:
    """Sum a tensor over all processes, in place; every process gets the sum."""
    if processes.count > 1:
        dist.all_reduce(tensor)
    return tensor


def send_from_first(processes: Processes, tensors: Iterable[Tensor]) -> None:
    """Overwrite tensors, in place, with those of process 0."""
    if processes.count > 1:
        for tensor in tensors:
            dist.broadcast(tensor, src=0)


def value_from_first(processes: Processes, value: Any) -> Any:
    """Give every process what process 0 has; it must be what JSON can hold."""
    if processes.count == 1:
        return value
    text = json.dumps(value).encode() if processes.first else b""
    size = torch.tensor(len(text), device=processes.device)
    send_from_first(processes, [size])
    letters = torch.zeros(int(size), dtype=torch.uint8, device=processes.device)
    if text:
        letters.copy_(torch.frombuffer(bytearray(text), dtype=torch.uint8))
    send_from_first(processes, [letters])
    return json.loads(bytes(letters.cpu().tolist()))


def spread(model: nn.Module, processes: Processes, sharding: str) -> nn.Module:
    """Give the module that a step calls: the model itself, or (sharding none) one that sums its gradients, DDP.

    With `full` or `hybrid` the model is changed in place, FSDP2: of every layer, and of what is no layer, each process
    holds its rows of weights, gradients and moments; what it computes with is gathered before and dropped after. Of
    `hybrid` the processes of a machine share the rows, and machines sum their gradients. Weights are gathered in fp32,
    as the run's arithmetic casts them itself.
    """
    if processes.count == 1:
        return model
    if sharding == "none":
        options: dict[str, Any] = {"find_unused_parameters": True, "gradient_as_bucket_view": True, "init_sync": False}
        return DistributedDataParallel(WithUnused(model), **options)
    if sharding == "hybrid" and processes.count % processes.node:
        raise ValueError(
            f"sharding=hybrid wants as many processes on every machine, not {processes.count} by {processes.node}"
        )
    shape = (processes.count // processes.node, processes.node) if sharding == "hybrid" else (processes.count,)
    mesh = init_device_mesh(processes.device.type, shape, mesh_dim_names=("machine", "rows")[-len(shape) :])
    layers: Any = model.layers
    for part in [*layers, model]:
        sharded = fully_shard(part, mesh=mesh)
        sharded.set_gradient_divide_factor(1.0)
        sharded.set_force_sum_reduction_for_comms(True)
    register_fsdp_forward_method(model, "predict")
    return model


class WithUnused(nn.Module):
    """A model beside a parameter that nothing uses: DDP, looking for unused ones, warns where it finds none."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model, self.unused = model, nn.Parameter(torch.zeros(1, device=next(model.parameters()).device))

    def forward(self, *inputs: Any) -> Any:
        """Call the model."""
        return self.model(*inputs)


def averaged(module: nn.Module) -> int:
    """Tell what gradients were divided by when they were summed: DDP gives the mean over its processes.

    A hook that sums would be Python's, and have gloo's threads wait for the interpreter's lock.
    """
    return dist.get_world_size() if isinstance(module, DistributedDataParallel) else 1


@contextmanager
def summing(module: nn.Module, last: bool) -> Iterator[None]:
    """Run a forward and backward pass; gradients are summed over the processes with the `last` of a step."""
    if isinstance(module, FSDPModule):
        module.set_requires_gradient_sync(last)
    with module.no_sync() if isinstance(module, DistributedDataParallel) and not last else nullcontext():
        yield


@contextmanager
def gathered(model: nn.Module) -> Iterator[None]:
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
    """Whether somebody asked the run to stop: a signal, or the end of a Slurm job that is `margin` seconds off."""

    def __init__(self, margin: float = 0.0) -> None:
        self.asked = False
        self.end = float(os.environ.get("SLURM_JOB_END_TIME", "inf")) - margin

    @property
    def wanted(self) -> bool:
        """Whether to stop now."""
        if not self.asked and time.time() >= self.end:
            log.warning("stopping as the Slurm job ends soon: a checkpoint is written first")
            self.asked = True
        return self.asked


@contextmanager
def stop_on_signals(margin: float = 0.0) -> Iterator[Stop]:
    """Turn SIGINT, SIGTERM and SIGUSR1 into a wish; a second SIGINT acts as usual. Only the main thread can do this.

    A second SIGTERM does nothing: torchrun and Slurm both send one, and kill in the end what does not leave.
    """
    stop = Stop(margin)
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)}

    def wish(number: int, _: FrameType | None) -> None:
        if not stop.asked:
            log.warning("stopping at %s: a checkpoint is written first", signal.Signals(number).name)
        stop.asked = True
        if number == signal.SIGINT:
            signal.signal(number, before[signal.SIGINT])

    for number in before:
        signal.signal(number, wish)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
