"""What a build would do: its shards, their sizes, and an estimate of time, disk and counts, before anything starts.

Every source is cut as the build would cut it, for a few seconds at most (a compressed stream has to be decompressed to
know its shards; of a long one their number is projected from the part seen). A few shards drawn at random are then read
and written to a temporary folder, and what they took is projected by bytes of source. Later stages go by rates that
were measured on two cores (docs/log.md), so the estimate is of the right order, no more.
"""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from linkbert.corpora import READERS
from linkbert.corpora.build import describe_sources
from linkbert.corpora.reader import Options, Record, Shard, Skipped
from linkbert.corpora.store import shard_path, write_shard
from linkbert.files import read_json, source_path
from linkbert.progress import count_text, seconds_text
from linkbert.records import Document

CUTTING, SAMPLING = 2.0, 10.0  # seconds given to cutting each source, and to reading samples of all
SAMPLES, SAMPLED = 4, 8  # shards kept of a source, sources of which any are kept
LARGEST_LIST = 20  # sources shown one by one
TOKENISED = 7e6  # bytes of text a second and core
JOINED = 1e6  # links, documents and redirects a second and core
CHARACTERS = 4.5  # of English text to a WordPiece


@dataclass(frozen=True)
class Cut:
    """How a source is cut: the number of its shards, whether it is projected, and a few of them."""

    reader: str
    shards: int
    projected: bool
    samples: list[Shard]


def plan_build(
    sources: Sequence[Path],
    *,
    format: str | None,  # noqa: A002 - the command line's word
    options: Options,
    workers: int,
) -> Iterator[str]:
    """Yield the plan of a build, a line each; sources that cannot be read are ValueErrors, as in the build."""
    described = describe_sources(sources, format)
    rng = random.Random(0)
    sampled = set(rng.sample(range(len(described)), min(SAMPLED, len(described))))
    cuts = [
        _cut(source, options, rng, SAMPLES * (i in sampled), alone=len(described) == 1)
        for i, source in enumerate(described)
    ]
    total = sum(source["bytes"] for source in described)
    for source, cut in list(zip(described, cuts, strict=True))[:LARGEST_LIST]:
        shards = f"{'about ' * cut.projected}{cut.shards:,} shard{'s' * (cut.shards != 1)}"
        yield f"{source['path']}: {cut.reader}, {count_text(source['bytes'])}B, {shards}"
    if len(cuts) > LARGEST_LIST:
        yield f"... and {len(cuts) - LARGEST_LIST:,} more sources"
    if len(cuts) > 1:
        yield f"in all: {count_text(total)}B, {sum(cut.shards for cut in cuts):,} shards"
    samples = [(cut.reader, shard) for cut in cuts for shard in cut.samples]
    rng.shuffle(samples)
    yield from _estimate(samples, options, total, workers)


def _cut(source: dict, options: Options, rng: random.Random, keep: int, *, alone: bool) -> Cut:
    """Count a source's shards, and draw `keep` of those seen, any as likely as the others; one of many may be bad."""
    reader, count = source["reader"], 0
    samples: list[Shard] = []
    if not reader:
        return Cut("cannot be read", 1, False, samples)
    until = time.monotonic() + CUTTING
    try:
        for shard in READERS[reader].plan(source_path(source["path"]), options):
            count += 1
            if len(samples) < keep:
                samples.append(shard)
            elif (place := rng.randrange(count)) < keep:
                samples[place] = shard
            if time.monotonic() > until and 0 < shard.stop < source["bytes"]:
                return Cut(reader, max(count, round(count * source["bytes"] / shard.stop)), True, samples)
    except ValueError:
        if alone:
            raise
        return Cut("cannot be read", count + 1, False, [])
    return Cut(reader, count, False, samples)


def _estimate(samples: list[tuple[str, Shard]], options: Options, total: int, workers: int) -> Iterator[str]:
    """Read samples until their time is up, and project what came out."""
    seen = characters = disk = documents = links = redirects = read = 0

    def counted(records: Iterator[Record]) -> Iterator[Record]:
        nonlocal characters
        for record in records:
            characters += len(record.text) if isinstance(record, Document) else 0
            yield record

    begin = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        for number, (reader, shard) in enumerate(samples):
            skipped = Skipped()
            records = READERS[reader].read(shard, options, skipped)
            write_shard(Path(folder), number, counted(records), skipped)
            counts = read_json(shard_path(Path(folder), "documents", number, ".json"))
            documents, links = documents + counts["documents"], links + counts["links"]
            redirects += counts["redirects"]
            disk += sum(shard_path(Path(folder), part, number).stat().st_size for part in ("documents", "redirects"))
            seen += shard.stop - shard.start
            read = number + 1
            if time.perf_counter() - begin > SAMPLING:
                break
    seconds = time.perf_counter() - begin
    if not documents or seen <= 0:
        yield "no estimate: no document in the shards that were looked at"
        return
    scale = total / seen
    tokens = characters * scale / CHARACTERS
    drawn = f"{read} shard{'s' * (read != 1)} drawn at random"
    yield f"estimate from {drawn} ({documents:,} documents, {seconds:.1f} s), of the right order:"
    yield f"  documents {count_text(documents * scale)}, links {count_text(links * scale)}, tokens {count_text(tokens)}"
    stages = {
        "documents": seconds * scale / workers,
        "tokens": characters * scale / TOKENISED / workers,
        "graph": (links + documents + redirects) * scale / JOINED / workers,
    }
    times = ", ".join(f"{stage} {seconds_text(value)}" for stage, value in stages.items())
    yield f"  time with {workers} workers: {seconds_text(sum(stages.values()))} ({times})"
    arrays = 2 * tokens + (4 + 16) * links * scale
    yield f"  disk: documents {count_text(disk * scale)}B, tokens and graph {count_text(arrays)}B"
