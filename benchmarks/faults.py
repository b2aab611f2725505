"""Stop, starve or cut off every command anywhere, run it again, and compare with an unbroken result, byte for byte.

    python benchmarks/faults.py [COMMAND ...] [--tries 20] [--seed 0] [--first 0] [--faults KIND,...] [--folder DIR]

The program makes a store of some 100 documents, a run, results. A try copies what a command starts from, runs it with a
fault, then again without one (a run with --resume), at the same path as the unbroken one. Of the kills, by -9, -TERM,
-INT and -HUP, half come at a random time of the command, half before a random one of the operations that change files;
half are of its whole process group, half of its first process alone, after which the command is run again at once.
Libraries are imported once, and each try is a fork. A full disk needs the right to mount: `unshare -rm` gives it.

A try is `equal`: its second run ends well, and no file or folder is different, lacks or is left over, also in the
temporary folder. It is `late` where the fault met nobody. Of a fault nothing may be claimed (exit status 0 without the
whole result), no traceback shown, and what it leaves in a store `linkbert check` names. TRY is what --first takes.
"""

import argparse
import atexit
import ctypes
import gc
import hashlib
import importlib
import json
import os
import random
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import warnings
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

TRAINING = """max_steps=5 batch_size=8 micro_batch_size=8 sequence_length=32 hidden_size=16 num_hidden_layers=1
    num_attention_heads=2 intermediate_size=32 held_out=0.2 eval_pairs=16 eval_steps=3 save_steps=2 save_total_limit=2
    logging_steps=1 warmup_steps=1 compile=off threads=1 precision=fp32 scope=document"""
TUNING = "num_train_epochs=1 batch_size=16 max_length=32 threads=1 precision=fp32"
BUILD = "build source --links links.csv --vocab train:300"


@dataclass(frozen=True)
class Command:
    """A command: its words, what it starts from, and what is added when it is run again."""

    words: str
    starts_from: tuple[str, ...]
    again: str = ""
    prints: bool = False  # its result, on stdout
    once: str = ""  # what it says where its result is there already


COMMANDS = {
    "build": Command(f"{BUILD} --to store --workers 1", ("source", "links.csv")),
    "build-2": Command(f"{BUILD} --to store --workers 2", ("source", "links.csv")),
    "build-dask": Command(f"{BUILD} --to store --dask DASK", ("source", "links.csv")),
    "hyperlink": Command("graph plain --method hyperlink --workers 1", ("plain",)),
    "tfidf": Command("graph store --method tfidf --workers 1", ("store",)),
    "random": Command("graph store --method random --workers 1", ("store",)),
    "export": Command("export store --to exported", ("store",), once="is there already"),
    "export-parquet": Command("export store --to exported --format parquet", ("store",), once="is there already"),
    "pretrain": Command(f"pretrain store --to run {TRAINING}", ("store",), "--resume"),
    "score": Command("score run --json --set eval_pairs=16", ("store", "run"), prints=True),
    "finetune": Command(
        f"finetune run labels.csv --text note --label colour --to results {TUNING}", ("run", "labels.csv")
    ),
    "evaluate": Command(
        f"evaluate run --tasks tasks.toml --data data --to results --seeds 2 --keep-model {TUNING}",
        ("run", "tasks.toml", "data"),
    ),
    "predict": Command("predict results labels.csv --to answers.jsonl", ("results", "labels.csv")),
    "report": Command("report store run results --to report.html", ("store", "run", "results")),
    "report-text": Command("report store run results", ("store", "run", "results"), prints=True),
}  # fmt: skip
WORLD = {  # what is made first, by these words
    "store": COMMANDS["build"].words,
    "plain": f"{BUILD} --to plain --workers 1 --graph none",
    "run": COMMANDS["pretrain"].words,
    "results": COMMANDS["finetune"].words,
}
KILLS = {f"kill -{name}": signal.Signals[f"SIG{name}"] for name in ("KILL", "TERM", "INT", "HUP")}
FAULTS = (*KILLS, "disk", *KILLS, "files", *KILLS, "memory", *KILLS, "pipe")  # try by try
CHANGING = ("os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate", "os.chmod", "open")
PR_SET_CHILD_SUBREAPER = 36
COLUMNS = ("tries", "late", "equal", "different", "left over", "unnamed", "claimed", "traceback", "hangs")
ROOM, HANGS, MAPPED = 1 << 30, 120.0, 4096  # bytes of the disk; seconds; bytes of a page
TRACES = ("Traceback (most", "Exception ignored", "Fatal Python error", "terminate called", "Segmentation")
# What may differ: curves of TensorBoard, dates, durations and speeds, that a run was resumed, and hashes of such files.
TRIED = re.compile(r"tmp/[a-z0-9_]{8}")  # four bytes with which Python finds out whether files can be made there
CURVES = re.compile(r"(^|/)tensorboard/.")
TIMED = {"created", "elapsed", "trained", "seconds", "resumed", "examples_per_second", "tokens_per_second",
         "peak_share", "loader_share", "memory", "files"}  # fmt: skip
TIMED_LINE = re.compile(rb"^.*(resumed|time of training|tokens/s|[Tt]ime\b).*$", re.MULTILINE)


@dataclass
class Fault:
    """What happens to a command: a `kind`, the moment or the measure of it, and whether it is of all its processes."""

    kind: str = ""
    after: float | None = None  # seconds
    operation: int = 0  # the number of the one before which a kill comes
    group: bool = True
    room: int = ROOM  # bytes of the disk, of memory; files that may be open


@dataclass
class Ended:
    """How a command ended."""

    status: int
    seconds: float
    out: bytes
    err: str
    hangs: bool = False
    operations: int = 0  # that change files
    memory: int = 0  # bytes that it had mapped at most, beyond those at its start
    disk: int = 0  # bytes of the disk that it took at most


@dataclass
class Bench:
    """The folder of the program, and whether its disk can be limited."""

    folder: Path
    mounts: bool = False
    dask: str = ""
    servers: list[Any] = field(default_factory=list)

    @property
    def work(self) -> Path:
        """The current folder of all commands."""
        return self.folder / "work"

    def used(self) -> int:
        """Count the bytes of the disk that are taken."""
        found = os.statvfs(self.work)
        return (found.f_blocks - found.f_bfree) * found.f_frsize

    def resize(self, size: int) -> None:
        """Make the disk larger or smaller."""
        if self.mounts:
            subprocess.run(["mount", "-o", f"remount,size={size}", str(self.work)], check=True)

    def lay_out(self, names: tuple[str, ...]) -> None:
        """Begin again with what was made before."""
        for path in self.work.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        (self.work / "tmp").mkdir()
        for name in names:
            made = self.folder / "made" / name
            shutil.copytree(made, self.work / name) if made.is_dir() else shutil.copy(made, self.work / name)


def run(bench: Bench, words: str, fault: Fault) -> Ended:
    """Run a command in a fork of this process, with a fault; wait for its processes, unless one was killed alone."""
    out, err, notes = (bench.folder / name for name in ("out", "err", "notes"))
    notes.unlink(missing_ok=True)
    sys.stdout.flush()
    pipe = os.pipe() if fault.kind == "pipe" else ()
    before, most, began, ended = bench.used(), 0, time.monotonic(), None
    gc.freeze()  # else each fork copies what is collected
    signal.pthread_sigmask(signal.SIG_BLOCK, KILLS.values())  # until it is the command
    if not (process := os.fork()):
        be_command(bench, words.replace("DASK", bench.dask).split(), fault, pipe)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, KILLS.values())
    for end in pipe[1:]:
        os.close(end)
    pending = fault.after is not None
    while ended is None:
        number, status = os.waitpid(process, os.WNOHANG)
        passed = time.monotonic() - began
        ended = os.waitstatus_to_exitcode(status) if number else None
        most = max(most, bench.used() - before)
        if pending and (ended is not None or passed >= fault.after):
            pending = False
            if pipe:
                os.close(pipe[0])
            elif ended is None:
                with suppress(ProcessLookupError):
                    (os.killpg if fault.group else os.kill)(process, KILLS[fault.kind])
        if hangs := passed > HANGS:
            show_stacks(process)
            os.killpg(process, signal.SIGKILL)
            ended = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
        time.sleep(0.001 if passed < 0.2 else 0.004)
    seconds = time.monotonic() - began
    hangs |= (fault.group or not fault.kind) and not wait_for_group(process)
    noted = json.loads(notes.read_text()) if notes.exists() else {}
    for name in [name for name in noted.pop("modules", ()) if name not in sys.modules and "__" not in name]:
        with suppress(Exception):  # once for all that follow
            importlib.import_module(name)
    return Ended(ended, seconds, out.read_bytes(), err.read_text(errors="replace"), hangs, disk=most, **noted)


def show_stacks(group: int) -> None:
    """Print where each process of a group stands that does not end, if py-spy is installed."""
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if os.getpgid(int(path.name)) == group and (spy := shutil.which("py-spy")):
                print((path / "cmdline").read_bytes().replace(b"\0", b" ")[:200].decode(errors="replace"))
                subprocess.run([spy, "dump", "--nonblocking", "--pid", path.name], check=False)


def wait_for_group(group: int, seconds: float = 30) -> bool:
    """Wait for what a command has started; kill what does not end, and return whether all did by themselves."""
    until = time.monotonic() + seconds
    with suppress(ChildProcessError):
        while time.monotonic() < until:
            if not os.waitpid(-group, os.WNOHANG)[0]:
                time.sleep(0.002)
        show_stacks(group)
        os.killpg(group, signal.SIGKILL)
        while True:
            os.waitpid(-group, 0)
    return time.monotonic() < until


def mapped(key: str) -> int:
    """Return the bytes that this process has mapped (VmSize), or had at most (VmPeak)."""
    return 1024 * int(re.search(rf"{key}:\s*(\d+)", Path("/proc/self/status").read_text())[1])


def be_command(bench: Bench, words: list[str], fault: Fault, pipe: tuple[int, ...]) -> None:
    """Be the process of a command, up to its end, which is the interpreter's but for the modules' (nine tenths)."""
    os.setsid()
    for number, name in ((1, "out"), (2, "err")):
        file = os.open(bench.folder / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(pipe[1] if pipe and number == 1 else file, number)
        os.close(file)
    for end in pipe:
        os.close(end)
    os.environ["TMPDIR"] = str(bench.work / "tmp")
    tempfile.tempdir = None
    os.chdir(bench.work)
    watch(bench, fault)
    from linkbert.cli import main

    with suppress(KeyboardInterrupt):  # it has not begun
        signal.pthread_sigmask(signal.SIG_UNBLOCK, KILLS.values())
    status: Any = 1
    try:
        status = main(words)
    except SystemExit as ended:
        status = ended.code
    except BaseException:
        traceback.print_exc()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # what follows is not the command's
    threading._shutdown()
    atexit._run_exitfuncs()
    try:
        sys.stdout.flush()
    except OSError:
        os.write(2, b"Exception ignored: stdout is not flushed")
        status = 120
    os._exit(status)


def watch(bench: Bench, fault: Fault) -> None:
    """Count the operations that change files, kill this command before one of them, and set its limits."""
    count, start = 0, mapped("VmSize")

    def look(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal count
        if event not in CHANGING:
            return
        if isinstance(arguments[0], int) or (event == "open" and not arguments[2] & os.O_ACCMODE):
            return
        if os.fsdecode(arguments[0]).startswith("/dev/"):
            return
        count += 1
        if count == fault.operation:
            (os.killpg if fault.group else os.kill)(os.getpid(), KILLS[fault.kind])

    def note() -> None:
        found = {"operations": count, "memory": mapped("VmPeak") - start, "modules": [*sys.modules]}
        fault.operation = 0
        (bench.folder / "notes").write_text(json.dumps(found))

    if not fault.kind:
        atexit.register(note)
    sys.addaudithook(look)
    if fault.kind == "memory":
        resource.setrlimit(resource.RLIMIT_AS, (start + fault.room,) * 2)
    if fault.kind == "files":
        resource.setrlimit(resource.RLIMIT_NOFILE, (fault.room,) * 2)


def content(path: Path) -> bytes:
    """Read a file, or what of it must be equal."""
    data = path.read_bytes()
    if path.suffix in (".json", ".jsonl"):
        with suppress(ValueError):
            whole = [json.loads(data)] if path.suffix == ".json" else [json.loads(line) for line in data.splitlines()]
            return json.dumps([without_times(each) for each in whole]).encode()
    return TIMED_LINE.sub(b"", data) if path.suffix in (".md", ".html") else data


def without_times(value: Any) -> Any:
    """Leave out of JSON what differs from time to time."""
    if isinstance(value, dict):
        return {key: without_times(each) for key, each in value.items() if key not in TIMED}
    return [without_times(each) for each in value] if isinstance(value, list) else value


def look_at(bench: Bench) -> dict[str, str]:
    """Hash every file of the current folder by its name; of a folder "folder"."""
    found = {}
    for path in sorted(bench.work.rglob("*")):
        name = path.relative_to(bench.work).as_posix()
        tried = TRIED.fullmatch(name) and path.stat().st_size <= 4
        if not CURVES.search(name) and not tried:
            found[name] = "folder" if path.is_dir() else hashlib.sha256(content(path)).hexdigest()
    return found


def plain(out: bytes) -> bytes:
    """Return what is printed without lines of times."""
    return TIMED_LINE.sub(b"", out)


def differences(expected: dict[str, str], found: dict[str, str]) -> tuple[list[str], list[str]]:
    """Name what lacks or differs, and what is left over."""
    return [name for name in expected if found.get(name) != expected[name]], sorted(found.keys() - expected.keys())


def draw_fault(draw: random.Random, kind: str, whole: Ended, used: int) -> Fault:
    """Draw the moment of a fault, or its measure."""
    after, fault = draw.random() * whole.seconds, Fault(kind, group=draw.random() < 0.5)
    if kind == "disk":
        fault.room = used + MAPPED + int(draw.random() * whole.disk)
    elif kind == "files":
        fault.room = draw.randint(24, 64)  # with 13 DuckDB aborts the process
    elif kind == "memory":
        fault.room = int(draw.random() * whole.memory)
    elif kind == "pipe" or not whole.operations or draw.random() < 0.5:
        fault.after = after * (kind != "pipe" or draw.random() < 0.5)
    else:
        fault.operation = draw.randint(1, whole.operations)
    return fault


def unnamed(bench: Bench, expected: dict[str, str], found: dict[str, str]) -> list[str]:
    """List what a fault left in a finished store and `linkbert check` does not name."""
    named = []
    for store in (name for name in ("store", "plain") if f"{name}/store.json" in found):
        left = [name for name in differences(expected, found)[1] if name.startswith(f"{store}/")]
        tops = [name for name in left if Path(name).parent.as_posix() not in left]
        said = run(bench, f"check {store}", Fault()).out.decode() if tops else ""
        named += [top for top in tops if top.removeprefix(f"{store}/") not in said]
    return named


def attempt(bench: Bench, name: str, fault: Fault, whole: Ended, expected: dict[str, str]) -> tuple[list[str], str]:
    """Run a command with a fault, and again; return what is to be said of that, and the last line that it printed."""
    command, columns = COMMANDS[name], []
    bench.lay_out(command.starts_from)
    if fault.kind == "disk":
        bench.resize(fault.room)
    broken = run(bench, command.words, fault)
    bench.resize(ROOM)
    if fault.group or fault.kind not in KILLS:
        found = look_at(bench)
        lacks = any(differences(expected, found)[0]) or (command.prints and plain(broken.out) != plain(whole.out))
        if broken.status == 0:
            columns.append("claimed" if lacks and fault.kind != "pipe" else "late")
        if named := unnamed(bench, expected, found):
            columns.append(f"unnamed: {', '.join(named[:3])}")
    again = run(bench, f"{command.words} {command.again}", Fault())
    different, left = differences(expected, look_at(bench))
    finished = command.once and command.once in again.err  # it was killed in the moment after
    if (again.status and not finished) or different or (command.prints and plain(again.out) != plain(whole.out)):
        said = again.err.strip().splitlines()[-1:] * bool(again.status)
        columns.append(f"different: {', '.join([*different[:3], *said])}")
    if left:
        columns.append(f"left over: {', '.join(left[:3])}")
    columns += ["equal"] * all(column in ("claimed", "late") for column in columns)
    columns += ["traceback"] * any(trace in each.err for trace in TRACES for each in (broken, again))
    columns += ["hangs"] * (broken.hangs or again.hangs)
    lines = [broken.err] if "traceback" in columns else broken.err.strip().splitlines()
    return columns, f"{broken.status}: {lines[-1] if lines else ''}"


def make_sources(made: Path) -> None:
    """Write documents, links and labels."""
    draw, words = (
        random.Random(0),
        ["fox", "crow", "wolf", "lamb", "river", "forest", "hill", "runs", "sleeps", "sings"],
    )
    (made / "source").mkdir(parents=True)
    names = [f"page {number}" for number in range(96)]
    for part in range(6):
        lines = ["{broken", json.dumps({"redirect": f"alias {part}", "target": f"page {part}"})]
        for name in [*names[part * 16 : part * 16 + 16], "page 0"]:  # of an id the first counts
            text = " ".join(f"The {' '.join(draw.choices(words, k=6))} of {draw.choice(names)}." for _ in range(6))
            places = list(re.finditer(r"page \d+", text))[:3]
            links = [{"start": at.start(), "end": at.end(), "target": at[0]} for at in places]
            lines.append(json.dumps({"id": name, "text": text, "links": [*links, f"alias {draw.randrange(9)}"]}))
        (made / "source" / f"{part}.jsonl").write_text("\n".join(lines) + "\n")
    pairs = [f"page {number},page {draw.randrange(96)}" for number in range(0, 96, 5)]
    (made / "links.csv").write_text("\n".join(["source,target", *pairs, "nobody,page 1"]) + "\n")
    rows = [f"{number},the {draw.choice(words)} is {colour},{colour}"
            for number, colour in enumerate(draw.choices(["warm", "cold"], k=60))]  # fmt: skip
    (made / "labels.csv").write_text("\n".join(["id,note,colour", *rows]) + "\n")
    (made / "data").mkdir()
    for name, some in (("train", rows[:40]), ("dev", rows[40:50]), ("test", rows[50:])):
        (made / "data" / f"{name}.csv").write_text("\n".join(["id,note,colour", *some]) + "\n")
    files = ", ".join(f'{name} = ["{name}.csv"]' for name in ("train", "dev", "test"))
    table = ['title = "Colours"', 'kind = "text"', 'format = "csv"', 'metrics = ["accuracy"]', f"files = {{ {files} }}",
             'options.columns = { id = "id", a = "note", label = "colour" }']  # fmt: skip
    (made / "tasks.toml").write_text("\n".join(["[colours]", *table]) + "\n")


def start_dask(bench: Bench) -> None:
    """Start a scheduler and a worker of two threads, which stay from try to try."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        bench.dask = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    distributed = [sys.executable, "-m", "distributed.cli"]
    scheduler = ["dask_scheduler", "--host", bench.dask, "--no-dashboard", "--no-show"]
    worker = ["dask_worker", bench.dask, "--nthreads", "2", "--no-dashboard", "--local-directory", str(bench.folder)]
    for each in (scheduler, worker):
        words = [*distributed[:2], f"distributed.cli.{each[0]}", *each[1:]]
        log = (bench.folder / f"{each[0]}.log").open("w")
        bench.servers.append(subprocess.Popen(words, cwd=bench.work, stdout=log, stderr=log))


def clean(bench: Bench, owner: int) -> None:
    """Stop the servers, take the disk away, and remove all that was made."""
    if os.getpid() != owner:  # a command
        return
    for server in bench.servers:
        server.kill()
        server.wait()
    if bench.mounts:
        subprocess.run(["umount", "-l", str(bench.work)], check=False)
    shutil.rmtree(bench.folder, ignore_errors=True)


def prepare(bench: Bench) -> None:
    """Import once, then make what the commands start from."""
    os.environ |= {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    os.environ |= {"XDG_CACHE_HOME": str(bench.folder / "cache"), "MPLCONFIGDIR": str(bench.folder / "cache")}
    warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
    for name in ("torch", "transformers", "linkbert.cli", "linkbert.api"):
        importlib.import_module(name)
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)  # children of a killed command become ours
    bench.work.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={ROOM}", "tmpfs", str(bench.work)]
    bench.mounts = not subprocess.run(mount, stderr=subprocess.DEVNULL, check=False).returncode
    make_sources(bench.folder / "made")
    by_words = {command.words: command for command in COMMANDS.values()}
    for name, words in WORLD.items():
        bench.lay_out(by_words[words].starts_from if words in by_words else COMMANDS["build"].starts_from)
        done = run(bench, words, Fault())
        if done.status:
            sys.exit(f"{words}: {done.err}")
        shutil.copytree(bench.work / name, bench.folder / "made" / name)


def main() -> int:
    """Run every command unbroken and broken, print what went wrong, and the table at the end."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("commands", nargs="*", metavar="COMMAND", help=", ".join(COMMANDS))
    parser.add_argument("--tries", type=int, default=20, help="of each command; four of five are kills")
    parser.add_argument("--first", type=int, default=0, metavar="TRY", help="the number of the first")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--faults", default=",".join(dict.fromkeys(FAULTS)), help="those to try  [default: %(default)s]"
    )
    parser.add_argument("--folder", type=Path, help="to work in  [default: a temporary one]")
    arguments = parser.parse_args()
    if unknown := {*arguments.commands} - {*COMMANDS}:
        parser.error(f"unknown command {min(unknown)}: there are {', '.join(COMMANDS)}")
    if not (kinds := [kind for kind in FAULTS if kind in arguments.faults.split(",")]):
        parser.error(f"unknown fault {arguments.faults}: there are {', '.join(dict.fromkeys(FAULTS))}")
    chosen = arguments.commands or [*COMMANDS]
    if arguments.folder:
        Path(arguments.folder).mkdir(parents=True, exist_ok=True)
    bench = Bench(Path(tempfile.mkdtemp(prefix="faults-", dir=arguments.folder)).resolve())
    atexit.register(clean, bench, os.getpid())
    prepare(bench)
    if "build-dask" in chosen:
        start_dask(bench)
    if not bench.mounts:
        print("no disk is full in these tries: nothing can be mounted here (run it under `unshare -rm`)")
    table: dict[tuple[str, str], Counter[str]] = {}
    for name in chosen:
        command = COMMANDS[name]
        results = []
        for _ in range(2):  # the second finds all in caches
            bench.lay_out(command.starts_from)
            used, spent = bench.used(), sum(os.times()[2:4])
            whole = run(bench, command.words, Fault())
            results.append(look_at(bench))
            if whole.status:
                sys.exit(f"{command.words}: {whole.err}")
        before, expected = results
        if before != expected:
            sys.exit(f"{name} gives another result when it is repeated: {differences(before, expected)}")
        spent = sum(os.times()[2:4]) - spent
        print(
            f"{name}: {whole.seconds:.2f} s, {spent:.2f} s of a core, {whole.operations} operations",
            flush=True,
        )
        for number in range(arguments.first, arguments.first + arguments.tries):
            kind = kinds[number % len(kinds)]
            if kind == "disk" and not (bench.mounts and whole.disk):
                continue
            fault = draw_fault(random.Random(f"{arguments.seed} {name} {number}"), kind, whole, used)
            columns, said = attempt(bench, name, fault, whole, expected)
            table.setdefault((name, kind), Counter())["tries"] += 1
            table[name, kind].update(column.partition(":")[0] for column in columns)
            if bad := [column for column in columns if column not in ("equal", "late")]:
                print(f"  {name} --first {number} --tries 1: {fault}\n    {'; '.join(bad)}\n    {said}", flush=True)
        print(*(write_row(*key, table[key]) for key in table if key[0] == name), sep="\n", flush=True)
    total = sum(table.values(), Counter[str]())
    rows = [write_row(*key, table[key]) for key in table]
    print("", write_row("command", "fault", Counter()), "|---" * 11 + "|", *rows, write_row("all", "", total), sep="\n")
    gc.unfreeze()  # else DuckDB counts at the end what leaks
    return int(any(total[column] for column in COLUMNS[3:]))


def write_row(name: str, kind: str, counts: Counter[str]) -> str:
    """Write a row of the table; without counts its head."""
    return f"| {' | '.join([name, kind, *(str(counts[each]) if counts else each for each in COLUMNS)])} |"


if __name__ == "__main__":
    sys.exit(main())
