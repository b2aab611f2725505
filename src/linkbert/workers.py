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
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, CancelledError, Executor, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import resource_tracker
from typing import Any, TypeVar

Item = TypeVar("Item")
DEATHS = 2  # of workers that had a shard in hand, after which it is tried no more
KILLED = (
    "a worker was killed again and again, perhaps for want of memory: run the same command again with fewer workers "
    "(finished shards are kept)"
)


def run_shards(
    function: Callable[[Item], Any],
    items: Iterable[Item],
    executor: Executor,
    *,
    done: Callable[[Item], bool] | None = None,
    progress: Callable[[Item], None] | None = None,
    at_once: int | None = None,
) -> None:
    """Run `function(item)` for every item that is not `done`; `progress(item)` is told of each one that is finished.

    At most two items a worker wait at any time, and at most `at_once` are in flight on this machine. A worker that dies
    is replaced and what it had in hand is made again, a few times; then that is an error. The first error stops the run
    once the shards in flight have ended, and is raised here; a full disk and a worker killed again and again are a
    ValueError of one line.
    """
    flying: dict[Future[Any], tuple[Item, int]] = {}  # the item, and how often it was in the hands of a dying worker
    room = _room(executor)
    if at_once is not None and not isinstance(executor, _Cluster):
        room = min(room, at_once)
    with _noted_interrupts(executor) as interrupted:

        def land(most: int) -> None:
            while len(flying) > most:
                for future in wait(flying, timeout=0.5, return_when=FIRST_COMPLETED).done:
                    item, deaths = flying.pop(future)
                    try:
                        future.result()
                    except BrokenProcessPool:
                        if deaths == DEATHS or not isinstance(executor, _Workers):
                            raise
                        flying[executor.submit(function, item)] = item, deaths + 1
                        continue
                    if progress is not None:
                        progress(item)
                if interrupted():
                    raise KeyboardInterrupt

        try:
            for item in items:
                if done is not None and done(item):
                    if progress is not None:
                        progress(item)
                else:
                    flying[executor.submit(function, item)] = item, 0
                    land(room - 1)
            land(0)
        except BrokenProcessPool:
            raise ValueError(KILLED) from None
        except CancelledError:
            raise ValueError("the Dask cluster is gone: start it and run the same command again") from None
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            place = f" ({error.filename})" if error.filename else ""
            raise ValueError(
                f"the disk is full{place}: make room and run the same command again (finished shards are kept)"
            ) from None
        except Exception as error:
            if type(error).__name__ != "KilledWorker":  # Dask's word, after it has tried it on several workers
                raise
            raise ValueError(KILLED) from None
        finally:
            # A cancelled one is not waited for: who would notify the waiting may be gone (Dask, after an error).
            wait([future for future in flying if not future.cancel()])


@contextmanager
def _noted_interrupts(executor: Executor) -> Iterator[Callable[[], bool]]:
    """Note Ctrl-C for whoever asks, where work is elsewhere; a second one acts as usual.

    An exception out of nowhere can leave a lock of concurrent.futures in a state that nobody gets out of.
    """
    usual = signal.getsignal(signal.SIGINT)
    here = threading.current_thread() is threading.main_thread() and usual is signal.default_int_handler
    if isinstance(executor, _ThisProcess) or not here:
        yield lambda: False
        return
    noted = False

    def note(*_: Any) -> None:
        nonlocal noted
        noted = True
        signal.signal(signal.SIGINT, usual)

    signal.signal(signal.SIGINT, note)
    try:
        yield lambda: noted
    finally:
        signal.signal(signal.SIGINT, usual)


def make_executor(workers: int = 1, dask: str | None = None) -> Executor:
    """Give an Executor: this process itself for one worker, new processes for more, a Dask cluster for an address.

    Use it in a `with` block. Processes are spawned, not forked, so threads of this one (a progress bar, torch) are
    safe; they end when this one does, even by kill -9.
    """
    if dask is not None:
        try:
            from distributed import Client
        except ImportError:
            raise ValueError("--dask needs the package distributed: pip install 'linkbert[dask]'") from None
        try:
            logging.getLogger("distributed").setLevel(logging.CRITICAL)  # what goes wrong is said in one line below
            return _Cluster(Client(dask))
        except (OSError, ValueError) as error:
            reason = str(error).splitlines()[0]
            raise ValueError(
                f"no Dask scheduler answers at {dask} ({reason}); start one with `dask scheduler`"
            ) from None
    if workers < 1:
        raise ValueError(f"workers={workers} does not make sense: it must be 1 or more")
    if workers == 1:
        return _ThisProcess()
    return _Workers(workers)


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


class _Workers(Executor):
    """Processes that are replaced when one dies (all of them: a pool cannot do without one).

    They never hear Ctrl-C, also not while they start: the parent hears it and ends the run.
    """

    def __init__(self, workers: int) -> None:
        resource_tracker.ensure_running()  # else the first worker starts it, which lets signals through
        self.workers = workers
        self.pool = self._start()

    def _start(self) -> ProcessPoolExecutor:
        context = multiprocessing.get_context("spawn")
        return ProcessPoolExecutor(self.workers, mp_context=context, initializer=_follow_parent)

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # a new process inherits this
        try:
            return self.pool.submit(function, *args, **kwargs)
        except BrokenProcessPool:
            self.pool.shutdown()
            self.pool = self._start()
            return self.pool.submit(function, *args, **kwargs)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        self.pool.shutdown(wait, cancel_futures=cancel_futures)


class _Cluster(Executor):
    """Runs a call on a Dask cluster; leaves it at the end."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self.executor = client.get_executor(pure=False)

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        return self.executor.submit(function, *args, **kwargs)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: ARG002 - Executor has it
        self.executor.shutdown(wait=wait)
        self.client.close()


def _room(executor: Executor) -> int:
    """How many shards may be in flight: two a worker, so that none waits for the planner."""
    match executor:
        case _ThisProcess():
            return 1
        case _Workers():
            return 2 * executor.workers
        case _Cluster():
            return 2 * max(1, sum(executor.client.ncores().values()))
        case _:
            return 2 * (os.cpu_count() or 1)


def _follow_parent() -> None:
    # A worker whose parent was killed would wait for work for ever, and finish a shard that a second run makes too.
    def watch() -> None:
        parent = multiprocessing.parent_process()
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
