"""One function over many shards: in this process, in several, or on a Dask cluster.

Shards and a `concurrent.futures.Executor` come in; nothing goes out but files, each renamed when whole, so that a
stage can stop anywhere and be run again. Shards are taken from their iterator only as workers become free: what a
planner cuts out of a stream stays a bounded amount of memory.
"""

from __future__ import annotations

import errno
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
from typing import Any, TypeVar

Item = TypeVar("Item")
KEPT = "run the same command again (finished shards are kept)"
KILLED = f"a worker was killed, perhaps for want of memory: use fewer workers, and {KEPT}"


def run_shards(
    function: Callable[[Item], Any],
    items: Iterable[Item],
    executor: Executor,
    *,
    done: Callable[[Item], bool] | None = None,
    progress: Callable[[Item], None] | None = None,
    at_once: int | None = None,
) -> None:
    """Run `function(item)` for every item that is not `done`, and call `progress(item)` for each finished one.

    Two items a worker are in flight, and at most `at_once` on this machine. The first error stops the run once the
    shards in flight have ended, and is raised here; a killed worker and a full disk are a ValueError of one line.
    Ctrl-C ends this machine's workers at once.
    """
    flying: dict[Future[Any], Item] = {}
    landed: SimpleQueue[Future[Any]] = SimpleQueue()  # unlike `wait`, Ctrl-C leaves none of its locks taken
    report = progress or (lambda _: None)
    room = 1 if isinstance(executor, _ThisProcess) else 2 * getattr(executor, "workers", os.cpu_count() or 1)
    if at_once and isinstance(executor, _Processes):
        room = min(room, at_once)

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
    except (KeyboardInterrupt, BrokenProcessPool) as error:
        if isinstance(executor, _Processes):
            for process in [*executor._processes.values()]:
                process.kill()
            wait(flying)  # its thread fails on a future that is cancelled while it reports the dead to all
        if isinstance(error, KeyboardInterrupt):
            raise
        raise ValueError(KILLED) from None
    except CancelledError:
        raise ValueError(f"the Dask cluster is gone: start it and {KEPT}") from None
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        place = f" ({error.filename})" if error.filename else ""
        raise ValueError(f"the disk is full{place}: make room and {KEPT}") from None
    except Exception as error:
        if type(error).__name__ != "KilledWorker":  # Dask's word, after it has tried it on several workers
            raise
        raise ValueError(KILLED) from None
    finally:
        # A cancelled one is not waited for: who would notify the waiting may be gone (Dask, after an error).
        wait([future for future in flying if not future.cancel()])


def make_executor(workers: int = 1, dask: str | None = None) -> Executor:
    """Make an Executor: this process itself for one worker, new processes for more, a Dask cluster for an address.

    Use it in a `with` block. Processes are spawned, not forked, so threads of this one (a progress bar, torch) are
    safe; they end when this one does, even by kill -9.
    """
    if dask is not None:
        return _connect(dask)
    if workers < 1:
        raise ValueError(f"workers must be >= 1, got {workers}")
    return _ThisProcess() if workers == 1 else _Processes(workers)


class _ThisProcess(Executor):
    """Runs a call where it is submitted."""

    workers = 1

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
        self.workers = workers

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # a new process inherits this
        try:
            return super().submit(function, *args, **kwargs)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _follow_parent() -> None:
    # A worker whose parent was killed would wait for work for ever, and finish a shard that a second run makes too.
    def watch() -> None:
        parent = multiprocessing.parent_process()
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _connect(address: str) -> Executor:
    try:
        from distributed import Client
        from distributed.cfexecutor import ClientExecutor
    except ImportError:
        raise ValueError("--dask needs the package distributed: pip install 'linkbert[dask]'") from None
    try:
        logging.getLogger("distributed").setLevel(logging.CRITICAL)  # what goes wrong is said in one line
        client = Client(address)
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(
            f"no Dask scheduler answers at {address} ({reason}); start one with `dask scheduler`"
        ) from None

    class Cluster(ClientExecutor):  # type: ignore[misc] # distributed has no types
        workers = max(1, sum(client.ncores().values()))

        def shutdown(self, wait: bool = True, **_: Any) -> None:
            super().shutdown(wait)
            client.close()

    return Cluster(client, pure=False)
