"""Damage small files of every kind at random and read them: `python benchmarks/fuzz.py --minutes 60`.

Seeds are the golden sources of the tests, plain, compressed and in archives; and a toy model with the files of a run.
A case is its number, from which everything follows: `--case 123` repeats one and keeps its files. A finding is an
exception that is not one line with the name of a file, a record that no file can hold, more than --seconds or
--megabytes, or the death of the process.
"""

import argparse
import bz2
import gzip
import io
import json
import logging
import lzma
import multiprocessing
import random
import resource
import shutil
import signal
import struct
import sys
import tarfile
import tempfile
import time
import traceback
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

GOLDEN = Path(__file__).parents[1] / "tests" / "corpora" / "golden" / "sources"
ODD = [
    b"",
    b"\0",
    b"\xff" * 4,
    b"\xed\xa0\x80",
    b"\xc3\x28",
    b"\\ud800",
    b"-1",
    b"9" * 30,
    b"1e400",
    b"NaN",
    b"null",
    b"[" * 3000,
]
ODD += [
    b"\r",
    b"\n",
    b'"',
    b"\\",
    b"<",
    b"&#0;",
    b"]]>",
    b"<![CDATA[",
    b"<!DOCTYPE a [",
    b"{{",
    b"[[",
    b"|",
    b"\t",
    b"\xef\xbb\xbf",
]
ODD += [struct.pack("<I", 2**31 - 1), struct.pack("<Q", 2**63 - 1), b"../" * 9, b"\x1b[2J", b"\xe2\x80\xae"]
VALUES: list[Any] = [None, [], {}, -1, 0, 1, 1e308, 10**30, "", "x", True, "\ud800", [[]], {"a": {}}, 1.5, ["bert", 7]]
BATCH = 100  # cases of a process
STATE = Path("checkpoints", "step-0000001")  # read only in a folder of its step


def pack(seeds: dict[str, bytes]) -> Iterator[tuple[str, bytes]]:
    """Yield files: each seed, one compressed, archives of all."""
    table = pa.table({"id": ["a", "b"], "text": ["One.", "Two."], "links": [["b"], []]})
    pq.write_table(table, parquet := io.BytesIO())
    with pa.ipc.new_stream(arrow := io.BytesIO(), table.schema) as writer:
        writer.write_table(table)
    seeds = seeds | {"t.parquet": parquet.getvalue(), "t.arrow": arrow.getvalue()}
    compress: dict[str, Callable[[bytes], bytes]] = {
        ".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress, ".zst": zstandard.compress,
    }  # fmt: skip
    for name, data in seeds.items():
        if "/" not in name:
            yield name, data
            for suffix, how in compress.items():
                yield name + suffix, how(data)
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        with zipfile.ZipFile(buffer := io.BytesIO(), "w", method) as archive:
            for name, data in seeds.items():
                archive.writestr(name.replace("e", "é"), data)
        yield f"a{method}.zip", buffer.getvalue()
    for form in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        with tarfile.open(fileobj=(buffer := io.BytesIO()), mode="w", format=form) as tar:
            for name, data in seeds.items():
                member = tarfile.TarInfo(name)
                member.size = len(data)
                if form == tarfile.PAX_FORMAT:
                    member.pax_headers = {"GNU.sparse.map": f"0,{len(data)}", "GNU.sparse.size": str(len(data))}
                tar.addfile(member, io.BytesIO(data))
        for suffix, how in ({"": bytes} | compress).items():
            yield f"a{form}.tar{suffix}", how(buffer.getvalue())


def damage(data: bytes, draw: random.Random) -> bytes:
    """Change some bytes of a file, or where it is JSON some values."""
    if draw.random() < 0.4 and (changed := damage_json(data, draw)) is not None:
        return changed
    out = bytearray(data)
    for _ in range(draw.choice([1, 1, 2, 5, 30])):
        at, length = draw.randrange(len(out) + 1), draw.choice([1, 2, 4, 16, 300])
        match draw.randrange(7):
            case 0 if out:
                out[min(at, len(out) - 1)] ^= 1 << draw.randrange(8)
            case 1:
                out[at : at + length] = draw.randbytes(length)
            case 2:
                del out[at : at + length]
            case 3:
                out[at:at] = out[at : at + length] * draw.choice([1, 9, 2000])
            case 4:
                del out[at:]
            case 5:
                out[at : at + draw.choice([0, 1, 4, 8])] = draw.choice(ODD)
            case _:
                other = draw.randrange(len(out) + 1)
                out[at:at] = out[other : other + length]
    return bytes(out[: 4 << 20])


def damage_json(data: bytes, draw: random.Random) -> bytes | None:
    """Change a value or a key of JSON, or of a line of it; None for what is not JSON."""
    lines = data.split(b"\n") if data.count(b"\n{") else [data]
    number = draw.randrange(len(lines))
    try:
        value = json.loads(lines[number])
    except (ValueError, RecursionError):
        return None
    places: list[tuple[Any, Any]] = []
    waiting = [value]
    for each in waiting:
        inner = list(each) if isinstance(each, dict) else range(len(each)) if isinstance(each, list) else []
        places += [(each, key) for key in inner]
        waiting += [each[key] for key in inner]
    if not places:
        return None
    for _ in range(draw.choice([1, 1, 3])):
        holder, key = draw.choice(places)
        if draw.random() < 0.2 and isinstance(holder, dict):
            holder.pop(key, None)
        elif isinstance(holder, dict) or key < len(holder):
            holder[key] = draw.choice(VALUES)
    text = json.dumps(value)
    if draw.random() < 0.1:
        depth = draw.choice([300, 900, 100_000])
        text = text.replace("null", "[" * depth + '"\\ud800"' + "]" * depth, 1)
    lines[number] = text.encode()
    return b"\n".join(lines)


def read_corpus(path: Path, draw: random.Random) -> None:
    """Read a source with the reader that it seems to be for, an archive with any."""
    from linkbert.corpora.reader import Skipped
    from linkbert.corpora.sources import find_reader, is_tree, read_source
    from linkbert.registry import BUILT_IN

    skipped = Skipped()
    reader = draw.choice([*BUILT_IN["readers"]]) if is_tree(path) and draw.random() < 0.8 else find_reader(path)
    for record in read_source(reader, path, None, skipped):
        str(record).encode()
        for link in getattr(record, "links", ()):
            assert link.start == link.end == -1 or 0 <= link.start < link.end <= len(record.text), link
            f"{link.target}{link.fragment}{record.text}".encode()
    str(skipped.examples).encode()


def read_model(folder: Path, _: random.Random) -> None:
    """Read a model, its vocabulary and the files of a run, each by itself: one may be damaged."""
    from linkbert.instances.vocabulary import load_vocabulary
    from linkbert.model.checkpoint import load_model, open_tokenizer
    from linkbert.pretraining.checkpoint import last_checkpoint, read_state
    from linkbert.views.runs import runs_section

    def check_vocabulary() -> None:
        found = load_vocabulary(folder)
        assert len(found.spelled) == len(found) >= len(found.reserved)
        found.tokenizer.encode("A small text, and [MASK].")

    calls: list[Callable[[], Any]] = [
        check_vocabulary,
        lambda: open_tokenizer(folder)("A small text."),
        lambda: load_model(folder),
        lambda: read_state(folder / STATE),
        lambda: last_checkpoint(folder),
        lambda: runs_section([folder]),
    ]
    refusals = []
    for call in calls:
        try:
            call()
        except (ValueError, OSError) as error:
            refusals.append(error)
    for error in refusals:
        check_refusal(error, folder)


def check_refusal(error: Exception, path: Path) -> None:
    """Raise what is not one line that names a file."""
    text = str(error)
    if not isinstance(error, ValueError | OSError) or isinstance(error, UnicodeError):
        raise error
    cause = error.__cause__
    if (
        cause
        and type(cause).__module__ == "builtins"
        and type(cause) is not ValueError
        and not isinstance(cause, OSError)
    ):
        raise cause  # a reader fails at one record, and a build ends
    text = " ".join(text.split())  # as `one_line` prints it
    if (path.name not in text and path.stem not in text) or len(text) > 2_000:
        raise AssertionError(f"a refusal of {len(text)} characters: {text!r:.500}") from error


def make_model(folder: Path) -> None:
    """Write a toy model, its vocabulary in two forms, and what a run has next to it."""
    from linkbert.config import Config
    from linkbert.files import write_json
    from linkbert.instances.vocabulary import SPECIAL, Vocabulary
    from linkbert.model.checkpoint import start_model, write_model

    config = Config.from_words(["hidden_size=8", "num_hidden_layers=1", "num_attention_heads=2", "intermediate_size=8"])
    Vocabulary((*SPECIAL, *"abcdefgh", "small", "text", "##s")).save(folder / "v")
    write_model(start_model(config, 16), folder, vocabulary=folder / "v")
    shutil.rmtree(folder / "v")
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {}}')
    (folder / "added_tokens.json").write_text('{"[X]": 16}')
    write_json(folder / "run.json", {"format": 1, "created": "2026-01-01", "config": config.model_dump(mode="json"),
                                     "store": {"path": "s", "fingerprint": "f"}, "resumed": []})  # fmt: skip
    scores = {"mlm_loss": 1.0, "mlm_accuracy": [1, 2], "pairs": 3, "relations": {}, "mlm_losses": {}}
    line = {"step": 1, "learning_rate": 0.1, "mlm_loss": 2.0, "tokens": 9, "elapsed": 1.0}
    more = {"step": 1, "evaluation": scores, "elapsed": 1.0}
    (folder / "journal.jsonl").write_text(f"{json.dumps(line)}\n{json.dumps(more)}\n")
    (folder / STATE / "training").mkdir(parents=True)
    write_json(folder / STATE / "training" / "state.json", {"format": 1, "step": 1, "files": {}, "evaluation": scores})


def run_case(number: int, folder: Path, seeds: list[tuple[str, bytes]], model: Path, arguments: Any) -> str:
    """Make a case and read it; return a finding, or ""."""
    draw = random.Random(number)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)

    def stop(_: int, frame: FrameType | None) -> None:
        where = "".join(traceback.format_stack(frame)[-3:])
        raise TimeoutError(f"more than {arguments.seconds} seconds:\n{where}")

    signal.signal(signal.SIGALRM, stop)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    name = ""
    try:
        if draw.random() < arguments.models:
            path = folder / "model"
            shutil.copytree(model, path)
            for _ in range(draw.choice([1, 1, 2])):
                file = draw.choice(sorted(each for each in path.rglob("*") if each.is_file()))
                name += f"{file.name} "
                if draw.random() < 0.1:
                    file.unlink()
                else:
                    file.write_bytes(damage(file.read_bytes(), draw))
            if draw.random() < 0.5:  # else no weights but those are read
                (path / "model.safetensors.index.json").unlink(missing_ok=True)
            read: Callable[[Path, random.Random], None] = read_model
        else:
            name, data = draw.choice(seeds)
            path, read = folder / name, read_corpus
            path.write_bytes(damage(data, draw))
        signal.alarm(arguments.seconds)
        try:
            read(path, draw)
        except ValueError as error:
            check_refusal(error, path)
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        where = next(
            (f"{Path(each.filename).name}:{each.lineno}" for each in reversed(frames) if "linkbert" in each.filename),
            "",
        )
        return f"{name.strip()}: {type(error).__name__} at {where}: {str(error)[:600]}"
    finally:
        signal.alarm(0)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10
    return f"{name.strip()}: {grown} MB more" if grown > arguments.megabytes else ""


def run_batch(first: int, folder: Path, seeds: list[tuple[str, bytes]], model: Path, arguments: Any, pipe: Any) -> None:
    """Run cases in a process of their own, which may die; each is announced."""
    logging.disable()
    warnings.simplefilter("ignore")
    for number in range(first, first + BATCH):
        pipe.send((number, None))
        pipe.send((number, run_case(number, folder, seeds, model, arguments)))
    pipe.close()


def main() -> None:
    """Run cases for some minutes, and print each finding with its number; those alike are counted."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=1)
    parser.add_argument("--first", type=int, default=0, help="the number of the first case")
    parser.add_argument("--case", type=int, help="run one, and keep its files")
    parser.add_argument("--models", type=float, default=0.3, help="the share of cases that are models and runs")
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--megabytes", type=int, default=400)
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
    made = {
        path.relative_to(GOLDEN).as_posix(): path.read_bytes() for path in sorted(GOLDEN.rglob("*")) if path.is_file()
    }
    seeds = sorted(pack({name: data for name, data in made.items() if not name.endswith(".json")}))
    model = folder / "seed"
    if arguments.models:
        make_model(model)
    if arguments.case is not None:
        print(
            run_case(arguments.case, folder / "case", seeds, model, arguments) or "nothing found",
            folder / "case",
            sep="\n",
        )
        return
    end, number, alike = time.monotonic() + arguments.minutes * 60, arguments.first, Counter[str]()
    try:
        while time.monotonic() < end:
            here, there = multiprocessing.Pipe(duplex=False)
            batch = multiprocessing.get_context("fork").Process(
                target=run_batch, args=(number, folder / "case", seeds, model, arguments, there)
            )
            batch.start()
            there.close()
            open_case = last = number
            finding: str | None = None
            while True:
                try:
                    last, finding = here.recv()
                except EOFError:
                    break
                open_case = last if finding is None else last + 1
                if finding:
                    key = finding.partition(" at ")[2].partition(":")[0] + finding.partition(": ")[2][:40]
                    alike[key] += 1
                    if alike[key] <= 3:
                        print(f"case {last}: {finding}", flush=True)
            batch.join()
            if batch.exitcode:
                print(f"case {open_case}: the process died ({batch.exitcode})", flush=True)
                alike["death"] += 1
            number = open_case + bool(batch.exitcode)
    finally:
        shutil.rmtree(folder)
    print(f"{number - arguments.first:,} cases, {alike.total()} findings of {len(alike)} kinds")
    sys.exit(bool(alike))


if __name__ == "__main__":
    main()
