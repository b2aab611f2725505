"""Sources come in, a store of Documents goes out, shard by shard.

    plan     a reader cuts each source, in the given order, into shards numbered through
    read     each shard becomes three files of the store; a shard whose counters are there is not made again
    finish   second documents of an id and deleted ones are dropped, the counts added up, and store.json says that the
             store is whole

Until then STORE/plan.json says what is being built: only the same command may go on, and the result is the same, bit
for bit, as if it had never stopped. The table of links, where there is one, is put into a SQLite file first, so that
each shard can ask for its own ids, whatever the sizes.
"""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

import linkbert
from linkbert.corpora.link_table import COUNTS, SQLITE, add_links, count_by_source, load_links
from linkbert.corpora.reader import CUT, OTHER, Shard, Skipped, load_reader, make_options
from linkbert.corpora.sources import find_reader, plan_source, read_shard
from linkbert.corpora.store import DROPPED, FORMAT, Store, querying, shard_path, write_shard
from linkbert.corpora.tree import is_tree, walk_folder
from linkbert.files import (
    has_address,
    read_json,
    remove,
    replacing,
    source_path,
    source_size,
    write_json,
)
from linkbert.workers import make_executor, run_shards

log = logging.getLogger(__name__)
END = 1 << 16  # bytes at either end of a file that tell it from another one of its size
EXAMPLES = 20  # places of skipped records that the manifest keeps
SCAFFOLD = ("plan.json", SQLITE, COUNTS)  # what only an unfinished build has


@dataclass(frozen=True, slots=True)
class Job:
    """One shard of a build, with all a worker needs for it; without a `reader` there are only faults to report."""

    number: int
    reader: str
    shard: Shard
    options: dict[str, Any]
    store: Path
    has_table: bool


def build_documents(
    sources: Sequence[str | Path],
    to: str | Path,
    *,
    format: str | None = None,  # noqa: A002 - the name of the option
    options: Mapping[str, Any] | None = None,
    links_table: str | Path | None = None,
    executor: Executor | None = None,
    progress: Callable[[str, int, int | None], None] | None = None,
) -> Store:
    """Build a store from sources, or go on with a build of the same that was interrupted.

    `format` names the reader (else each source is looked at); `options` are {name: value} of the readers' options;
    `links_table` is a table of source and target, see link_table. `progress` is called with ("documents", bytes read of
    the sources, bytes in all). A store that is there already is opened if it was built from the same, else refused.
    """
    to, table = Path(to), None if links_table is None else Path(links_table)
    plan = _make_plan([source_path(source) for source in sources], format, options or {}, table)
    for source in map(source_path, sources):
        if not has_address(source) and source.is_dir() and to.resolve().is_relative_to(source.resolve()):
            raise ValueError(f"{to} lies in {source}, which is to be read: put the store elsewhere")
    if (to / "store.json").exists():
        store = Store.open(to)
        if {key: store.manifest.get(key) for key in plan} != plan:
            raise ValueError(
                f"{to} holds a store of other sources or options, or its sources have changed: choose another folder, "
                "or remove it first"
            )
        log.info("%s is built already", to)
        _clear(to)
        return store
    if (to / "plan.json").exists():
        if read_json(to / "plan.json") != plan | {"linkbert": linkbert.__version__}:
            raise ValueError(
                f"{to} holds an unfinished build of other sources or options, or its sources have changed since: "
                "run that one again, or remove the folder"
            )
        log.info("%s: going on with an unfinished build", to)
    elif to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise ValueError(f"{to} is in the way: it is neither a store nor an empty folder")
    write_json(to / "plan.json", plan | {"linkbert": linkbert.__version__})
    try:
        skipped, links_read = load_links(table, to) if table else (Skipped(), "")
        _run(plan, to, executor or make_executor(1), progress)
        return _finish(plan | {"links_read": links_read}, to, skipped)
    except ValueError:
        if not any((to / "documents").glob("*.json")):
            remove(to)  # the sources are not what they claim to be: nothing is worth going on with
        raise


def describe_sources(sources: Sequence[Path], name: str | None = None) -> list[dict[str, Any]]:
    """Say what each source is: {"path", "bytes", "mark", "reader"}; `name` is the reader of all, or they are looked at.

    A ValueError where there is nothing to be read; but one bad source of many has the reader "".
    """
    if not sources:
        raise ValueError("no source was given: name a dump, a file of JSON lines, a folder or a tar")
    if name:
        load_reader(name)
    described = []
    for path in sources:
        if not has_address(path) and not path.exists():
            raise ValueError(f"{path} is not there: check the path")
        if not has_address(path) and not path.is_file() and not path.is_dir():
            raise ValueError(f"{path} is neither a file nor a folder: write what comes out of it to a file first")
        measured, reader = {"bytes": 0, "mark": ""}, ""
        try:
            measured = _measure(path)
            reader = name or find_reader(path)
        except ValueError:
            if len(sources) == 1:
                raise
        described.append({"path": str(path), **measured, "reader": reader})
    trees = [path for path in sources if is_tree(path)]
    if len(trees) > 1:
        log.warning(
            "%s trees are read as one: ids are paths, so files of the same path count once and links cross over; "
            "put them into one folder to keep them apart",
            len(trees),
        )
    return described


def _make_plan(sources: list[Path], name: str | None, options: Mapping[str, Any], table: Path | None) -> dict[str, Any]:
    if table and not table.is_file():
        raise ValueError(f"{table} is not a file: a links table is lines of source, tab or comma, target")
    described = describe_sources(sources, name)
    made = make_options((source["reader"] for source in described if source["reader"]), options)
    return {
        "format": FORMAT,
        "sources": described,
        "options": {reader: dataclasses.asdict(each) for reader, each in made.items()},
        "links_table": table and {"path": str(table), **_measure(table)},
    }


def _measure(path: Path) -> dict[str, Any]:
    """Give a source's bytes, and a hash that tells it from another one of as many, without reading it whole.

    The hash is of a file's two ends (archives and compressed files end in checksums) or of the names and sizes of a
    files that reading a folder would find; what has an address has none.
    """
    if has_address(path):
        return {"bytes": source_size(path), "mark": ""}
    if path.is_dir():
        files = sorted((file.name, file.size) for file in walk_folder(path) if not file.cause)
        size, seen = sum(size for _, size in files), repr(files).encode()
    else:
        size = source_size(path)
        with path.open("rb") as file:
            seen = file.read(END)
            file.seek(max(END, size - END))
            seen += file.read(END)
    return {"bytes": size, "mark": hashlib.sha256(seen).hexdigest()[:16]}


def _run(
    plan: dict[str, Any],
    to: Path,
    executor: Executor,
    progress: Callable[[str, int, int | None], None] | None,
) -> None:
    total = sum(source["bytes"] for source in plan["sources"])
    read = 0

    def shards(source: dict[str, Any]) -> Iterator[tuple[str, Shard]]:
        path = source_path(source["path"])
        try:
            reader = source["reader"] or find_reader(path)
            options = load_reader(reader).options(**plan["options"].get(reader, {}))
            yield from ((reader, shard) for shard in plan_source(reader, path, options))
        except ValueError as error:
            if len(plan["sources"]) == 1:
                raise
            yield "", Shard("", 0, source["bytes"], faults=((CUT, str(error)),))

    def jobs() -> Iterator[Job]:
        number = 0
        for source in plan["sources"]:
            for reader, shard in shards(source):
                yield Job(number, reader, shard, plan["options"].get(reader, {}), to, bool(plan["links_table"]))
                number += 1

    def tell(job: Job) -> None:
        nonlocal read
        read += max(job.shard.stop - job.shard.start, 0)
        if progress is not None:
            progress("documents", read, total)

    run_shards(
        _make_shard,
        jobs(),
        executor,
        done=lambda job: shard_path(to, "documents", job.number, ".json").exists(),
        progress=tell,
    )


def _make_shard(job: Job) -> None:
    skipped = Skipped()
    options = load_reader(job.reader).options(**job.options) if job.reader else None
    records = read_shard(job.reader, job.shard, options, skipped)
    if job.has_table:
        records = add_links(records, job.store)
    write_shard(job.store, job.number, records, skipped)


def _finish(plan: dict[str, Any], to: Path, skipped: Skipped) -> Store:
    """Drop documents that do not count, add up, write store.json and clear away what only the build needed."""
    shards = len(list((to / "documents").glob("*.json")))
    counts: Counter[str] = Counter()
    deleted: list[tuple[str, int]] = []
    for number in range(shards):
        saved = read_json(shard_path(to, "documents", number, ".json"))
        skipped.update(saved.pop("skipped"))
        skipped.examples = (skipped.examples + saved.pop("examples"))[:EXAMPLES]
        deleted += [(id_, number) for id_ in saved.pop("deleted")]
        counts.update(saved)
    if not counts["documents"]:
        causes = "; ".join(f"{cause}: {count}" for cause, count in skipped.items()) or "nothing was skipped"
        remove(to)
        raise ValueError(
            f"no document was found in {', '.join(source['path'] for source in plan['sources'])} ({causes})"
        )
    latest = any(load_reader(source["reader"]).latest for source in plan["sources"] if source["reader"])
    with querying(to, memory="2GB") as database:
        dropped = _find_dropped(database, deleted, latest=latest)
        for cause in dropped["cause"].unique().to_pylist():
            ids = dropped.filter(pc.equal(dropped["cause"], cause))["id"]
            for id_ in ids[:3].to_pylist():
                skipped.note(cause, repr(id_))
            skipped[cause] += max(0, len(ids) - 3)
        if counts["redirects"]:
            for cause, query in _REDIRECTS.items():
                if count := database.execute(f"SELECT {query}").fetchall()[0][0]:
                    skipped[cause] += count
        if plan["links_table"]:
            _count_unknown(to, database, skipped)
    with replacing(to / "dropped.parquet") as part:
        pq.write_table(dropped.select(DROPPED.names).cast(DROPPED), part)
    for example in skipped.examples[:EXAMPLES]:
        log.warning("%s", example)
    others = {cause.removeprefix(OTHER): skipped.pop(cause) for cause in [*skipped] if cause.startswith(OTHER)}
    manifest = plan | {
        "created": datetime.date.today().isoformat(),
        "linkbert": linkbert.__version__,
        "reader": ", ".join(dict.fromkeys(source["reader"] for source in plan["sources"] if source["reader"])),
        "documents": counts["documents"] - len(dropped),
        "redirects": counts["redirects"],
        "shards": shards,
        "links_found": counts["links"],
        "skipped": dict(sorted(skipped.items())),
        "other_files": dict(sorted(others.items(), key=lambda item: (-item[1], item[0]))),
        "examples": skipped.examples[:EXAMPLES],
        "vocabulary": None,
    }
    write_json(to / "store.json", manifest)
    _clear(to)
    return Store.open(to)


# Ids are grouped by 64 bits of a hash: a tenth of the memory, and what shares a hash is then compared itself (in the
# second count, where one in 10^5 corpora of 10 M redirects would have such a pair, it is not).
_DROPPED = """
WITH marked AS (SELECT d.shard, row, d.id, coalesce(d.shard <= x.shard, false) AS gone
                FROM document_rows d LEFT JOIN deletions x ON d.id = x.id),
     several AS (SELECT hash(id) AS hash FROM marked WHERE NOT gone GROUP BY hash(id) HAVING count(*) > 1),
     ranked AS (SELECT shard, row, id, row_number() OVER (PARTITION BY id ORDER BY {order}) AS rank
                FROM marked WHERE NOT gone AND hash(id) IN (SELECT hash FROM several))
SELECT shard, row, 'deleted' AS cause, id FROM marked WHERE gone
UNION ALL SELECT shard, row, '{cause}', id FROM ranked WHERE rank > 1
ORDER BY shard, row"""
_REDIRECTS = {
    "redirect shadowed by a document": "count(*) FROM redirect_rows WHERE source IN (SELECT id FROM document_rows)",
    "duplicate redirect": "count(DISTINCT hash(source, target)) - count(DISTINCT hash(source)) FROM redirect_rows",
}


def _find_dropped(database: Any, deleted: list[tuple[str, int]], *, latest: bool) -> pa.Table:
    """List the rows that do not count: shard, row, cause, id, in order; the deleted, and all but one of an id."""
    database.execute("CREATE TABLE deletions (id VARCHAR, shard INTEGER)")
    if deleted:
        chunk = pa.table(list(zip(*deleted, strict=True)), names=["id", "shard"])  # noqa: F841 - DuckDB finds it by its name
        database.execute("INSERT INTO deletions SELECT id, max(shard) FROM chunk GROUP BY id")
    order, cause = ("shard DESC, row DESC", "older version") if latest else ("shard, row", "duplicate id")
    return database.sql(_DROPPED.format(order=order, cause=cause)).to_arrow_table()


def _clear(to: Path) -> None:
    for name in SCAFFOLD:
        remove(to / name)


def _count_unknown(to: Path, database: Any, skipped: Skipped) -> None:
    """Count the rows of the table whose source is no document."""
    database.execute("CREATE TABLE sources (source VARCHAR, rows BIGINT)")
    for rows in count_by_source(to):
        chunk = pa.table(list(zip(*rows, strict=True)), names=["source", "rows"])  # noqa: F841 - DuckDB finds it by its name
        database.execute("INSERT INTO sources SELECT * FROM chunk")
    unknown = database.execute("""
        SELECT source, rows FROM sources WHERE source NOT IN (SELECT id FROM document_rows) ORDER BY source""")
    while rows := unknown.fetchmany(100_000):
        for source, count in rows:
            skipped.note("links table: unknown source", repr(source))
            skipped["links table: unknown source"] += count - 1
