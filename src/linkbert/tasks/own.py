"""One's own data: files and the names of their columns -> a Task; new inputs -> answers; answers of others -> scores.

Files are CSV, TSV, JSON, JSON lines, Parquet or Arrow, compressed or not; a folder has train, dev and test in any of
these, or is one of the hub, or that the datasets library saved. A dev and a test set that are missing are a tenth of
train each, drawn by a seed.
"""

import dataclasses
import json
import logging
import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from linkbert.config import nearest
from linkbert.files import read_json
from linkbert.tasks.examples import ChoiceExample, Example, Prediction, QuestionExample, Splits, TaggedExample
from linkbert.tasks.formats import (
    FLAGS,
    MISSING,
    TAG,
    as_number,
    ending,
    form_of,
    one_spelling,
    read_choice,
    read_label,
    read_tag,
    records,
)
from linkbert.tasks.kinds import kind_of
from linkbert.tasks.metrics import intervals, refuse
from linkbert.tasks.settings import FineTuneConfig
from linkbert.tasks.splits import DEV_NAMES, check_form, find_data, opened, read_files, read_splits
from linkbert.tasks.table import SPLITS, Task, find_tasks, make_task

FORMS = ("csv", "tsv", "json", "jsonl", "ndjson", "parquet", "arrow")
KINDS = {  # by the word for --kind: the kind of task, and its metrics
    "classification": ("text", ["accuracy"]),
    "regression": ("text", ["pearson", "spearman"]),
    "multilabel": ("text", ["multilabel_f1"]),
    "tags": ("tags", ["entity_f1"]),
    "choice": ("choice", ["accuracy"]),
    "question": ("question", ["answer_f1", "exact"]),
}
FEW = 20  # labels, however rare they are
ENDLESS = re.compile("[+-]?inf(?:inity)?", re.IGNORECASE)
IDS = ("id", "index", "qid")  # columns of answers
ANSWERS = ("prediction", "prediction_text", "predicted_answer", "answer", "label")
log = logging.getLogger(__name__)


def own_task(
    path: Path, text: str, label: str, kind: str = "", dev: Path | None = None, test: Path | None = None, seed: int = 0
) -> tuple[Task, Path]:
    """Make the task of a file or a folder, and find the folder under which its files are.

    `text` names one column or two (a pair), of a choice the question's and those of its options; `label` one, or
    several of 0 and 1. SQuAD's form and `tags` of a word and a tag a line need neither. The kind follows from the
    columns where it is not given. ValueError: a form, a column or a kind that is not known.
    """
    lines = kind == "tags" and not (text or label)  # a word and its tag a line, as CoNLL's files
    files = _files(path, lines) | {split: each.absolute() for split, each in (("dev", dev), ("test", test)) if each}
    if kind and kind not in KINDS:
        raise ValueError(f"--kind {kind!r}; {nearest(kind, KINDS)}")
    row, rows = ({}, []) if lines else _look(files["train"])
    found = [str(each[label]).strip() for each in rows if each.get(label) not in (None, "")]
    names = [[each] if each in row else each.split(",") for each in (text, label)]  # one may hold a comma
    texts, labels = ([each for each in several if each] for several in names)
    if unknown := [each for each in (*texts, *labels) if each not in row]:
        raise ValueError(f"{path} has no column {unknown[0]!r}; {nearest(unknown[0], row)}")
    if twice := {*texts} & {*labels}:
        raise ValueError(f"{path}: the column {min(twice)!r} is the text or the label, not both")
    squad = {*row} == {"data"} or ({"question", "context"} <= {*row} and not {"answers", "answer"}.isdisjoint(row))
    if not (squad and kind in ("", "question")) and not lines and not (texts and labels):
        raise ValueError(f"{path}: name its columns by --text and --label; it has {', '.join(row)}")
    if squad and {*texts} == {"question", "context"} and isinstance(row[labels[0]] if labels else "", list | dict):
        kind = kind or "question"  # answers, which are no classes
    numbers = [as_number(each) for each in found if each.casefold() not in MISSING]
    if not kind and labels:
        kind = _kind(row, texts, labels, found, numbers, str(path))
    of, metrics = KINDS[kind := kind or "question"]
    if kind == "question" and not squad:
        raise ValueError(f"{path} has {', '.join(row)}; questions are rows of question, context and answers")
    if kind == "choice" and len(texts) < 2:
        is_one = f"{texts[0]!r} is {type(row[texts[0]]).__name__}, no text"
        raise ValueError(f"{path}: {is_one}: write texts as columns of their own; a choice is --text QUESTION,OPTIONS")
    roles: dict[str, Any] = {"label": labels if len(labels) > 1 else label}
    if kind == "choice":
        roles |= {"question": texts[0], "options": texts[1] if len(texts) == 2 else texts[1:]}
    elif not lines:
        roles |= {"words": texts[0], "tags": label} if kind == "tags" else dict(zip("ab", texts, strict=False))
    roles |= {"id": "id"} if "id" in row and of != "question" else {}
    options = {"columns": roles, "number": kind == "regression"}
    if kind == "classification" and numbers and None not in numbers:
        options["whole"] = True  # NA is none
    if kind == "multilabel" and len(labels) == 1:  # numbers of classes, or a 0 or 1 for each: by the whole column
        options["separator"] = "|"
        lists = [
            each.split("|") if isinstance(each, str) else each for each in (row.get(label) for row in rows) if each
        ]
        flags = [one_spelling(each) for several in lists for each in several]
        options["flags"] = FLAGS.issuperset(flags) and len({*map(len, lists)}) == 1 and len(flags) > len(lists)
    if kind == "choice":
        options["by_text"] = all(_said(each, label) in _shown(each, texts[1:]) for each in rows if _said(each, label))
    where = Path(os.path.commonpath([each.parent for each in files.values()]))
    lacking = dict.fromkeys([split for split in SPLITS[1:] if split not in files and (split == "dev" or not dev)], 0.1)
    at = Path(os.path.abspath(path))  # of "." it is the folder that has the name
    return make_task(at.stem if at.is_file() else at.name, {
        "kind": of, "metrics": metrics, "file": str(path), "options": options,
        "format": "tags" if lines else _format(files["train"], of),
        "files": {split: [str(each.relative_to(where))] for split, each in files.items()},
        "split": {"from": "train", "by": "passage", "seed": seed, **lacking},
    }, str(path)), where  # fmt: skip


def _files(path: Path, lines: bool) -> dict[str, Path]:
    """Find the file of each split in a folder; one whose name has a `*` is several. Of `lines`: of any ending."""
    if path.is_file():
        return {"train": path.absolute()}
    found = {}
    for split, names in {"train": ("train", "."), "dev": DEV_NAMES, "test": ("test",)}.items():
        ways = (f"{name}{rest}" for name in names for rest in (".*", "/data-*.arrow", "-*-of-*"))
        ways = (re.sub("[a-z]", lambda at: f"[{at[0]}{at[0].upper()}]", way) for way in ways)
        there = [each.absolute() for way in ways for top in (path, path / "data") for each in sorted(top.glob(way))]
        there = [each for each in there if lines or ending(each.name) in FORMS]
        of = [each.with_name(re.sub(r"-\d+-of-\d+", "-*", each.name)) for each in there]
        there = [*dict.fromkeys(of)]
        if len(there) > 1:
            raise ValueError(f"{path} has several {split} sets, {' and '.join(e.name for e in there)}: name one file")
        if there:
            found[split] = there[0]
    if "train" not in found:
        forms = f"its forms are {', '.join(FORMS)}, or lines of a word and a tag with --kind tags"
        raise ValueError(f"{path} has no train set, such as train.csv: {forms}")
    return found


def _said(row: Mapping[str, Any], label: str) -> str:
    """Return the digits that a row names the right option by; "": it does so by others."""
    said = str(row.get(label)).strip()
    return said if said.isdecimal() and isinstance(row[label], str) else ""


def _shown(row: Mapping[str, Any], columns: Sequence[str]) -> list[str]:
    given = row.get(columns[0]) if len(columns) == 1 else [row.get(each) for each in columns]
    return [str(each).strip() for each in (given.values() if isinstance(given, Mapping) else given or ())]


def _one(path: Path) -> Path:
    """Return a file, or the first of a set's."""
    return min(path.parent.glob(path.name), default=path)


def _look(path: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return a file's columns, each with the first value that it has, and its rows."""
    rows, first = _rows(_one(path)), dict[str, Any]()
    if "data" in dict(rows):  # SQuAD's; another's rows are read by now
        return {"data": ""}, []
    if not rows or not all(isinstance(row, dict) for _, row in rows):
        raise ValueError(f"{path} has no rows of named columns")
    for _, row in rows:
        first |= {column: value for column, value in row.items() if first.get(column) in (None, "", [])}
    return first, [row for _, row in rows]


def _kind(
    row: Mapping[str, Any], texts: Sequence[str], labels: Sequence[str], found: Sequence[str],
    numbers: Sequence[float | None], where: str,
) -> str:  # fmt: skip
    """Tell the kind of a task by the first values of its columns, and by all labels."""
    lists = [isinstance(row[each], list | dict) for each in (texts[-1], labels[0])]
    if not any(lists) and len(labels) == 1 and len(texts) < 3:
        decimals = any(each and each % 1 for each in numbers)
        endless = [each for each in found if ENDLESS.fullmatch(each.strip())]
        if endless and decimals and len(endless) == numbers.count(None):
            raise ValueError(f"{where} has {endless[0]!r} among the numbers of {labels[0]!r}: leave such rows out")
        if decimals and None not in numbers:
            return "regression"
        if len({*found}) > max(FEW, len(found) / 2):
            of = f"{len({*found})} labels in {len(found)} rows, such as {found[0]!r:.60}"
            ways = "if they are numbers, --kind regression; if they are classes, --kind classification"
            raise ValueError(f"{where} has {of}: is {labels[0]!r} the column of labels? {ways}")
        if found and all(re.fullmatch(r"\[.*\]", each) for each in found):
            raise ValueError(f"{where} has {found[0]!r:.60} in {labels[0]!r}: write lists as JSON lines, or as a|b")
    if lists == [False, True] and "O" in row[labels[0]] and all(TAG.fullmatch(str(each)) for each in row[labels[0]]):
        raise ValueError(f"{where} has a list of tags in {labels[0]!r}: {texts[-1]!r} must be the list of its words")
    return ("tags" if all(lists) else "choice" if lists[0] or len(texts) > 2
            else "multilabel" if lists[1] or len(labels) > 1 else "classification")  # fmt: skip


def _rows(path: Path) -> list[tuple[str | None, Any]]:
    """Read the rows of a file, or the values of an object, each with its key."""
    if not path.is_file():
        raise ValueError(f"{path}: no such file")
    if ending(path.name) not in FORMS:
        raise ValueError(f"{path} is of no known form: {', '.join(FORMS)}")
    with opened(((str(path), path),)) as sources:
        return [each[1:] for each in records(sources, {})]


def _format(path: Path, kind: str) -> str:
    """Tell the format of a file, or of the first of a set's."""
    path = _one(path)
    with opened(((str(path), path),)) as sources:
        form = form_of(sources[0])
    if kind == "question":
        return "squad" if form == "json" else "squad-rows"
    return "tag-rows" if kind == "tags" else form


def predict(model: str | Path, inputs: str | Path | Sequence[Example]) -> list[dict[str, Any]]:
    """Answer new inputs with a model that `finetune` kept: its folder, or one of results that has no other.

    `inputs` is a file with the columns that it was trained on, without labels (which are not read), or Examples. An
    answer has "id", "input", "prediction" and what the kind of task adds, such as "scores" by label. Rows that are cut
    are counted in a warning of the log. ValueError: no such model, or a file that cannot be read.
    """
    kept = [each for each in (Path(model), *sorted(Path(model).glob("models/*"))) if (each / "task.json").is_file()]
    if len(kept) != 1:
        several = f"{len(kept)} fine-tuned models, name one: {', '.join(map(str, kept))}"
        has = several if kept else "no fine-tuned model"
        raise ValueError(f"{model} has {has}; `linkbert finetune ... --keep-model` keeps them")
    table, counts = read_json(kept[0] / "task.json"), Counter[str]()
    threshold = table.pop("threshold", None)
    task = make_task(table["name"], table, str(kept[0]))
    examples = (
        _read_inputs(task, Path(inputs), counts) if isinstance(inputs, str | Path) else check_form(inputs, "inputs")
    )
    if not examples:
        raise ValueError(f"{inputs} has nothing to answer")
    from linkbert.tasks.finetune import fine_tune  # not before: what is wrong above costs no import of torch

    settings = FineTuneConfig(**{key: task.settings[key] for key in ("max_length", "stride") if key in task.settings})
    found = fine_tune(task, Splits((), (), examples), kept[0], settings, trained=True)
    counts["empty texts"] = sum(not e.texts[0] for e in examples)
    for what, number in (counts + Counter(found.counts)).items():
        log.warning("%s: %d", what.removeprefix("test: "), number)
    given, answers = found.predictions["test"], list[dict[str, Any]]()
    for example, each in zip(examples, given if threshold is None else refuse(given, threshold), strict=True):
        answers.append({"id": example.id, "input": example.shown, "prediction": each.value, **each.details})
        if found.labels and "scores" in each.details:
            answers[-1]["scores"] = dict(zip(found.labels, each.details["scores"], strict=True))
    return answers


def _read_inputs(task: Task, path: Path, counts: Counter[str]) -> list[Example]:
    """Read a file in the form of the task's own files, or in one that a file of one's own may have."""
    if not path.is_file():
        raise ValueError(f"{path}: no such file")
    task = dataclasses.replace(task, options=_without_labels(task.options))
    own = _format(path, task.kind) if ending(path.name) in FORMS else task.format
    if own == "tag-rows":
        task.options["columns"].setdefault("words", "tokens")
    if task.format not in FORMS and not (task.format == "tags" and ending(path.name) in FORMS[2:]):
        with suppress(ValueError):
            return read_files(task, ((str(path), path),), counts)
    return read_files(dataclasses.replace(task, format=own), ((str(path), path),), counts)


def _without_labels(options: Mapping[str, Any]) -> dict[str, Any]:
    columns = {"id": "id"} | options.get("columns", {})
    columns = {role: name for role, name in columns.items() if role != "label"}
    forms = options.get("forms", {})
    forms = {pattern: _without_labels({"columns": columns} | form) for pattern, form in forms.items()}
    return {**options, "columns": columns, "forms": forms, "keep": "", "unlabelled": True}


def score_answers(
    predictions: str | Path, task: str | Task, *, data: str | Path, split: str | None = None, dev_split: str = "none"
) -> dict[str, Any]:
    """Score anybody's answers to a task's `split`, by default test where its labels are known, else dev.

    The train set need not be there; `dev_split` is a file or folder of halves of MRQA's dev sets. `predictions` is
    {id: answer} in JSON, or rows of an id and a prediction: JSON, JSON lines, CSV, TSV or Parquet. Of a choice it is
    the option's number from 0, its letter or text; of several labels a list, or text such as "a|b"; of tags a list, or
    text such as "O B-X"; also HotpotQA's {"answer": {id: text}}, and MuSiQue's lines. ValueError: no labels there, an
    example without an answer, another's labels.
    """
    [known, *more] = find_tasks(task)
    if more:
        raise ValueError(f"{task} has several tasks: name one, such as {known.name}")
    splits = read_splits(known, find_data(str(data), [known]), dev_split=dev_split, train=False)
    split = split or ("test" if splits.test and splits.test[0].gold is not None else "dev")
    examples = {"dev": splits.dev, "test": splits.test}.get(split)
    if not examples or examples[0].gold is None:
        raise ValueError(f"{known.title} has no set {split!r} with labels in {data}")
    answers, path, none = _read_answers(Path(predictions)), str(predictions), ("", -1, None)
    choices = isinstance(examples[0], ChoiceExample)
    if lacking := [each.id for each in examples if answers.get(each.id) in (none if choices else none[2:])]:
        of = f"{len(lacking)} of {len(examples)} examples of {split}"
        raise ValueError(f"{path} answers {of} not, as id {lacking[0]}")
    options = dict(known.options)
    if choices:  # digits are texts where all are
        digits = [(str(answers[each.id]).strip(), each.texts[1:]) for each in examples]
        options["by_text"] = all(said in texts for said, texts in digits if said.isdecimal())
    given = [Prediction(each.id, _as_gold(answers[each.id], each, options, known.labels, path)) for each in examples]
    labels = {*known.labels, *(label for example in examples for label in example.classes)}
    said = {label for each in given for label in (each.value if isinstance(each.value, tuple) else [each.value])}
    if labels and said and labels.isdisjoint(said):
        raise ValueError(f"{path} answers {min(said)!r}; the labels of {known.title} are {', '.join(sorted(labels))}")
    scores, spread = kind_of(known).score(examples, given), intervals(known.metrics, examples, given)
    counts = {"examples": len(examples), "ids of other examples": len(answers) - len(examples)}
    return {"task": known.name, "split": split, "counts": counts, "scores": scores, "intervals": spread}


def _read_answers(path: Path) -> dict[str, Any]:
    """Read answers by id; a row without one, or an id that comes twice, is a ValueError."""
    answers, rows = dict[str, Any](), _rows(path)
    if ending(path.name) == "json":  # as it stands: lists of equal length are no columns, and an id may come twice
        with suppress(ValueError, OSError):
            pairs = json.loads(path.read_bytes(), object_pairs_hook=list)
            if pairs and isinstance(pairs[0], tuple) and {*IDS, *ANSWERS, "data", "columns"}.isdisjoint(dict(pairs)):
                whole = json.loads(path.read_bytes())
                rows = [(id_, whole[id_]) for id_, _ in pairs]
    if len(rows) == 1 and isinstance(rows[0][1], dict) and not {*IDS} & rows[0][1].keys():
        rows = [*rows[0][1].items()]  # {id: answer} on one line
    if isinstance(inner := dict(rows).get("answer"), dict):  # next to it HotpotQA has "sp", the supporting facts
        rows = [*inner.items()]
    for number, (id_, answer) in enumerate(rows, 1):
        if id_ is None:
            names = [next((name for name in columns if name in answer), "") for columns in (IDS, ANSWERS)]
            if not all(names):
                raise ValueError(f"{path}, row {number}: no {' nor '.join(IDS)}, or no {' nor '.join(ANSWERS)}")
            refused = answer.get("predicted_answerable") is False  # MuSiQue-Full's
            id_, answer = str(answer[names[0]]), "" if refused else answer[names[1]]
        if id_ in answers:
            raise ValueError(f"{path}, row {number}: the id {id_} comes again")
        answers[id_] = answer
    return answers


def _as_gold(value: Any, example: Any, options: Mapping[str, Any], classes: Sequence[str], where: str) -> Any:
    """Give an answer the form of the right one; of several labels it may be a 0 or 1 for each of the `classes`."""
    where = f"{where}: the answer to {example.id}"
    several = isinstance(example.gold, tuple) and not isinstance(example, QuestionExample)
    if isinstance(value, dict) or (isinstance(value, list) and not several):  # nbest_predictions.json has lists
        raise ValueError(f"{where} is {str(value)!r:.60}: give one text, label or number, such as the best of several")
    if isinstance(example, QuestionExample):
        return str(value)
    if isinstance(example, ChoiceExample):
        return read_choice(value, [*example.options], {"by_text": options["by_text"]}, where)
    if several:
        tags = isinstance(example, TaggedExample)
        parts = value.split(None if tags else "|") if isinstance(value, str) else [*map(str, value)]
        if tags:
            return tuple(read_tag(each, options, Counter()) if TAG.fullmatch(each) else each for each in parts)
        if len(parts) == len(classes) > 1 and {*parts} <= {"0", "1"}:
            parts = [name for name, flag in zip(classes, parts, strict=True) if flag == "1"]
        return tuple(sorted(each if each in classes else one_spelling(each) for each in parts if each))
    said = {"labels": options.get("labels", {}), "number": isinstance(example.gold, float), "classes": classes}
    if (label := read_label(value, said, where)) is None:
        raise ValueError(f"{where}: the label {str(value)!r} is not {'a number' if said['number'] else 'one'}")
    return label
