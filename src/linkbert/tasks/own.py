"""One's own data: a file or a folder and the names of its columns -> a Task.

Files are CSV, TSV, JSON, JSON lines, Parquet or Arrow; a folder has train, dev and test in any of these, or is one that
the datasets library saved. A dev and a test set that are missing are a tenth of train each, drawn by a seed.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from linkbert.config import nearest
from linkbert.files import read_json
from linkbert.tasks.splits import DEV_NAMES
from linkbert.tasks.table import SPLITS, Task, make_task

FORMATS = {".csv": "csv", ".tsv": "tsv", ".json": "json", ".jsonl": "jsonl", ".parquet": "parquet", ".arrow": "parquet"}
KINDS = {  # by the word for --kind: the kind of task, and its metrics
    "classification": ("text", ["accuracy"]),
    "regression": ("text", ["pearson", "spearman"]),
    "multilabel": ("text", ["multilabel_f1"]),
    "tags": ("tags", ["entity_f1"]),
    "choice": ("choice", ["accuracy"]),
    "question": ("question", ["answer_f1", "exact"]),
}


def own_task(
    path: Path, text: str, label: str, kind: str, dev: Path | None, test: Path | None, seed: int
) -> tuple[Task, Path]:
    """Make the task of a file or a folder, and find the folder under which its files are.

    `text` names one column or two (a pair), of a choice the question's and those of its options; `label` one, or
    several of 0 and 1. Questions in SQuAD's form need neither. The kind follows from the columns where it is not given.
    ValueError: a form, a column or a kind that is not known.
    """
    files = _files(path) | {split: each.absolute() for split, each in (("dev", dev), ("test", test)) if each}
    columns, row, decimal = _look(files["train"], label)
    texts, labels = [[each for each in names.split(",") if each] for names in (text, label)]
    if unknown := [each for each in (*texts, *labels) if each not in columns]:
        raise ValueError(f"{path} has no column {unknown[0]!r}; {nearest(unknown[0], columns)}")
    squad = columns == ["data"] or {"question", "context", "answers"} <= {*columns}
    if not squad and not (texts and labels):
        raise ValueError(f"{path}: name its columns by --text and --label; it has {', '.join(columns)}")
    if not kind and labels:
        lists = [isinstance(row[each], list) for each in (texts[-1], labels[0])]
        kind = ("regression" if decimal else "tags" if all(lists) else "choice" if lists[0] or len(texts) > 2
                else "multilabel" if lists[1] or len(labels) > 1 else "classification")  # fmt: skip
    kind = kind or "question"
    if kind not in KINDS:
        raise ValueError(f"--kind {kind!r}; {nearest(kind, KINDS)}")
    of, metrics = KINDS[kind]
    names: dict[str, Any] = {"label": labels if len(labels) > 1 else label}
    if kind == "choice":
        names |= {"question": texts[0], "options": texts[1] if len(texts) == 2 else texts[1:]}
    else:
        names |= {"words": texts[0], "tags": label} if kind == "tags" else dict(zip("ab", texts, strict=False))
    options = {"columns": names, "number": kind == "regression"}
    if kind == "multilabel" and files["train"].suffix in (".csv", ".tsv") and len(labels) == 1:
        options["separator"] = "|"
    where = Path(os.path.commonpath([each.parent for each in files.values()]))
    lacking = dict.fromkeys([split for split in SPLITS[1:] if split not in files and (split == "dev" or not dev)], 0.1)
    return make_task(path.stem, {
        "kind": of, "metrics": metrics, "file": str(path), "format": _format(files["train"], of), "options": options,
        "files": {split: [str(each.relative_to(where))] for split, each in files.items()},
        "split": {"from": "train", "seed": seed, **lacking},
    }, str(path)), where  # fmt: skip


def _files(path: Path) -> dict[str, Path]:
    """Find the file of each split in a folder; one whose name ends in `*` is several."""
    if path.is_file():
        return {"train": path.absolute()}
    found = {}
    for split, names in {"train": ("train", "."), "dev": DEV_NAMES, "test": ("test",)}.items():
        there = [each for name in names for each in (*path.glob(f"{name}.*"), *path.glob(f"{name}/data-*.arrow"))]
        if there := [each.absolute() for each in there if each.suffix in FORMATS]:
            found[split] = there[0].with_name("data-*.arrow") if there[0].suffix == ".arrow" else there[0]
    if "train" not in found:
        raise ValueError(f"{path} has no train set, such as train.csv: its forms are {', '.join(FORMATS)}")
    return found


def _look(path: Path, label: str) -> tuple[list[str], dict[str, Any], bool]:
    """Return a file's columns, its first row, and whether the labels are decimal numbers."""
    import pyarrow
    from pyarrow import csv, ipc, parquet
    from pyarrow import json as lines

    path = min(path.parent.glob(path.name), default=path)
    try:
        match _format(path, ""):
            case "csv" | "tsv" as form:
                options = csv.ParseOptions(delimiter="\t" if form == "tsv" else ",", newlines_in_values=form == "csv")
                table = csv.read_csv(path, parse_options=options)
            case "jsonl":
                table = lines.read_json(path)
            case "json":
                whole = read_json(path)
                table = pyarrow.table({"data": [0]}) if "data" in whole else pyarrow.Table.from_pylist(whole)
            case _:
                table = ipc.open_stream(path).read_all() if path.suffix == ".arrow" else parquet.read_table(path)
    except (pyarrow.ArrowException, TypeError) as error:
        raise ValueError(f"{path} is not a table of rows: {str(error).splitlines()[0]}") from None
    if not len(table):
        raise ValueError(f"{path} has no rows")
    decimal = label in table.column_names and pyarrow.types.is_floating(table[label].type)
    return table.column_names, table.slice(0, 1).to_pylist()[0], decimal


def _format(path: Path, kind: str) -> str:
    """Tell the format of a file; one in .json may have lines."""
    if path.suffix not in FORMATS:
        raise ValueError(f"{path} is of no known form: {', '.join(FORMATS)}")
    form = FORMATS[path.suffix]
    if form == "json":
        with path.open(encoding="utf-8") as file:
            first, more = file.readline(), file.readline()
        form = "jsonl" if first[:1] == "{" and more[:1] in ("{", "") and '"data"' not in first[:99] else "json"
    if kind == "question":
        return "squad" if form == "json" else "squad-rows"
    return "tag-rows" if kind == "tags" else form
