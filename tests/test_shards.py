"""Shards through any executor: bounded, in order of taking, with one clear error."""

import errno
import itertools
import logging
import os
import signal
import socket
import threading
import time
from functools import partial
from pathlib import Path

import pytest

from linkbert.workers import make_executor, run_shards


def write(folder: Path, number: int) -> None:
    (folder / str(number)).write_text("")


def fail(number: int) -> None:
    if number == 3:
        raise ValueError("shard 3 is bad")


def fill_disk(number: int) -> None:
    raise OSError(errno.ENOSPC, "No space left on device", "/store/documents/00000.parquet.part")


def test_workers_never_hear_ctrl_c_not_even_while_they_start():
    ask = signal.pthread_sigmask, signal.SIG_BLOCK, []
    with make_executor(2) as executor:
        assert all(signal.SIGINT in executor.submit(*ask).result() for _ in range(3))
    assert signal.SIGINT not in ask[0](*ask[1:])


def test_ctrl_c_ends_a_run_where_it_can_be_ended(tmp_path):
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
    threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGINT)).start()
    finished: list[float] = []
    naps = itertools.chain(itertools.repeat(0.05, 4), itertools.repeat(600))  # which nobody waits for
    with pytest.raises(KeyboardInterrupt), make_executor(2) as executor:
        run_shards(time.sleep, naps, executor, progress=finished.append)
    assert set(finished) <= {0.05}
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_what_a_worker_logs_is_text(capfd):
    with make_executor(2) as executor:
        run_shards(logging.getLogger("a.reader").warning, ["a\x1b[2J\n\u202eb", "c"], executor)
    assert sorted(capfd.readouterr().err.splitlines()) == ["linkbert: a\\x1b[2J\\n\\u202eb", "linkbert: c"]


@pytest.mark.parametrize("workers", [1, 2])
def test_every_shard_runs_once_and_finished_ones_are_left(tmp_path, workers):
    folders = [tmp_path / str(number) for number in range(6)]
    folders[2].mkdir()  # os.mkdir would fail on it
    seen: list[Path] = []
    with make_executor(workers) as executor:
        run_shards(os.mkdir, folders, executor, done=Path.exists, progress=seen.append)
    assert sorted(seen) == folders
    assert all(folder.is_dir() for folder in folders)


def test_shards_are_taken_only_as_there_is_room(tmp_path):
    taken, finished = [], []

    def items():
        for number in range(20):
            taken.append(number)
            assert len(taken) - len(finished) <= 3
            yield number

    with make_executor(1) as executor:
        run_shards(partial(write, tmp_path), items(), executor, progress=finished.append)
    assert finished == list(range(20))


def test_errors_are_one_clear_line():
    with make_executor(1) as executor:
        with pytest.raises(ValueError, match=r"^shard 3 is bad$"):
            run_shards(fail, range(9), executor)
        with pytest.raises(ValueError, match=r"^the disk is full \(/store/documents/00000.parquet.part\): make"):
            run_shards(fill_disk, range(9), executor)
    with pytest.raises(ValueError, match=r"^workers must be an integer >= 1, got 0"):
        make_executor(0)
    with (
        make_executor(2) as executor,
        pytest.raises(ValueError, match=r"^a worker was killed .*__main__.*: use fewer workers, and"),
    ):
        run_shards(signal.raise_signal, [signal.SIGKILL] * 3, executor)
    with (
        make_executor(2) as executor,
        pytest.raises(ValueError, match=r"^invalid literal for int"),
    ):
        run_shards(int, ["1", "x", "2"], executor)


def test_a_dask_cluster_runs_shards(tmp_path):
    distributed = pytest.importorskip("distributed", reason="the extra dask is not installed")
    with (
        distributed.LocalCluster(
            n_workers=1, threads_per_worker=2, processes=False, dashboard_address=":0", protocol="inproc://"
        ) as cluster,
        make_executor(dask=cluster.scheduler_address) as executor,
    ):
        assert executor.in_flight == 4
        assert not hasattr(executor, "workers"), "this machine has none of them: a graph's threads are its cores"
        run_shards(partial(write, tmp_path), range(5), executor)
        with pytest.raises(ValueError, match=r"^shard 3 is bad$"):
            run_shards(fail, range(9), executor)
    assert len(list(tmp_path.iterdir())) == 5


def test_whoever_sends_work_to_a_dask_cluster_listens_nowhere(tmp_path, monkeypatch):
    distributed = pytest.importorskip("distributed", reason="the extra dask is not installed")
    bound, bind = [], socket.socket.bind
    started = {
        "n_workers": 1,
        "threads_per_worker": 1,
        "processes": False,
        "dashboard_address": None,
        "protocol": "tcp://",
    }
    with distributed.LocalCluster(host="127.0.0.1", **started) as cluster:
        monkeypatch.setattr(socket.socket, "bind", lambda self, at: (bound.append(at), bind(self, at))[1])
        with make_executor(dask=cluster.scheduler_address) as executor:
            run_shards(partial(write, tmp_path), range(3), executor)
    assert len(list(tmp_path.iterdir())) == 3
    assert bound == []


@pytest.mark.slow
def test_no_dask_scheduler_is_one_clear_line():
    pytest.importorskip("distributed", reason="the extra dask is not installed")
    for name in ("distributed", "tornado.application"):  # whose tracebacks followed on Ctrl-C
        logging.getLogger(name).setLevel(logging.NOTSET)
    with pytest.raises(ValueError, match=r"^no Dask scheduler answers at nonsense"):
        make_executor(dask="nonsense://x")
    assert logging.getLogger("tornado.application").getEffectiveLevel() == logging.CRITICAL
