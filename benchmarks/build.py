"""A build from .bz2: two workers against one, and the memory of a worker as the input grows tenfold.

    python benchmarks/build.py pages-articles.xml.bz2 [--copies 20] [--rounds 3] [--single]

The dump's pages are written again and again under other titles, as a multistream .bz2 of 100 pages a stream
(`--single`: as one stream), in a temporary folder: `copies` times for the speed, `copies` and ten times as many for the
memory (`--no-memory` leaves that out). Every build is a process of its own that makes documents and redirects only.
Printed: wall time, alternating, and the median of the ratios; beside it the ratio in CPU time, which is that of a
machine that does nothing else (the parent's work and half of the workers'); the largest resident size of any worker.

With `--dask`: two processes against a Dask cluster of two worker processes on this machine (start-up of either left
out), in turn, and nothing else.
"""

from __future__ import annotations

import argparse
import bz2
import json
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from linkbert.corpora.build import build_documents
from linkbert.files import decompressed_blocks
from linkbert.workers import make_executor


def main() -> None:
    """Write the archives, build them, print times, ratio and memory."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dump", type=Path)
    parser.add_argument("--copies", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--single", action="store_true")
    parser.add_argument("--no-memory", action="store_true")
    parser.add_argument("--dask", action="store_true")
    parser.add_argument("--child", nargs=2, metavar=("STORE", "WORKERS"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        print(json.dumps(build_here(arguments.dump, Path(arguments.child[0]), int(arguments.child[1]))))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        small, large = folder / "small.xml.bz2", folder / "large.xml.bz2"
        size = write_copies(arguments.dump, small, arguments.copies, arguments.single)
        print(f"{small.stat().st_size / 1e6:.1f} MB of .bz2, {size / 1e6:.1f} MB of XML")
        if arguments.dask:
            compare_dask(small, folder, arguments.rounds)
            return
        ratios = []
        for number in range(arguments.rounds):
            one, two = (run(small, folder / f"{number}-{workers}", workers) for workers in (1, 2))
            ratios.append(one["seconds"] / two["seconds"])
            free = one["cpu"] / (two["cpu"] + two["workers_cpu"] / 2)
            print(f"one worker {one['seconds']:.2f} s, two {two['seconds']:.2f} s: {ratios[-1]:.2f}x", end="; ")
            print(f"CPU {one['cpu']:.1f}, {two['cpu']:.1f} + {two['workers_cpu']:.1f}: {free:.2f}x")
        print(
            f"two workers / one: {statistics.median(ratios):.2f}x; one: {size / 1e6 / one['seconds']:.1f} MB/s of XML"
        )
        if arguments.no_memory:
            return
        write_copies(arguments.dump, large, 10 * arguments.copies, arguments.single)
        sizes = [run(path, folder / path.stem, 2)["worker_megabytes"] for path in (small, large)]
        print(f"a worker at 1x: {sizes[0]:.0f} MB, at 10x: {sizes[1]:.0f} MB ({sizes[1] / sizes[0] - 1:+.0%})")


def write_copies(dump: Path, to: Path, copies: int, single: bool) -> int:
    """Write a dump's pages `copies` times under other titles; return the bytes of XML."""
    xml = b"".join(block for block, _ in decompressed_blocks(dump))
    head = xml[: xml.index(b"<page>")]
    pages = re.findall(rb"<page>.*?</page>\n?", xml, re.DOTALL)
    size = 0
    one = bz2.BZ2Compressor()
    with to.open("wb") as file:
        for copy in range(copies):
            renamed = [page.replace(b"</title>", f" {copy}</title>".encode(), 1) for page in pages]
            for start in range(0, len(renamed), 100):
                part = (head if copy == start == 0 else b"") + b"".join(renamed[start : start + 100])
                if copy == copies - 1 and start + 100 >= len(renamed):
                    part += b"</mediawiki>\n"
                size += len(part)
                file.write(one.compress(part) if single else bz2.compress(part))
        if single:
            file.write(one.flush())
    return size


def run(source: Path, store: Path, workers: int) -> dict[str, float]:
    """Build in a process of its own; seconds of wall time, megabytes of the largest worker."""
    command = [sys.executable, __file__, str(source), "--child", str(store), str(workers)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def compare_dask(source: Path, folder: Path, rounds: int) -> None:
    """Build with two processes and with two Dask workers, in turn; print both and the ratio."""
    from distributed import LocalCluster

    ratios = []
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster,
        make_executor(2) as processes,
        make_executor(dask=cluster.scheduler_address) as dask,
    ):
        for number in range(-1, rounds):  # the first warms up: workers start and import
            seconds = []
            for name, executor in (("processes", processes), ("dask", dask)):
                start = time.perf_counter()
                build_documents([source], folder / f"{name}-{number}", executor=executor)
                seconds.append(time.perf_counter() - start)
            if number >= 0:
                ratios.append(seconds[1] / seconds[0])
                print(f"processes {seconds[0]:.2f} s, Dask {seconds[1]:.2f} s: {ratios[-1]:.3f}")
    print(f"Dask / processes: {statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})")


def build_here(source: Path, store: Path, workers: int) -> dict[str, float]:
    """Build a store of documents; the workers have ended when this returns."""
    start = time.perf_counter()
    with make_executor(workers) as executor:
        build_documents([source], store, executor=executor)
    seconds = time.perf_counter() - start
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return {
        "seconds": seconds,
        "cpu": own.ru_utime + own.ru_stime,
        "workers_cpu": children.ru_utime + children.ru_stime,
        "worker_megabytes": (children if workers > 1 else own).ru_maxrss / 1024,
    }


if __name__ == "__main__":
    main()
