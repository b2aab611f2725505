"""A dataset's files -> its examples, as they are trained on and scored.

Files are looked for under DIR and DIR/SUITE, in the forms that tasks.toml knows, compressed or in an archive. A set
that is missing is divided off another one where the table says how, by a hash of ids, documents or texts, so that it is
the same everywhere. Whatever a reader of the scores should know is counted or noted.
"""

import codecs
import dataclasses
import hashlib
import io
import itertools
import re
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from fnmatch import fnmatchcase
from functools import cache, lru_cache, partial
from importlib import import_module
from pathlib import Path
from typing import IO, Any

import numpy as np

from linkbert import registry
from linkbert.config import nearest
from linkbert.files import COMPRESSIONS, CutFileError, decompressed_blocks, fetch_from_hub, read_json, sha256
from linkbert.tasks import formats
from linkbert.tasks.examples import ChoiceExample, Example, QuestionExample, Splits, TaggedExample, TextExample
from linkbert.tasks.formats import BREAK, Format, Source, ending
from linkbert.tasks.metrics import entities_of
from linkbert.tasks.table import SPLITS, Task, models_of

LARGEST, RATIO = 64 << 20, 200  # bytes of a compressed file; how many of more there are for each on disk
ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz")
WITH_COLUMNS = {"tsv", "csv", "json", "jsonl", "parquet", "hoc", "tag-rows"}
DEV_NAMES = ("dev", "devel", "valid", "validation", "val", "development")  # how publishers name it
PLAIN = {"data", "train", "test", *DEV_NAMES}  # names that say nothing of what a file is of
DATA_ZIP = "https://nlp.stanford.edu/projects/myasu/LinkBERT/data.zip"  # of michiyasunaga/LinkBERT
SHOWN = 20  # labels that train does not have, by name
NONE = ("-1", -1.0)  # as the hub writes no label
FEWEST = 5  # texts of which none may be that of more than its part of the examples
LONG = 5  # words of a text that two examples do not share by chance
Files = tuple[tuple[str, Path], ...]  # a candidate: names as tasks.toml has them, and where they lie
Data = Path | Mapping[str, Sequence[Example]]  # a folder, or the examples of each split
Parts = dict[str, list[Any]]  # the examples of each split
READERS = ("lines", "tags", "tag-rows", "hoc", "triples", "mrqa", "oracle", "hotpot", "musique", "subjqa", "traced")
FORMATS: dict[str, Format] = {
    "tsv": partial(formats.read_table, separator="\t"),
    "csv": partial(formats.read_table, separator=","),
    **{form: partial(formats.read_records, form=form) for form in ("json", "jsonl", "parquet")},
    "squad": partial(formats.read_squad, form="json"),
    "squad-rows": formats.read_squad,
    **{name: getattr(formats, f"read_{name.replace('-', '_')}") for name in READERS},
}


def read_splits(
    task: Task,
    data: Data,
    *,
    fraction: float = 1.0,
    seed: int = 0,
    dev_split: str = "none",
    distract: str = "0",
    distract_in: str = "all",
    train: bool = True,
) -> Splits:
    """Read a task's examples from the files under `data`; `fraction` keeps that part of train (few-shot), by `seed`.

    Of questions: `dev_split` is a file that divides MRQA's dev set (see halve); `distract` ("1..2") puts so
    many contexts of the split's other documents before or after each, in "all" splits or in dev and test ("eval").
    Without `train`, its files need not be there, and are read only where another set is a part of them.
    Examples without a label are left out, save of a test set that has none at all. An id that occurs again in a split
    gets a number. ValueError: a file that is missing or cut, or that is not of its form.
    """
    counts, notes, parts = Counter[str](), list[str](), dict[str, list[Any]]()
    found = {} if isinstance(data, Mapping) else find_files(task, data, train=train)
    if not train and not (task.split.get("from") == "train" and task.split.keys() & ({*SPLITS} - found.keys())):
        found.pop("train", None)
    for split in SPLITS:
        read = Counter[str]()
        given = data.get(split, ()) if isinstance(data, Mapping) else ()
        path = found[split][0][1] if split in found else None
        examples = read_files(task, found[split], read) if path else given
        parts[split] = _checked(examples, read, str(path or split), bare=split == "test")
        if path and not parts[split]:
            raise ValueError(f"{task.title}: {path} holds no example with a label: is it the {split} set?")
        counts.update({f"{split}: {what}": number for what, number in read.items()})
    made = [split for split in SPLITS if split in task.split and split not in found and task.split["from"] in found]
    if dev_split != "none":
        if "test" in found:
            raise ValueError(f"dev_split={dev_split}: {found['test'][0][1]} is the test set: dev is parted already")
        parts |= halve(parts["dev"], split_file(task, dev_split))
        notes.append("dev and test: MRQA's dev set, parted by dev_split")
    elif made:
        notes.append(_divide_missing(task, parts, made))
    if all(each.gold in NONE for each in parts["test"]) and not any(each.gold in NONE for each in parts["train"]):
        parts["test"] = [dataclasses.replace(each, label=None) for each in parts["test"]]
    if fraction != 1 and parts["train"]:
        total = len(parts["train"])
        parts["train"] = sample(parts["train"], fraction, seed)
        notes.append(f"train: {len(parts['train'])} of {total} examples ({fraction:g})")
    _count(parts, counts)
    if distract != "0":
        notes.append(_distract(task, parts, distract, distract_in))
    models = models_of(task)
    for source in at_hand(models, data)[0][:1] if isinstance(data, Path) else ():
        notes += [f"scored with the model of {source.title}", *_shared(read_splits(source, data).train, parts)]
    if not parts["test"]:
        notes.append("no test set: scored on dev")
    elif all(example.gold is None for example in parts["test"]):
        notes.append("the test set's labels are not public: scored on dev")
    notes += _unknown_labels(task, parts)
    return Splits(**parts, notes=tuple(notes), counts={key: count for key, count in sorted(counts.items()) if count})


def check_form(read: Iterable[Any], where: str) -> list[Any]:
    """List examples; a ValueError where something else is among them, or an id or a text that is no string."""
    examples = list(read)
    if other := [type(each).__name__ for each in examples if not isinstance(each, Example)]:
        raise ValueError(f"{where} holds a {other[0]}; examples are TextExample and others of linkbert.tasks.examples")
    if strange := [e.id for e in examples if not all(isinstance(text, str) for text in (e.id, *e.texts))]:
        raise ValueError(f"{where}: the id or a text of {strange[0]!r} is not a string")
    return examples


def _checked(read: Iterable[Any], counts: Counter[str], where: str, *, bare: bool) -> list[Any]:
    """Leave out what has no label, save of a `bare` set that has none, and tell repeated ids apart."""
    examples, seen = check_form(read, where), Counter[str]()
    labelled = [example for example in examples if example.gold is not None]
    counts["without a label"] += len(examples) - len(labelled)
    if labelled or not bare:
        examples = labelled
    taken = {example.id for example in examples}
    for number, example in enumerate(examples):
        seen[example.id] += 1
        if seen[example.id] > 1:
            counts["ids that come again"] += 1
            while (new := f"{example.id}#{seen[example.id]}") in taken:
                seen[example.id] += 1
            taken.add(new)
            examples[number] = dataclasses.replace(example, id=new)
    return examples


def _divide_missing(task: Task, parts: Parts, made: Sequence[str]) -> str:
    """Divide the sets that are missing off another one, as the table says; return the note on it."""
    source, by = task.split["from"], task.split.get("by", "id")
    shares, seed = {split: task.split[split] for split in made}, task.split.get("seed", 0)
    found = divide(parts[source], shares, rest=source, by=by, seed=seed)
    if by == "passage" and not all(found.values()):  # there are too few of them
        found = divide(parts[source], shares, rest=source, by=(by := "id"), seed=seed)
    parts |= found
    for split in {*made, source}:
        if not parts[split]:
            remedy = f"{split} is empty; give more examples, or a {split} set"
            raise ValueError(f"{task.title}: {source} is too small to be divided by {by}: {remedy}")
    whole = {"id": "examples", "texts": "texts", "passage": "texts or contexts"}.get(by, f"{by}s")
    return f"{' and '.join(made)}: a split of our own, of {source}, by a hash of its {whole}"


def split_file(task: Task, dev_split: str) -> Path:
    """Find the file that parts a task's dev set: `dev_split`, or that of its name in a folder (the authors' names)."""
    if task.format != "mrqa":
        raise ValueError(f"dev_split is for MRQA's dev sets, whose lines it numbers; {task.title} is not one")
    path = Path(dev_split).expanduser()
    if not path.is_dir():
        return path
    stem = Path(task.authors).name.removesuffix("_hf") or task.name
    if not (path := path / f"inhouse_split_{stem}.json").is_file():
        raise ValueError(f"dev_split={dev_split} has no file for {task.title}: it would be {path.name}")
    return path


def _distract(task: Task, parts: Parts, distract: str, distract_in: str) -> str:
    """Put other contexts before or after each, as `distract` says; return the note on it."""
    if not any(isinstance(example, QuestionExample) for part in parts.values() for example in part):
        raise ValueError(f"distract={distract} is for questions with a context; {task.title} has none")
    bounds = [int(each) for each in distract.split("..")] if re.fullmatch(r"\d+(\.\.\d+)?", distract) else []
    if not bounds or bounds != sorted(bounds):
        raise ValueError(f"distract={distract}: give a number, or two such as 1..2")
    for split in SPLITS[distract_in == "eval" :]:
        parts[split] = [*distracted(parts[split], bounds[0], bounds[-1])]
    where = " of dev and test" if distract_in == "eval" else ""
    return f"{distract} distracting documents before or after each context{where}"


def distracted(examples: Sequence[QuestionExample], least: int, most: int, *, seed: int = 0) -> list[QuestionExample]:
    r"""Put contexts of other documents before or after each context: `least` to `most` of them.

    How many, which of the other contexts (whose title must be another one) and which side follow from the seed
    and the question's id. Spans move with their context.

        "Rome fell .", span (0, 4), and "A cat ."    ->    "A cat .\nRome fell .", (8, 12), or "Rome fell .\nA cat ."
    """
    contexts = list(dict.fromkeys((each.title or each.id, each.context) for each in examples))
    titles = Counter(title for title, _ in contexts)
    made = []
    for example in examples:
        title = example.title or example.id
        if (left := len(contexts) - titles[title]) < most:
            there = f"its split has {left} contexts besides the document of question {example.id}"
            raise ValueError(f"distract={least}..{most}: {there}; ask for no more")
        drawn = _numbers(f"{seed} {example.id}")
        wanted, chosen = least + next(drawn) % (most - least + 1), dict[int, None]()
        before = next(drawn) % 2
        while len(chosen) < wanted:
            number = next(drawn) % len(contexts)
            if contexts[number][0] != title:
                chosen[number] = None
        added = BREAK.join(contexts[number][1] for number in chosen)
        context = BREAK.join([added, example.context] if before else [example.context, added])
        shift = (len(added) + len(BREAK)) * before
        spans = tuple((first + shift, last + shift) for first, last in example.spans)
        made.append(dataclasses.replace(example, context=context, spans=spans))
    return made


def halve(examples: Sequence[QuestionExample], path: Path) -> dict[str, list[QuestionExample]]:
    """Part an MRQA dev set as a file says: {"dev": [0, 3], "test": [1, 2]}, numbers of its lines (the contexts)."""
    halves = read_json(path)
    if not isinstance(halves, dict) or not all(isinstance(halves.get(split), list) for split in ("dev", "test")):
        raise ValueError(f'dev_split={path} is not of the form {{"dev": [0, 3], "test": [1, 2]}}')
    half = {str(number): split for split in ("dev", "test") for number in halves[split]}
    missing = {each.title for each in examples} ^ half.keys()
    if missing or len(half) < len(halves["dev"]) + len(halves["test"]):
        both = f"of its {len(half)} contexts and the dev set's {len(missing)} are not in both, or one is there twice"
        raise ValueError(f"dev_split={path}: {both}: is it of this dataset?")
    return {split: [each for each in examples if half[each.title] == split] for split in ("dev", "test")}


def _numbers(key: str) -> Iterator[int]:
    """Draw numbers below 2**64 from a key, the same on every machine."""
    block = key.encode()
    while True:
        block = hashlib.sha256(block).digest()
        yield from (int.from_bytes(block[i : i + 8], "big") for i in range(0, 24, 8))


def find_data(name: str, tasks: Sequence[Task]) -> Path:
    """Find the folder of tasks' files: a path as it is, or the name of a dataset of the hub.

    Of that, what they and the tasks of their `model_of` may be read from is fetched, without the user's token, so that
    a gated set is refused.
    """
    path = Path(name).expanduser()
    if path.is_file() and path.name.endswith(ARCHIVES):  # it is found by its name, and read unopened
        return path.parent
    if path.is_dir() or not re.fullmatch(r"\w[\w.-]*/[\w.-]+", name):
        return path
    every = [*tasks, *(each for task in tasks for each in models_of(task))]
    patterns = {place for task in every for found in task.files.values() for candidate in found
                for file in _names(candidate) for place in _places(file, task.suite)}  # fmt: skip
    remedy = "get the files elsewhere and give their folder: docs/tasks.md says which"
    folder = fetch_from_hub(name, (*sorted(patterns),), f"--data {name}", remedy, repo_type="dataset", token=False)
    if not folder.is_dir():
        of = ", ".join(task.name for task in tasks)
        raise ValueError(f"--data {name}: that dataset has no file for {of}; {remedy}")
    return folder


def check_examples(data: Mapping[str, Sequence[Example]], *, choosing: bool) -> Data:
    """Refuse examples of other sets than SPLITS, and a lack of those to score on; return them."""
    if unknown := [name for name in data if name not in SPLITS]:
        raise ValueError(f"data has a set {unknown[0]!r}; {nearest(unknown[0], SPLITS)}")
    if not data.get("dev") and (choosing or not data.get("test")):
        raise ValueError(f"data has no dev set to {'choose settings' if choosing else 'score'} on")
    return data


def check_folder(data: Path) -> None:
    """Refuse what is not a folder."""
    if not data.is_dir():
        raise ValueError(f"--data {data} is no folder: check the path")


def find_files(task: Task, data: Path, *, train: bool = True) -> dict[str, Files]:
    """List the files that each split is read from; ValueError where some are missing that no other can stand for."""
    check_folder(data)
    found: dict[str, Files] = {}
    for split in SPLITS:
        for candidate in task.files.get(split, ()) if split != "train" or not task.model_of else ():
            files = [_find(name, task.suite, data) for name in _names(candidate)]
            if all(files):
                found.setdefault(split, tuple(itertools.chain(*files)))
    source = task.split.get("from", "")
    ready = {*found, *(task.split if source in found else ())}
    scored = [split for split in task.files if task.model_of or split != "train"]
    # Without `train`, one set to score on is enough.
    wanted = ["train", "dev"] if train and not task.model_of else scored[: ready.isdisjoint(scored)]
    if lacking := [split for split in wanted if split not in ready]:
        raise ValueError(_missing(task, lacking[0] if lacking[0] in task.files else source or lacking[0], data))
    return found


def hash_files(task: Task, data: Path) -> dict[str, str]:
    """Return the SHA-256 of each file that a task is read from, by its path under the folder."""
    paths = [path for files in find_files(task, data).values() for _, path in files]
    beside = {path.with_name("dataset_info.json") for path in paths if ending(path.name) in ("arrow", "parquet")}
    paths += [path for path in beside if path.is_file()]  # it names classes
    stats = ((path, path.stat()) for path in paths)
    return {path.relative_to(data).as_posix(): _sha256(path, stat.st_size, stat.st_mtime_ns) for path, stat in stats}


@cache  # two tasks may read one file; one that has changed is another
def _sha256(path: Path, _size: int, _changed: int) -> str:
    return sha256(path)


def model_task(task: Task, data: Path) -> Task:
    """Find the task whose model scores this one: itself, or the first of `model_of` whose files are there."""
    models = models_of(task)
    if models and not (found := at_hand(models, data)[0]):
        find_files(models[0], data)  # raises an error that names what is missing
    return found[0] if models else task


def at_hand(tasks: Sequence[Task], data: Path) -> tuple[list[Task], list[str]]:
    """Split tasks into those whose files are there, and a line about each of the others; ValueError for no folder."""
    check_folder(data)
    found, lacking = [], []
    for task in tasks:
        try:
            find_files(task, data)
            model_task(task, data)
            found.append(task)
        except ValueError as error:
            lacking.append(f"{task.name}: {error}")
    return found, lacking


def _names(candidate: str | tuple[str, ...]) -> tuple[str, ...]:  # one file, or several together
    return (candidate,) if isinstance(candidate, str) else candidate


def _places(name: str, suite: str) -> Iterator[str]:
    """List where a file of `files` may lie."""
    name = name.partition("!")[0]
    return (folder + name + suffix for folder in ("", f"{suite}/") for suffix in ("", *COMPRESSIONS))


def _find(name: str, suite: str, data: Path) -> Files:
    """Find a file of `files`: as it is, compressed, in an archive, under another name of dev or in other capitals."""
    path, _, inside = name.partition("!")
    stem, end = re.fullmatch(r"(.*?)(\.[^/]*)?", path).groups("")  # type: ignore[union-attr]
    others = DEV_NAMES if stem.rpartition("/")[2] == "dev" else ("",)
    names = [stem.removesuffix("dev") + other + end if other else path for other in others]
    names += [
        name.replace("/", f"-{branch}/", 1) for branch in ("master", "main") for name in names if "/" in name
    ]  # GitHub's zips
    for spelled in names:
        for place in _places(spelled, suite):
            if found := sorted(each for each in _lying(data, place) if each.is_file()):
                if (shards := re.search(r"-of-(\d+)\.", found[0].name)) and len(found) != int(shards[1]):
                    of = f"{len(found)} of {int(shards[1])} shards"
                    raise ValueError(f"{found[0].parent} has {of}, such as {found[0].name}")
                return tuple((f"{spelled}!{inside}" if inside else spelled, each) for each in found)
        for archive in () if inside else _archives(data, suite, spelled):
            if members := _members(archive, archive.stat()).get(spelled.lower()):
                if len(members) > 1:
                    raise ValueError(f"{archive} has {spelled} as {' and as '.join(members)}: unzip it, and name one")
                return ((f"{archive.name}!{members[0]}", archive),)
    return ()


def _lying(folder: Path, place: str) -> Iterable[Path]:
    """Find `place` below a folder, whatever the case of its names; one with a `*` is the shards of a set."""
    parts = place.split("/")
    for number, part in enumerate(parts):
        if "*" in part:
            return folder.glob("/".join(parts[number:]))
        there = exact if (exact := folder / part).exists() else _listed(folder).get(part.lower())
        if not there:
            return ()
        folder = there
    return (folder,)


def _listed(folder: Path) -> Mapping[str, Path]:
    """List what lies in a folder by names in small letters, once unless it was written to just now."""
    try:
        changed, now = folder.stat().st_mtime, time.time()
        return _list(folder, changed if now - changed > 1 else now)
    except OSError:
        return {}


@lru_cache(maxsize=64)
def _list(folder: Path, _: float) -> Mapping[str, Path]:
    return {each.name.lower(): each for each in sorted(folder.iterdir())}


def _archives(data: Path, suite: str, name: str) -> Iterator[Path]:
    """List the archives that a file may lie in: that of its first folder's name, then those that are soon searched.

    Not these for a file like `data/train.csv`, since many an archive has one.
    """
    top, plain = name.partition("/")[0], PLAIN.issuperset(re.split("[/.]", name)[:-1])
    for folder in (data, data / suite):
        there = [(kind, each) for each in _listed(folder).values() for kind in ARCHIVES if each.name.endswith(kind)]
        yield from (each for kind, each in there if each.name == top + kind)
        yield from (each for kind, each in there if not plain and each.name != top + kind
                    and (kind in ARCHIVES[:2] or each.stat().st_size <= LARGEST))  # fmt: skip


@cache
def _members(archive: Path, _: Any) -> Mapping[str, list[str]]:
    """List an archive's files by the ends of their paths in small letters, the least deep; none of a damaged one.

    {"top/RTE/dev.tsv"}    ->    {"dev.tsv": ["top/RTE/dev.tsv"], "rte/dev.tsv": [...], "top/rte/dev.tsv": [...]}
    """
    found: dict[str, list[str]] = {}
    with suppress(Exception):  # each library has its own
        for path in sorted(_open_archive(archive).find(""), key=lambda path: (path.count("/"), path)):
            parts = path.split("/")
            for number in range(len(parts)):
                same = found.setdefault("/".join(parts[number:]).lower(), [])
                if not same or same[0].count("/") == path.count("/"):
                    same.append(path)
    return found


def _open_archive(path: Path) -> Any:
    fsspec = import_module("fsspec")
    kind = "gzip" if path.suffix == ".tgz" else fsspec.utils.infer_compression(path.name)
    tar = {"protocol": "tar", "compression": kind}
    return fsspec.filesystem(**({"protocol": "zip"} if path.suffix == ".zip" else tar), fo=str(path))


def _missing(task: Task, split: str, data: Path) -> str:
    """Say that a split is missing: of each candidate the first file that is not there, and where it is to be had."""
    if not (candidates := [*map(_names, task.files.get(split, ()))]):
        shape = f'files = {{ {split} = ["FILE"] }}, or split = {{ from = "train", {split} = 0.1 }}'
        raise ValueError(f"{task.title}: its table names no {split} set: give it {shape}")
    lacking = [next(each for each in names if not _find(each, task.suite, data)) for names in candidates]
    files = " nor ".join(dict.fromkeys(name.partition("!")[0] for name in lacking))
    for above in data.absolute().parents[:3]:
        if any(all(_find(each, task.suite, above) for each in _names(names)) for names in task.files.get(split, ())):
            return f"{task.title}: no {split} set in {data}, but in {above}: give --data {above}"
    remedy = f"get it from {task.where or 'its publisher'}"
    remedy += f", or give --data {task.hub}, which fetches it" * bool(task.hub)
    remedy += f", or from the authors' data.zip, {DATA_ZIP}" * bool(task.authors)
    return f"{task.title}: no {split} set: {files} is neither in {data} nor in {data / task.suite}; {remedy}"


def _decompressed(path: Path, stack: ExitStack) -> IO[bytes]:
    """Decompress into a file without a name, up to 200 times what is on disk, or to 64 MiB: no dataset is so alike."""
    file = stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115
    try:
        for data, _ in decompressed_blocks(path):
            file.write(data)
            _check_size(path, file.tell())
    except CutFileError as error:
        raise ValueError(f"{error}; fetch it again") from None
    file.seek(0)
    return file


def _check_size(path: Path, made: int) -> None:
    if made > max(LARGEST, RATIO * (size := path.stat().st_size)):
        raise ValueError(f"{path} has {size:,} bytes and holds more than {made - 1:,}: no dataset does; fetch it again")


def open_file(path: Path, inside: str, stack: ExitStack) -> list[Source]:
    """Open a file, or those of an archive whose names are like `inside` (`*/dev.csv`), in the order of their names."""
    if not inside and path.suffix != ".zip":
        packed = path.suffix.lower() in COMPRESSIONS
        files: dict[str, Any] = {str(path): _decompressed(path, stack) if packed else path.open("rb")}
    else:
        archive = _open_archive(path)
        names = sorted(name for name in archive.find("") if inside in ("", name) or fnmatchcase(name, inside))
        for name in names:
            _check_size(path, archive.info(name)["size"])
        files = {f"{path}!{name}": io.BytesIO(archive.cat_file(name)) for name in names}
    if not files:
        raise ValueError(f"{path} holds no {inside}: is it the published archive?")
    sources = list[Source]()
    for name, raw in files.items():
        file = raw if hasattr(raw, "peek") else io.BufferedReader(raw)
        # What Excel calls Unicode text has the mark of UTF-16.
        code = "utf-16" if file.peek(2)[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else "utf-8-sig"
        sources.append(Source(name, stack.enter_context(io.TextIOWrapper(file, encoding=code, newline="\n"))))
    return sources


def read_files(task: Task, files: Files, counts: Counter[str]) -> list[Example]:
    """Read the files of a candidate, (name in tasks.toml, path) each, in the form that the table has for the first."""
    options = {"classes": task.labels} | {key: value for key, value in task.options.items() if key != "forms"}
    forms = task.options.get("forms", {}).items()
    options |= next((form for pattern, form in forms if fnmatchcase(files[0][0].lower(), pattern.lower())), {})
    form = options.get("format", task.format)
    if form not in FORMATS and ":" not in form:
        raise ValueError(f"the table [{task.name}] has an unknown format {form!r}; {nearest(form, FORMATS)}")
    if form in WITH_COLUMNS and not options.get("columns"):
        raise ValueError(f"the table [{task.name}] has no options.columns, which say what is in each: a, b, label, ...")
    read = FORMATS.get(form) or registry.find("tasks", form)
    with opened(files) as sources:
        return list(read(sources, options, counts))


@contextmanager
def opened(files: Files) -> Iterator[list[Source]]:
    """Open the files of a candidate; whatever goes wrong over them is a ValueError that says where."""
    sources = list[Source]()
    with ExitStack() as stack:
        try:
            for name, path in files:
                sources += open_file(path, name.partition("!")[2], stack)
            yield sources
        except Exception as error:  # each library of compression has its own; JSON has other keys or values
            if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno):  # the system's own
                raise
            paths = [str(path) for _, path in files]
            if isinstance(error, UnicodeDecodeError):
                remedy = f"fetch it again; of one of your own, `iconv -f WINDOWS-1252 -t UTF-8 {paths[0]}` makes it so"
                raise ValueError(f"{' + '.join(paths)} is not UTF-8: {error}; {remedy}") from None
            if isinstance(error, ValueError) and any(path in str(error) for path in paths):  # says where
                raise
            where = next((source.item for source in sources if source.item), " + ".join(paths))
            cause = f"{type(error).__name__}: {error}"
            raise ValueError(f"{where} is damaged or not of this form ({cause}): fetch or write it again") from None


def _count(parts: Parts, counts: Counter[str]) -> None:
    """Count the examples of each split, their entities, and what a reader of their scores should know."""
    trained = {example.texts for example in parts["train"]}
    contexts = {example.context for example in parts["train"] if isinstance(example, QuestionExample)}
    for split, examples in parts.items():
        pairs = any(isinstance(example, TextExample) and example.b for example in examples)
        counts[f"{split}: examples"] = len(examples)
        for example in examples:
            if isinstance(example, TaggedExample):
                counts[f"{split}: entities"] += len(entities_of(example.tags or ()))
            if isinstance(example, QuestionExample):
                counts[f"{split}: answers not in their context"] += bool(example.answers) and not example.spans
                counts[f"{split}: contexts that train has, too"] += split != "train" and example.context in contexts
            counts[f"{split}: empty texts"] += not all((example.a, example.b) if pairs else example.texts)
            counts[f"{split}: texts that train has, too"] += split != "train" and example.texts in trained


def _shared(train: Iterable[Example], parts: Parts) -> Iterator[str]:
    """Say how many examples share a text with what another task's model was trained on, whatever case and marks."""

    def long_texts(example: Example) -> set[str]:
        texts = example.texts[:1] if isinstance(example, ChoiceExample) else example.texts
        words = (re.findall(r"\w+", text.lower()) for text in texts)
        return {" ".join(each) for each in words if len(each) >= LONG}

    trained = set().union(*map(long_texts, train))
    said = f"share a text of {LONG} words or more with what that model was trained on"
    for split, examples in parts.items():
        if count := sum(not trained.isdisjoint(long_texts(example)) for example in examples):
            yield f"{split}: {count} of {len(examples)} {said}"


def _unknown_labels(task: Task, parts: Parts) -> Iterator[str]:
    known = {*task.labels, *(label for each in parts["train"] for label in each.classes)}
    for split in SPLITS[1:] if parts["train"] else ():
        found = Counter(label for each in parts[split] for label in each.classes if label not in known)
        for label, number in sorted(found.items())[:SHOWN]:
            yield f"{split}: label {label!r} of {number} is not in train: never predicted, scored as wrong"
        if len(found) > SHOWN:
            yield f"{split}: {len(found) - SHOWN} more labels are not in train: is it the column of labels?"


def divide(examples: Sequence[Any], shares: Mapping[str, float], *, rest: str, by: str = "id", seed: int = 0) -> Parts:
    """Divide examples into shares, the `rest` apart, by a hash of `by`: what has it in common stays together.

    `by` is a field (id, group, title), or `texts`: examples that share a text, also over others, stay together; or
    `passage`: pairs as by `texts`, where that leaves enough groups, others by what they are about, which stays in the
    rest where over a fifth of the examples have it. Another `seed` divides them otherwise.

        1,000 examples, {"dev": 0.1}, rest="train"    ->    {"dev": about 100, "train": the others}, in their order
    """
    pairs = by == "passage" and all(isinstance(each, TextExample) and each.b for each in examples)
    keys = _components(examples) if by == "texts" or pairs else [getattr(each, by) or each.id for each in examples]
    if pairs and FEWEST * max(Counter(keys).values()) > len(examples):  # nearly all hang together
        keys = [each.passage for each in examples]
    sizes = Counter(keys)
    order = sorted(sizes, key=lambda key: _hash(f"split {seed} {key}" if seed else key))
    if by == "passage":  # large ones last, into the rest
        order.sort(key=lambda key: FEWEST * sizes[key] > len(examples))
    names = [*shares, rest]
    size = np.array([sizes[key] for key in order])
    middles = (np.cumsum(size) - size / 2) / len(examples)  # a key goes where the middle of its examples lies
    which = np.searchsorted(np.cumsum([*shares.values()]), middles, side="right").tolist()
    part = {key: names[number] for key, number in zip(order, which, strict=True)}
    return {name: [each for key, each in zip(keys, examples, strict=True) if part[key] == name] for name in names}


def sample(examples: Sequence[Example], fraction: float, seed: int = 0) -> list[Example]:
    """Keep that part of the examples, drawn by a hash of seed and ids; a smaller part lies in a larger one."""
    draw = f"few-shot {seed} " if seed else "few-shot "
    kept = sorted(range(len(examples)), key=lambda number: _hash(draw + examples[number].id))
    return [examples[number] for number in sorted(kept[: max(1, round(fraction * len(examples)))])]


def _hash(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()


def _components(examples: Sequence[Example]) -> list[str]:
    """Name each example by the first text of those that it is joined with."""
    from scipy.sparse import coo_array  # half a second
    from scipy.sparse.csgraph import connected_components

    numbers: dict[str, int] = {}
    edges = [[numbers.setdefault(text, len(numbers)) for text in example.texts] for example in examples]
    ends = np.array([(each[0], other) for each in edges for other in each])
    graph = coo_array((np.ones(len(ends)), (ends[:, 0], ends[:, 1])), shape=(len(numbers), len(numbers)))
    component = connected_components(graph, directed=False)[1]
    texts, first = list(numbers), np.unique(component, return_index=True)[1]
    return [texts[first[component[each[0]]]] for each in edges]
