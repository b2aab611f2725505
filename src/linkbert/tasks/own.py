"""One's own data: a file or a folder and the names of its columns -> a Task; and new inputs -> predictions.

Files are CSV, TSV, JSON, JSON lines, Parquet or Arrow; a folder has train, dev and test in any of these, or is one that
the datasets library saved. A dev and a test set that are missing are a tenth of train each, drawn by a seed. What kind
of task it is follows from the columns and the labels, unless it is given.
"""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import Any

from linkbert.config import nearest
from linkbert.files import read_json
from linkbert.tasks.examples import Example, Prediction, Splits
from linkbert.tasks.formats import Source, form_of, read_rows, records
from linkbert.tasks.settings import FineTuneConfig
from linkbert.tasks.splits import DEV_NAMES, open_file, read_files
from linkbert.tasks.table import SPLITS, Task, make_task

SUFFIXES = {".csv": "csv", ".tsv": "tsv", ".json": "json", ".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet",
            ".arrow": "parquet"}  # fmt: skip
METRICS = {  # by the word for --kind: the kind of task, and its metrics
    "classification": ("text", ["accuracy"]),
    "regression": ("text", ["pearson", "spearman"]),
    "multilabel": ("text", ["multilabel_f1"]),
    "tags": ("tags", ["entity_f1"]),
    "choice": ("choice", ["accuracy"]),
    "question": ("question", ["answer_f1", "exact"]),
}
ANSWERS = ("prediction", "answer", "label", "value")  # names of an answer
LOOKED_AT = 1_000  # rows from which the kind is told
NAMES = {"train": ("train", "training"), "dev": DEV_NAMES, "test": ("test", "testing")}


def own_task(
    path: Path,
    *,
    text: str = "",
    label: str = "",
    kind: str = "",
    dev: Path | None = None,
    test: Path | None = None,
    split_seed: int = 0,
) -> tuple[Task, Path]:
    """Make the task of a file or a folder, and the folder under which its files are.

    `text` names one column or two (a pair), of a choice the question's and its options'; `label` one, or several of 0
    and 1. Questions in SQuAD's form need neither. ValueError: a form, a column or a kind that is not known.
    """
    files = _files(path, dev, test)
    first = Path(files["train"][0])
    columns, rows = _look(first)
    named = Counter(text.split(",") if text else ())
    texts, labels = list(named), label.split(",") if label else []
    if kind and kind not in METRICS:
        raise ValueError(f"--kind {kind!r}; {nearest(kind, METRICS)}")
    if unknown := [each for each in (*texts, *labels) if each not in columns]:
        raise ValueError(f"{first} has no column {unknown[0]!r}; {nearest(unknown[0], columns)}")
    squad = "data" in columns or {"question", "context", "answers"} <= {*columns}
    if not squad and not (texts and labels):
        raise ValueError(f"{first}: name its columns, --text COLUMN --label COLUMN; it has {', '.join(columns)}")
    kind = kind or ("question" if squad and not texts else _kind(texts, labels, rows))
    of, metrics = METRICS[kind]
    table: dict[str, Any] = {
        "name": path.stem,
        "kind": of,
        "metrics": metrics,
        "file": str(path),
        "format": _format(first, of),
    }
    table["options"] = _options(kind, texts, labels, first)
    where = Path("/") if dev or test else (path if path.is_dir() else path.parent)
    table["files"] = {
        split: [str(Path(each).absolute().relative_to(where.absolute())) for each in names][:1]
        for split, names in files.items()
    }
    lacking = {split: 0.1 for split in SPLITS[1:] if split not in files and not (split == "test" and dev)}
    table["split"] = {"from": "train", "seed": split_seed, **lacking}
    return make_task(str(table["name"]), table, str(path)), where


def _files(path: Path, dev: Path | None, test: Path | None) -> dict[str, list[str]]:
    """List the files of each split that is there."""
    found = {split: [str(each)] for split, each in (("dev", dev), ("test", test)) if each}
    if path.is_file():
        return {"train": [str(path)], **found}
    for split, names in NAMES.items():
        there = [each for name in names for each in (*path.glob(f"{name}.*"), *path.glob(f"{name}/data-*.arrow"))]
        if split not in found and (there := [each for each in there if each.suffix in SUFFIXES]):
            found[split] = [str(there[0].parent / "data-*.arrow" if there[0].suffix == ".arrow" else there[0])]
    if "train" not in found:
        if not [*path.glob("data-*.arrow")]:
            raise ValueError(
                f"{path} has no train set: train.csv, .tsv, .json, .jsonl or .parquet, or datasets' folder"
            )
        found["train"] = [str(path / "data-*.arrow")]
    return found


def _open(path: Path, stack: ExitStack) -> Source:
    path = next(iter(sorted(path.parent.glob(path.name)))) if "*" in path.name else path
    if not path.is_file():
        raise ValueError(f"{path}: no such file")
    if path.suffix not in SUFFIXES:
        raise ValueError(f"{path} is of no known form; it may be {', '.join(SUFFIXES)}")
    return open_file(path, "", stack)[0]


def _look(path: Path) -> tuple[list[str], list[Mapping[str, Any]]]:
    """Return the names of a file's columns, and its first rows."""
    with ExitStack() as stack:
        source = _open(path, stack)
        form = SUFFIXES[Path(source.name).suffix]
        rows: list[Mapping[str, Any]] = []
        try:
            if form in ("csv", "tsv"):
                lines = read_rows(source, "\t" if form == "tsv" else ",", quotes=form == "csv")
                head = next(lines, (1, []))[1]
                return head, [dict(zip(head, row, strict=False)) for _, row in islice(lines, LOOKED_AT)]
            if form == "json" and form_of(source) == "jsonl":
                whole = json.load(source.stream) if _whole(source) else {}
                if isinstance(whole.get("data"), list):
                    return ["data"], []
                form = "json" if whole else "jsonl"
                source.stream.seek(0)
            rows = [row for _, _, row in islice(records(source, {}, form), LOOKED_AT)]
        except (UnicodeDecodeError, json.JSONDecodeError) as error:
            raise ValueError(f"{path} is not a {form} file in UTF-8: {error}") from None
    if not rows or not isinstance(rows[0], Mapping):
        raise ValueError(f"{path} has no rows with named columns")
    return list(rows[0]), rows


def _whole(source: Source) -> bool:
    """Check whether a file that starts with an object is that one object."""
    try:
        json.load(source.stream)
    except ValueError:
        return False
    finally:
        source.stream.seek(0)
    return True


def _kind(texts: Sequence[str], labels: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> str:
    """Tell the kind of a task from its columns and its first labels."""
    values = [row[labels[0]] for row in rows if row.get(labels[0]) not in (None, "")]
    if len(labels) > 1:
        return "multilabel"
    if values and isinstance(values[0], list):
        return "tags" if isinstance(rows[0].get(texts[0]), list) else "multilabel"
    if len(texts) > 2 or isinstance(rows[0].get(texts[-1]), list):
        return "choice"
    try:
        numbers = [float(value) for value in values]
    except (TypeError, ValueError):
        return "classification"
    return "regression" if any(number % 1 for number in numbers) else "classification"


def _format(path: Path, kind: str) -> str:
    form = SUFFIXES[path.suffix]
    if kind == "tags":
        return "tags" if form in ("csv", "tsv") else "tag-rows"
    if kind == "question":
        return "squad" if form == "json" else "squad-rows"
    if form == "json" and "[" not in path.read_text(encoding="utf-8")[:10]:
        return "jsonl"
    return form


def _options(kind: str, texts: Sequence[str], labels: Sequence[str], path: Path) -> dict[str, Any]:
    """Make the options of the format: which column is what."""
    if kind == "question":
        return {"names": True}
    label = list(labels) if len(labels) > 1 else labels[0]
    if kind == "tags":
        columns: dict[str, Any] = {"words": texts[0], "tags": label}
    elif kind == "choice":
        columns = {"question": texts[0], "options": texts[1] if len(texts) == 2 else list(texts[1:]), "label": label}
    else:
        columns = dict(zip(("a", "b"), texts, strict=False)) | {"label": label}
    options: dict[str, Any] = {"columns": columns, "names": True}
    if kind == "regression":
        options["number"] = True
    if kind == "multilabel" and path.suffix in (".csv", ".tsv") and len(labels) == 1:
        options["separator"] = "|"
    return options


def predict_file(model: Path, path: Path, settings: FineTuneConfig) -> tuple[Task, list[Example], Sequence[Prediction]]:
    """Answer new inputs with a model that finetune kept, or the one that is kept in a folder of results.

    The file has the columns that the model was trained on; labels are not needed. ValueError: no such model.
    """
    from linkbert.tasks.finetune import fine_tune

    kept = [model, *sorted((model / "models").glob("*"), key=lambda each: each.name)]
    folder = next((each for each in kept if (each / "task.json").is_file()), None)
    if folder is None:
        raise ValueError(f"{model} has no fine-tuned model: make one by `linkbert finetune ... --keep-model`")
    table = read_json(folder / "task.json")
    columns = {role: column for role, column in table["options"].get("columns", {}).items() if role != "label"}
    suffix = SUFFIXES.get(path.suffix)
    of = table["format"] if suffix is None else _format(path, table["kind"])
    options = {key: value for key, value in table["options"].items() if key != "forms"} | {"columns": columns}
    task = dataclasses.replace(
        make_task(table["name"], {**table, "options": options, "authors": ""}, str(folder)), format=of
    )
    if not path.is_file():
        raise ValueError(f"{path}: no such file")
    examples = read_files(task, ((path.name, path),), Counter())
    found = fine_tune(task, Splits((), (), examples), folder, settings, trained=True)
    return task, examples, found.predictions.get("test", [])


def read_answers(path: Path, examples: Sequence[Example]) -> list[Prediction]:
    """Read anybody's answers: {id: answer}, or lines of an `id` and a `prediction`, for every example, in its order.

    ValueError: an example has no answer, or an id comes twice.
    """
    with ExitStack() as stack:
        source = open_file(path, "", stack)[0] if path.is_file() else None
        if source is None:
            raise ValueError(f"{path}: no such file")
        whole = json.load(source.stream) if form_of(source) == "json" or _whole(source) else None
        source.stream.seek(0)
        rows = [row for _, _, row in records(source, {}, "jsonl")] if whole is None else whole
    if isinstance(rows, list):
        pairs = [(str(row.get("id")), next((row[key] for key in ANSWERS if key in row), None)) for row in rows]
    else:
        pairs = [(str(key), value) for key, value in rows.items()]
    answers = dict(pairs)
    if len(answers) < len(pairs):
        raise ValueError(f"{path} has an id twice: {Counter(key for key, _ in pairs).most_common(1)[0][0]}")
    if lacking := [each.id for each in examples if answers.get(each.id) is None]:
        raise ValueError(f"{path} has no answer to {len(lacking)} of {len(examples)} examples, such as {lacking[0]}")
    return [Prediction(each.id, _as_gold(answers[each.id], each.gold)) for each in examples]


def _as_gold(value: Any, gold: Any) -> Any:
    """Give an answer the form of the right one."""
    if isinstance(gold, float):
        return float(value)
    if isinstance(gold, int):
        return ord(value) - ord("A") if isinstance(value, str) and value.isalpha() else int(value)
    if isinstance(value, list):
        return tuple(map(str, value))
    return str(value)
