"""One function over many shards: in this process, in several, or on a Dask cluster.

Nothing comes back but files, each renamed when whole, so that a stage can be run again. Shards are taken from their
iterator only as workers become free: what a planner cuts out of a stream stays bounded in memory.
"""

import logging
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import CancelledError, Executor, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import resource_tracker
from queue import SimpleQueue
from typing import Any, TypeVar, cast

from linkbert.files import FULL, KEPT
from linkbert.progress import LogLine, start_soon

Item = TypeVar("Item")


def run_shards(
    function: Callable[[Item], Any],
    items: Iterable[Item],
    executor: Executor,
    *,
    done: Callable[[Item], bool] | None = None,
    progress: Callable[[Item], None] | None = None,
) -> None:
    """Run `function(item)` for every item that is not `done`, and call `progress(item)` for each finished one.

    Two items a worker are in flight. The first error stops the run once the shards in flight have ended, and is raised
    here; a killed worker and a full disk are a ValueError of one line. Ctrl-C ends this machine's workers at once.
    """
    flying: dict[Future[Any], Item] = {}
    landed: SimpleQueue[Future[Any]] = SimpleQueue()  # unlike `wait`, Ctrl-C leaves none of its locks taken
    report = progress or (lambda _: None)
    room = getattr(executor, "in_flight", 2 * (os.cpu_count() or 1))

    def land(most: int) -> None:
        while len(flying) > most:
            future = landed.get()
            item = flying.pop(future)
            future.result()
            report(item)

    try:
        for item in items:
            if done and done(item):
                report(item)
                continue
            future = executor.submit(function, item)
            flying[future] = item
            future.add_done_callback(landed.put)
            land(room - 1)
        land(0)
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt | BrokenProcessPool) and isinstance(executor, _Processes):
            for process in [*executor._processes.values()]:
                process.terminate()  # a training writes a checkpoint, all else dies
            wait(flying)  # its thread fails on a future that is cancelled while it reports the dead to all
        if said := _explain(error):
            raise ValueError(f"{said} {KEPT}") from None
        raise
    finally:
        # A cancelled one is not waited for: who would notify the waiting may be gone (Dask, after an error).
        wait([future for future in flying if not future.cancel()])


def _explain(error: BaseException) -> str:
    """Say in one line what stopped a run, and what to do before it is run again; "" for an error of the function."""
    if isinstance(error, BrokenProcessPool) or type(error).__name__ == "KilledWorker":  # Dask's, after several tries
        return 'a worker was killed (no memory, or a script lacks `if __name__ == "__main__"`): use fewer workers, and'
    if isinstance(error, CancelledError):
        return "the Dask cluster is gone: start it and"
    if isinstance(error, OSError) and error.errno in FULL:
        return f"the disk is full{f' ({error.filename})' * bool(error.filename)}: make room and"
    return ""


def make_executor(workers: int = 1, dask: str | None = None) -> Executor:
    """Make an Executor: this process itself for one worker, new processes for more, a Dask cluster for an address.

    Use it in a `with` block. Processes are spawned, not forked, so threads of this one (a progress bar, torch) are
    safe; they end when this one does, even by kill -9.
    """
    if dask is not None:
        return _connect(dask)
    if not isinstance(workers, int) or workers < 1:
        raise ValueError(f"workers must be an integer >= 1, got {workers!r}")
    return _ThisProcess() if workers == 1 else _Processes(workers)


class _ThisProcess(Executor):
    """Runs a call where it is submitted."""

    workers = in_flight = 1

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(function(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


class _Processes(ProcessPoolExecutor):
    """Processes that never hear Ctrl-C, also not while they start: the parent hears it and ends them."""

    def __init__(self, workers: int) -> None:
        resource_tracker.ensure_running()  # else the first worker starts it, which lets signals through
        super().__init__(workers, multiprocessing.get_context("spawn"), _follow_parent)
        self.workers, self.in_flight = workers, 2 * workers  # the workers of this machine, which threads may be, too

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # a new process inherits this
        try:
            return super().submit(_in_worker, function, *args, **kwargs)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _in_worker(function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    """Call a function; an interruption ends this worker, which would else take the next shard."""
    try:
        return function(*args, **kwargs)
    except KeyboardInterrupt:
        os._exit(1)


def _follow_parent() -> None:
    """End this worker with its parent, even a killed one: it would finish a shard that a second run makes too.

    What it logs is written as the parent writes it.
    """

    def watch() -> None:
        if parent := multiprocessing.parent_process():
            parent.join()
            os._exit(1)

    cast(Any, threading.Thread).start = start_soon
    threading.Thread(target=watch, daemon=True).start()
    if logging.lastResort:
        logging.lastResort.setFormatter(LogLine("linkbert: %(message)s"))


def _connect(address: str) -> Executor:
    try:
        from distributed import Client
        from distributed.cfexecutor import ClientExecutor
    except ImportError:
        raise ValueError("--dask needs the package distributed: pip install 'linkbert[dask]'") from None
    for name in ("distributed", "tornado.application"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # what goes wrong is said in one line
    try:
        client = Client(address)
    except (OSError, ValueError) as error:
        reason = f"{address} ({str(error).splitlines()[0]})"
        raise ValueError(f"no Dask scheduler answers at {reason}; start one with `dask scheduler`") from None

    class Cluster(ClientExecutor):  # type: ignore[misc] # distributed has no types
        in_flight = 2 * max(1, sum(client.ncores().values()))
        elsewhere = {*client.run(os.getcwd).values()} - {os.getcwd()}  # where a relative path is another one

        def shutdown(self, wait: bool = True, **_: Any) -> None:
            super().shutdown(wait)
            client.close()

    return Cluster(client, pure=False)
