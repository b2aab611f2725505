"""Tokenising with two workers against one, and what starting the workers and joining their parts cost.

    python benchmarks/tokens.py STORE [--rounds 3]

The documents of a store are tokenised anew with its vocabulary, in a temporary folder beside them. Every round is two
processes of their own, one after the other. Printed: MB of text (UTF-8) a second, the time until the workers answer and
the time after the last shard, by the clock; the ratio of one worker to two by the clock, and that in CPU time, which is
that of a machine that does nothing else (the parent's work and half of the workers').
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from linkbert.corpora.store import Store
from linkbert.instances.tokens import hash_id, tokenise
from linkbert.instances.vocabulary import load_vocabulary
from linkbert.workers import make_executor


def main() -> None:
    """Tokenise in turn, print times and ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.workers:
        print(json.dumps(tokenise_here(arguments.store, arguments.workers)))
        return
    store = Store.open(arguments.store)
    megabytes = sum(len(document.text.encode()) for document in store.documents()) / 1e6
    print(f"{megabytes:.1f} MB of text in {store.shards} shards")
    clock, cpu = [], []
    for _ in range(arguments.rounds):
        one, two = (run(store.path, workers) for workers in (1, 2))
        clock.append(one["seconds"] / two["seconds"])
        cpu.append(one["cpu"] / (two["cpu"] + two["workers_cpu"] / 2))
        for workers, each in ((1, one), (2, two)):
            print(f"{workers}: {each['seconds']:.1f} s, {megabytes / each['seconds']:.1f} MB/s", end="; ")
            print(f"start {each['start']:.2f} s, end {each['end']:.2f} s", end="; ")
            print(f"CPU {each['cpu']:.1f} + {each['workers_cpu']:.1f} s")
        print(f"one / two: {clock[-1]:.2f}x, CPU {cpu[-1]:.2f}x; one: {megabytes / one['cpu']:.1f} MB/s of CPU")
    print(f"median: {statistics.median(clock):.2f}x by the clock, {statistics.median(cpu):.2f}x in CPU time")


def run(store: Path, workers: int) -> dict[str, float]:
    """Tokenise a copy of a store's documents in a process of its own."""
    with tempfile.TemporaryDirectory(dir=store.parent) as name:
        for part in ("documents", "vocabulary"):
            shutil.copytree(store / part, Path(name) / part)
        for file in store.iterdir():
            if file.is_file():
                shutil.copy(file, name)
        command = [sys.executable, __file__, name, "--workers", str(workers)]
        return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def tokenise_here(path: Path, workers: int) -> dict[str, float]:
    """Tokenise, with seconds by the clock and of CPU; the time until the workers answer counts."""
    store, vocabulary = Store.open(path), load_vocabulary(path / "vocabulary")
    cpu, begin = time.process_time(), time.perf_counter()
    with make_executor(workers) as executor:
        for answer in [executor.submit(hash_id, str(i)) for i in range(workers)]:
            answer.result()
        ready = last = time.perf_counter()

        def tell(*_: object) -> None:
            nonlocal last
            last = time.perf_counter()

        tokenise(store, vocabulary, executor=executor, progress=tell)
        done = time.perf_counter()
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {
        "seconds": done - begin,
        "start": ready - begin,
        "end": done - last,
        "cpu": time.process_time() - cpu,
        "workers_cpu": used.ru_utime + used.ru_stime,
    }


if __name__ == "__main__":
    main()
