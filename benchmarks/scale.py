"""How a build grows: time, memory and disk of each stage at sizes a hundredfold apart, and the power laws they follow.

    python benchmarks/scale.py --vocab vocab.txt [--articles 2000 20000 200000] [--workers 1 2]
    python benchmarks/scale.py --vocab vocab.txt --small 10000000 [--workers 2] [--source documents.jsonl --store STORE]

The first writes dumps of Wikipedia's shape (benchmarks/generate.py), builds each with each number of workers, and fits
y = a * size^b, least squares over the logarithms. The second builds one store of small documents from JSON lines, where
the number of rows costs and not the text, then opens it, draws instances and checks it, each in a process of its own.

Every stage is a process of its own. Memory is the resident size of it and its children together, looked at every 50 ms
(a page that several have mapped counts for each); beside it, without pages of files, which the system may take back.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil

# The package is imported where a stage runs: its workers import this file too, and `linkbert build` loads no torch.
GB = 1e9
STAGES = ("documents", "tokens", "graph")


@dataclass(frozen=True)
class Cost:
    """What one stage took."""

    seconds: float
    cpu: float  # seconds, of all processes
    resident: float  # GB, peak of all processes together
    own: float  # GB, the same without pages of files
    disk: float  # GB, what the stage left in the store
    said: str  # what it printed


def main() -> None:
    """Build what is asked, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vocab", required=True)
    parser.add_argument("--articles", type=int, nargs="+", default=[2_000, 20_000, 200_000])
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--small", type=int, help="a store of so many small documents instead")
    parser.add_argument("--source", type=Path, help="JSON lines to build (--small), if they are there already")
    parser.add_argument("--store", type=Path, help="where to leave the store (--small)")
    parser.add_argument("--stages", nargs="+", default=[*STAGES, "open", "sampler", "check"], help="of --small")
    parser.add_argument("--stage", nargs=5, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.stage:
        stage, source, store, vocabulary, workers = arguments.stage
        run_stage(stage, Path(source), Path(store), vocabulary, int(workers))
        return
    with tempfile.TemporaryDirectory() as name:
        if arguments.small:
            build_small(arguments, Path(name))
        else:
            build_dumps(arguments, Path(name))


def build_dumps(arguments: argparse.Namespace, folder: Path) -> None:
    """Build dumps of several sizes with several numbers of workers, and fit each stage's growth."""
    for workers in arguments.workers:
        costs: dict[str, list[Cost]] = {stage: [] for stage in STAGES}
        for articles in arguments.articles:
            source = folder / f"{articles}.xml"
            if not source.exists():
                generate(source, articles)
            store = folder / f"{articles}-{workers}"
            for stage in STAGES:
                costs[stage].append(measure(stage, source, store, arguments.vocab, workers))
                print(f"{articles:,} articles, {workers} workers, {line(stage, costs[stage][-1])}", flush=True)
            print(f"  {source.stat().st_size / GB:.3f} GB of XML; {counts(store)}", flush=True)
            shutil.rmtree(store)
        for stage, each in costs.items():
            for what in ("seconds", "cpu", "resident", "own", "disk"):
                factor, power, off = fit(arguments.articles, [getattr(cost, what) for cost in each])
                print(f"{workers} workers, {stage}: {what} = {factor:.3g} * articles^{power:.2f} (off by {off:.0%})")


def build_small(arguments: argparse.Namespace, folder: Path) -> None:
    """Build the store of small documents, open it, draw from it and check it."""
    source, store = arguments.source or folder / "documents.jsonl", arguments.store or folder / "store"
    if not source.exists():
        generate(source, arguments.small)
    print(f"{source.stat().st_size / GB:.2f} GB of JSON lines", flush=True)
    for stage in arguments.stages:
        print(line(stage, measure(stage, source, store, arguments.vocab, arguments.workers[-1])), flush=True)
    print(counts(store))


def generate(path: Path, articles: int) -> None:
    """Write a corpus with generate.py."""
    script = Path(__file__).with_name("generate.py")
    subprocess.run([sys.executable, script, path, "--articles", str(articles)], check=True)


def measure(stage: str, source: Path, store: Path, vocabulary: str, workers: int) -> Cost:
    """Run one stage in a process of its own and watch it."""
    command = [sys.executable, __file__, "--vocab", vocabulary, "--stage", stage, str(source), str(store), vocabulary]
    before = size_of(store)
    start = time.perf_counter()
    process = psutil.Popen([*command, str(workers)], stdout=subprocess.PIPE, text=True)
    resident = own = 0
    while process.poll() is None:
        everyone = memory(process)
        resident, own = max(resident, sum(everyone[0])), max(own, sum(everyone[1]))
        time.sleep(0.05)
    seconds = time.perf_counter() - start
    said = process.stdout.read().split("\n")
    if process.returncode:
        raise SystemExit(f"{stage} failed")
    cpu = float(said.pop(-2))
    return Cost(seconds, cpu, resident / GB, own / GB, (size_of(store) - before) / GB, "\n".join(said).rstrip())


def memory(process: psutil.Process) -> tuple[list[int], list[int]]:
    """Give the resident size of a process and of each of its children, in all and without pages of files."""
    found = []
    try:
        for one in [process, *process.children(recursive=True)]:
            info = one.memory_info()
            found.append((info.rss, info.rss - info.shared))
    except psutil.NoSuchProcess:
        pass
    return [rss for rss, _ in found], [own for _, own in found]


def size_of(folder: Path) -> int:
    """Add up the bytes of a folder's files."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def run_stage(stage: str, source: Path, store: Path, vocabulary: str, workers: int) -> None:
    """Do one stage here; print what there is to say, and the CPU seconds of this process and its children."""
    {
        "documents": lambda: build_documents(source, store, workers),
        "tokens": lambda: build_tokens(store, vocabulary, workers),
        "graph": lambda: build_graph(store),
        "open": lambda: open_store(store),
        "sampler": lambda: draw_instances(store),
        "check": lambda: check_store(store),
    }[stage]()
    times = psutil.Process().cpu_times()
    print(times.user + times.system + times.children_user + times.children_system)


def build_documents(source: Path, store: Path, workers: int) -> None:
    """Read the source into a store."""
    from linkbert.corpora import build
    from linkbert.workers import make_executor

    with make_executor(workers) as executor:
        build.build_documents([source], store, executor=executor)


def build_tokens(store: Path, vocabulary: str, workers: int) -> None:
    """Tokenise the store."""
    from linkbert.corpora.store import Store
    from linkbert.instances.tokens import tokenise
    from linkbert.instances.vocabulary import load_vocabulary
    from linkbert.workers import make_executor

    with make_executor(workers) as executor:
        tokenise(Store.open(store), load_vocabulary(vocabulary), executor=executor)


def build_graph(store: Path) -> None:
    """Resolve the store's links."""
    from linkbert.corpora.store import Store
    from linkbert.graph.links import add_graph

    add_graph(Store.open(store), "hyperlink", "hyperlink")


def open_store(store: Path) -> None:
    """Open everything a program may want of a store, and read a document in its middle."""
    from linkbert.corpora.store import Store
    from linkbert.graph.links import LinkGraph
    from linkbert.instances.tokens import TokenStore

    opened = Store.open(store)
    actions = {
        "Store.open": lambda: Store.open(store),
        "its first document": lambda: opened.document(len(opened) // 2),
        "TokenStore.open": lambda: TokenStore.open(store),
        "LinkGraph.open": lambda: LinkGraph.open(store),
    }
    for name, action in actions.items():
        start = time.perf_counter()
        action()
        print(f"  {name} {1e3 * (time.perf_counter() - start):.1f} ms")


def draw_instances(store: Path) -> None:
    """Open the sampler twice (the first may compile), and draw from it on one thread."""
    from linkbert.config import Config
    from linkbert.instances.sampler import Sampler

    config = Config(batch_size=1024, micro_batch_size=1024, sequence_length=128)
    for turn in ("first", "again"):
        start = time.perf_counter()
        sampler = Sampler.open(store, config)
        opened = time.perf_counter()
        sampler.fill(np.arange(1024))
        print(f"  Sampler.open {opened - start:.2f} s, its first batch {time.perf_counter() - opened:.2f} s ({turn})")
        if turn == "first":
            del sampler  # else what it has mapped counts twice
    start = time.perf_counter()
    for step in range(1, 201):
        sampler.fill(np.arange(step * 1024, (step + 1) * 1024))
    print(f"  {200 * 1024 / (time.perf_counter() - start):,.0f} instances/s")


def check_store(store: Path) -> None:
    """Verify every promise."""
    from linkbert.views.check import check

    findings = list(check(store))
    print("".join(f"  broken: {promise} {detail}\n" for promise, kept, detail in findings if not kept), end="")
    print(f"  {sum(kept for _, kept, _ in findings)} of {len(findings)} promises kept")


def fit(sizes: list[int], values: list[float]) -> tuple[float, float, float]:
    """Fit value = factor * size^power: (factor, power, largest relative distance of a value from it)."""
    x, y = np.log(sizes), np.log(np.maximum(values, 1e-9))
    power, constant = np.polyfit(x, y, 1)
    return float(np.exp(constant)), float(power), float(np.abs(np.expm1(constant + power * x - y)).max())


def line(stage: str, cost: Cost) -> str:
    """Write one stage's cost in a line, and below it what it said."""
    words = (
        f"{stage}: {cost.seconds:.1f} s, CPU {cost.cpu:.1f} s, resident {cost.resident:.2f} GB "
        f"(without files {cost.own:.2f}), disk {cost.disk:.3f} GB"
    )
    return f"{words}\n{cost.said}" if cost.said else words


def counts(store: Path) -> str:
    """Say how large a store is."""
    meta = json.loads((store / "tokens" / "tokens.json").read_text())
    graph = json.loads((store / "graphs" / "hyperlink" / "graph.json").read_text())
    numbers = {key: meta[key] for key in ("documents", "tokens", "links")} | {"edges": graph["edges"]}
    return ", ".join(f"{number:,} {name}" for name, number in numbers.items())


if __name__ == "__main__":
    main()
