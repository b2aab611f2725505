"""A command of linkbert run in processes of its own: seconds of the clock, seconds of CPU, peak memory."""

import resource
import subprocess
import sys
import time
from contextlib import suppress

import psutil


def run_watched(words: list[str]) -> tuple[float, float, int]:
    """Run `linkbert WORDS`; memory is the largest sum of the resident sizes of all its processes, in bytes."""
    before, start, peak = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter(), 0
    with subprocess.Popen([sys.executable, "-m", "linkbert", *words], stdout=subprocess.DEVNULL) as child:
        first = psutil.Process(child.pid)
        while child.poll() is None:
            with suppress(psutil.NoSuchProcess):  # it ended just now
                peak = max(peak, sum(each.memory_info().rss for each in (first, *first.children(recursive=True))))
            time.sleep(0.05)
    if child.returncode:
        raise SystemExit(child.returncode)
    seconds, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, peak
