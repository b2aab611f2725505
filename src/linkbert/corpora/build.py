"""Sources come in, a store of Documents goes out, shard by shard.

A reader cuts each source into shards numbered through; each becomes three files of the store, unless its counters are
there; then second documents of an id and deleted ones are dropped and store.json is written. Until then plan.json says
what is being built: only the same command can resume, and the result is the same, bit for bit.
"""

import dataclasses
import datetime
import hashlib
import itertools
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from email.utils import formatdate
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import TypeAdapter

import linkbert
from linkbert.corpora.link_table import SQLITE, add_links, count_unknown, load_links
from linkbert.corpora.reader import (
    CUT,
    DOCUMENTS,
    OTHER,
    SEVERAL,
    FaultError,
    Shard,
    Skipped,
    load_reader,
    make_options,
)
from linkbert.corpora.sources import choose, find_reader, is_tree, may_be_read, plan_source, read_shard, walk_folder
from linkbert.corpora.store import DROPPED, Store, querying, read_counters, shard_files, shard_path, write_shard
from linkbert.files import (
    STORE_FORMAT,
    has_address,
    read_json,
    remove,
    replacing,
    source_path,
    source_size,
    without_secrets,  # fmt: skip
    write_json,
)
from linkbert.workers import make_executor, run_shards

log = logging.getLogger(__name__)
Progress = Callable[[str, int, int | None], None]
END, WHOLE = 1 << 16, 1 << 26  # bytes at either end of a file that tell it from another of its size, if that is above
DATES = ("Last-Modified", "LastModified", "mtime")  # what servers call them; not ETag, which mirrors differ in
SURVEY = "survey-"  # and a number: files of an unfinished store
MANY_LINKS = 1_000  # without a place: where they are nine tenths, that is said
EXAMPLES = 20  # places of skipped records that the manifest keeps
DIFFERENT = "of other sources or options, or its sources have changed since"


class Job(NamedTuple):
    """One shard of a build; without a `reader` it has only faults to report."""

    number: int
    reader: str
    shard: Shard


def build_documents(
    sources: Sequence[str | Path],
    to: str | Path,
    *,
    format: str | None = None,  # noqa: A002 - the name of the option
    options: Mapping[str, Any] | None = None,
    links_table: str | Path | None = None,
    executor: Executor | None = None,
    progress: Progress = lambda *_: None,
) -> Store:
    """Build a store from sources, or resume a build of the same that was interrupted.

    `format` names the reader (else each source is looked at); `options` are {name: value} of the readers' options;
    `links_table` is a table of source and target, see link_table. `progress` is called with ("documents", bytes read of
    the sources, bytes in all). A store that is there already is opened if it was built from the same, else refused.
    """
    to, table = Path(to), None if links_table is None else Path(links_table)
    paths = [source_path(source) for source in sources]
    plan = _make_plan(paths, to, format, options or {}, table)
    if (to / "store.json").exists():
        store = Store.open(to)
        if {key: store.manifest.get(key) for key in plan} != plan:
            raise ValueError(f"{to} holds a store {DIFFERENT}: choose another folder, or remove it first")
        _clear(to)
        return store
    read = [(path, source["reader"]) for path, source in zip(paths, plan["sources"], strict=True)]
    read += [(path, "") for path in [table] if path]
    dates = [_dates_of(*each) for each in read]
    started = plan | {"linkbert": linkbert.__version__, "dates": dates}
    if (to / "plan.json").exists():
        if read_json(to / "plan.json") != started:
            raise ValueError(f"{to} holds an unfinished build {DIFFERENT}: run that one again, or remove the folder")
    elif to.exists() and (not to.is_dir() or {path.name for path in to.iterdir()} - {"plan.json.part"}):
        raise ValueError(f"{to} is in the way: it is neither a store nor an empty folder")
    write_json(to / "plan.json", started)
    try:
        skipped, links_read = load_links(table, to) if table else (Skipped(), "")
        _make_shards(plan, paths, to, executor or make_executor(1), progress)
        for (path, reader), mark in zip(read, dates, strict=True):
            if mark and _dates_of(path, reader) not in (mark, ""):
                remedy = f"remove {to}, and build again when it changes no more"
                raise ValueError(f"{path} changed while it was read: {remedy}")
        return _finish(plan | {"links_read": links_read}, to, skipped)
    except ValueError:
        if not shard_files(to, "documents", ".json") and not hasattr(executor, "elsewhere"):  # where a shard may go on
            remove(to)  # the sources are not what they claim to be: nothing is worth resuming
        raise


def _make_plan(
    sources: list[Path], to: Path, name: str | None, options: Mapping[str, Any], table: Path | None
) -> dict[str, Any]:
    """Describe what is to be built; `name` is the reader of all, else one bad source of many has the reader ""."""
    if table and not table.is_file():
        raise ValueError(f"{table} is not a file: a links table is lines of source, tab or comma, target")
    if not sources:
        raise ValueError("no source was given, and no Document: name a dump, a file of JSON lines, a folder or a tar")
    if name:
        load_reader(name)
    found: list[tuple[Path, str]] = []
    for path in sources:
        if not has_address(path) and not path.is_file() and not path.is_dir():
            reason = "is neither a file nor a folder" if path.exists() else "is not there"
            raise ValueError(f"{path} {reason}: check the path")
        if not has_address(path) and path.is_dir() and to.resolve().is_relative_to(path.resolve()):
            raise ValueError(f"{to} lies in {path}, which is to be read: put the store elsewhere")
        reader = name or ""
        try:
            reader = reader or find_reader(path)
        except ValueError:
            if len(sources) == 1:
                raise
        found.append((path, reader))
    described: list[dict[str, Any]] = []
    sources[:] = []
    for path, reader, shown in _put_together(found):
        measured = {"bytes": 0, "mark": ""}
        try:
            measured = _measure(path)
        except ValueError:
            if len(found) == 1:
                raise
            reader = ""
        described.append({"path": shown, **measured, "reader": reader})
        sources.append(path)
    if (trees := sum(map(is_tree, sources))) > 1:
        log.warning("%s trees are read as one: where ids are paths, the first of files with one path is kept", trees)
    made = make_options((source["reader"] for source in described if source["reader"]), options)
    return {
        "format": STORE_FORMAT,
        "sources": described,
        "options": {reader: dataclasses.asdict(each) for reader, each in made.items()},
        "links_table": table and {"path": str(table), **_measure(table)},
    }


def _put_together(found: list[tuple[Path, str]]) -> Iterator[tuple[Path, str, str]]:
    """Yield sources, their readers and what they are called; files of one reader of trees, as a glob names, are one."""
    together: dict[str, dict[Path, None]] = {}
    places = {path.resolve() for path, _ in found if not has_address(path) and not path.is_symlink()}
    for path, reader in found:
        in_a_tree = bool(reader) and load_reader(reader).read_file is not None
        alone = has_address(path) or is_tree(path) or (path.is_symlink() and path.resolve() not in places)
        if in_a_tree and not alone:
            together.setdefault(reader, {})[path] = None
    for path, reader in dict.fromkeys(found):
        files = together.get(reader, {})
        shown = "the Documents" if DOCUMENTS.fullmatch(path.name) else without_secrets(str(path))
        if path not in files or len(files) == 1:
            yield path, reader, shown
        elif path == next(iter(files)):
            tree = choose([*files], load_reader(reader).settings)
            yield tree, reader, f"{len(files):,} files of {tree}"


def _measure(path: Path) -> dict[str, Any]:
    """Return a source's bytes, and a hash: of all up to WHOLE; of a larger file's ends, a folder's names and sizes.

    Documents from Python are hashed whole.
    """
    if has_address(path):
        return {"bytes": source_size(path), "mark": ""}
    seen = hashlib.sha256()
    if path.is_dir():
        found = sorted((file.name, file.size) for file in walk_folder(path) if not file.cause)
        size = sum(each for _, each in found)
        seen.update(repr(found).encode())
        for name, _ in found if size <= WHOLE else ():
            with suppress(OSError):  # it is counted where it is read
                seen.update((path / name).read_bytes())
    else:
        size = source_size(path)
        with path.open("rb") as file:
            if size <= WHOLE or DOCUMENTS.fullmatch(path.name):
                seen = hashlib.file_digest(file, "sha256")
            else:
                seen.update(file.read(END))
                file.seek(size - END)
                seen.update(file.read(END))
    return {"bytes": size, "mark": seen.hexdigest()[:16]}


def _dates_of(path: Path, reader: str) -> str:
    """Hash sizes and dates of a source's files, of a tree those that are read, to tell whether it changes meanwhile.

    "" where it cannot be looked at: a source that is bad is counted where it is read.
    """
    dates: list[Any] = []
    with suppress(ValueError, FileNotFoundError):
        if has_address(path):
            dates = _looked_at(path)
            if formatdate(usegmt=True)[:16] in str(dates):  # of today: it may be the date of the answer
                time.sleep(1.1)
                dates = [a if a == b else None for a, b in zip(dates, _looked_at(path), strict=True)]
            dates.append(source_size(path))
        elif path.is_dir():
            row = load_reader(reader)
            for file in walk_folder(path):
                if not file.cause and may_be_read(path, file.name, row):
                    dates.append((file.name, file.size, (path / file.name).stat().st_mtime_ns))
        else:
            dates = [path.stat().st_size, path.stat().st_mtime_ns]
    return hashlib.sha256(repr(dates).encode()).hexdigest()[:16] if dates else ""


def _looked_at(path: Any) -> list[Any]:
    info = source_path(str(path)).stat().as_info()  # type: ignore[attr-defined]
    return [info.get(key) for key in DATES]


def _make_shards(plan: dict[str, Any], paths: list[Path], to: Path, executor: Executor, progress: Progress) -> None:
    total, read = sum(source["bytes"] for source in plan["sources"]), 0

    def report(job: Job) -> None:
        nonlocal read
        read += max(job.shard.stop - job.shard.start, 0)
        progress("documents", read, total)

    def is_done(job: Job) -> bool:
        return shard_path(to, "documents", job.number, ".json").exists()

    make = partial(_make_shard, to, plan["options"], has_table=bool(plan["links_table"]))
    run_shards(make, _put_aside(_plan_jobs(plan, paths), to), executor, done=is_done, progress=report)


def _put_aside(jobs: Iterator[Job], to: Path) -> Iterator[Job]:
    """Put what a survey returned into a file of JSON, which a worker reads once: it may be as large as its source."""
    known, aside = None, None
    for job in jobs:
        if job.shard.known is not known:
            known, kind = job.shard.known, type(job.shard.known)
            data = TypeAdapter(kind).dump_json(known)
            if TypeAdapter(kind).validate_json(data) != known:
                raise ValueError(f"reader {job.reader}: its survey must return what JSON holds, or a dataclass of that")
            aside = (to / f"{SURVEY}{job.number:05d}", hashlib.sha256(data).hexdigest(), kind)
            with replacing(aside[0]) as part:
                part.write_bytes(data)
        yield job._replace(shard=dataclasses.replace(job.shard, known=aside))


@lru_cache(1)
def _read_aside(path: Path, mark: str, kind: type) -> Any:
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != mark:
        raise ValueError(f"{path} was changed while the store was built: run the same command again")
    return TypeAdapter(kind).validate_json(data)


def _plan_jobs(plan: dict[str, Any], paths: list[Path]) -> Iterator[Job]:
    numbers = itertools.count()
    for path, source in zip(paths, plan["sources"], strict=True):
        try:
            reader = source["reader"] or find_reader(path)
            for shard in plan_source(reader, path, _options(plan["options"], reader)):
                yield Job(next(numbers), reader, shard)
        except ValueError as error:
            if len(plan["sources"]) == 1:
                raise
            other = isinstance(error, FaultError) and error.cause.startswith(OTHER)
            fault = (error.args[0], source["path"]) if other else (CUT, str(error))
            yield Job(next(numbers), "", Shard("", 0, source["bytes"], faults=(fault,)))


def _make_shard(store: Path, options: dict[str, dict[str, Any]], job: Job, *, has_table: bool) -> None:
    skipped, known = Skipped(), job.shard.known
    shard = dataclasses.replace(job.shard, known=known and _read_aside(*known))
    records = read_shard(job.reader, shard, _options(options, job.reader), skipped)
    write_shard(store, job.number, add_links(records, store) if has_table else records, skipped)


def _options(options: dict[str, dict[str, Any]], reader: str) -> Any:
    return load_reader(reader).options(**options.get(reader, {})) if reader else None


def _finish(plan: dict[str, Any], to: Path, skipped: Skipped) -> Store:
    """Drop documents that do not count, add up, write store.json and clear away what only the build needed."""
    shards = len(shard_files(to, "documents", ".json"))
    counts: Counter[str] = Counter()
    deleted, empty = list[tuple[str, int]](), list[str]()
    for number in range(shards):
        saved = read_counters(to, number)
        skipped.update(saved.pop("skipped"))
        skipped.examples += saved.pop("examples")
        empty += saved.pop("empty", ())
        deleted += [(id_, number) for id_ in saved.pop("deleted")]
        counts.update(saved)
    if not counts["documents"]:
        causes = "; ".join(f"{cause}: {count}" for cause, count in skipped.items()) or "nothing was skipped"
        remove(to)
        paths = ", ".join(source["path"] for source in plan["sources"])
        raise ValueError("; ".join([f"no document was found in {paths} ({causes})", *skipped.examples[:1]]))
    readers = list(dict.fromkeys(source["reader"] for source in plan["sources"] if source["reader"]))
    with querying(to, memory="2GB") as database:
        dropped = _find_dropped(database, deleted, latest=any(load_reader(reader).latest for reader in readers))
        for cause, id_ in zip(dropped["cause"].to_pylist(), dropped["id"].to_pylist(), strict=True):
            skipped.note(cause, repr(id_))
        for cause, query in _REDIRECTS.items() if counts["redirects"] else ():
            if count := database.execute(f"SELECT {query}").fetchall()[0][0]:
                skipped[cause] += count
        database.register("dropped", dropped)
        database.register("empty", pa.table({"target": pa.array(empty, pa.string())}))
        lost = database.sql(_LOST).to_arrow_table().to_pylist()
        if plan["links_table"]:
            ids = database.execute("SELECT id FROM document_rows")
            count_unknown(to, iter(ids.fetchone, None), skipped)
    with replacing(to / "dropped.parquet") as part:
        pq.write_table(dropped.select(DROPPED.names).cast(DROPPED), part)
    several = skipped.pop(SEVERAL, 0)  # they lead somewhere
    chosen = [example.removesuffix(f": {SEVERAL}") for example in skipped.examples if example.endswith(SEVERAL)]
    for source, _, choice in (example.partition(": [[") for example in chosen[:3]):
        lost.append({"cause": "several", "target": f"[[{choice}", "source": source, "links": 1, "whole": several})
    examples = [example for example in skipped.examples if not example.endswith(SEVERAL)][:EXAMPLES]
    for example in examples:
        log.warning("%s", example)
    others = {cause.removeprefix(OTHER): skipped.pop(cause) for cause in [*skipped] if cause.startswith(OTHER)}
    if examples and (more := skipped.total() - len(examples)) > 0:
        log.warning("and %s more, counted by cause below", f"{more:,}")
    placeless = next((row["whole"] for row in lost if row["cause"] == "no place"), 0)
    if 0 < (placed := counts["links"] - placeless) < placeless / 9 and placeless > MANY_LINKS:
        said = "of %s links only %s have a place in the text (scope=segment follows these; the others fill in-degrees)"
        log.warning(said, f"{counts['links']:,}", f"{placed:,}")
    manifest = plan | {
        "created": datetime.date.today().isoformat(),
        "linkbert": linkbert.__version__,
        "reader": ", ".join(readers),
        "documents": counts["documents"] - len(dropped),
        "redirects": counts["redirects"],
        "shards": shards,
        "links_found": counts["links"],
        "links_lost": lost,
        "skipped": dict(sorted(skipped.items())),
        "other_files": dict(sorted(others.items(), key=lambda item: (-item[1], item[0]))),
        "examples": examples,
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
SELECT shard, row, 'deleted' AS cause, left(id, 999) AS id FROM marked WHERE gone
UNION ALL SELECT shard, row, '{cause}', left(id, 999) FROM ranked WHERE rank > 1
ORDER BY shard, row"""
# Targets that nothing is called: those most links lead to, by host where they lead elsewhere; and links without place.
_LOST = r"""
WITH links AS (SELECT id, link.target AS target, link.start AS place
               FROM (SELECT id, unnest(links) AS link FROM document_rows ANTI JOIN dropped USING (shard, row))),
     known AS (SELECT id AS target FROM document_rows UNION SELECT source FROM redirect_rows),
     lost AS (SELECT id, target, coalesce(
                        nullif(regexp_extract(target, '^(?i)(?:(?:https?|ftp):)?//(?:[^/?#]*@)?([^/?#]+)', 1), ''),
                        regexp_extract(target, '^[A-Za-z][\w+.-]*://[^/?#]*')) AS host,
                     if(target IN (FROM empty), 'empty', if(host = '', 'missing', 'elsewhere')) AS cause
              FROM links ANTI JOIN known USING (target)),
     named AS (SELECT cause, if(cause = 'elsewhere', host, target) AS target, min(id) AS source, count(*) AS links
               FROM lost GROUP BY 1, 2
               UNION ALL SELECT 'folder', regexp_extract(target, '^([^/]+/(?:[^/]+/)?)', 1) || '...' AS part, min(id),
                                count(*) FROM lost WHERE cause = 'missing' AND contains(target, '/')
               GROUP BY part HAVING count(*) * 2 > (SELECT count(*) FROM lost WHERE cause = 'missing')
               UNION ALL SELECT 'no place', target, min(id), count(*) FROM links WHERE place < 0 GROUP BY target)
SELECT *, CAST(sum(links) OVER (PARTITION BY cause) AS BIGINT) AS whole
FROM named QUALIFY row_number() OVER (PARTITION BY cause ORDER BY links DESC, target) <= 3
ORDER BY cause, links DESC, target"""
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
    for path in (to / "plan.json", to / SQLITE, *to.glob(f"{SURVEY}*")):  # of an unfinished build only
        remove(path)
