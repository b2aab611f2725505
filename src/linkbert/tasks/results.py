"""What fine-tuning leaves behind: a folder with a line for each finished run, and the predictions behind it.

    DIR/results.jsonl               a JSON object a run: task, model, settings, seed, scores, intervals, counts ...
    DIR/grid.jsonl                  the same, of runs that chose settings; they have scores on dev alone
    DIR/predictions/KEY-dev.jsonl   {"id", "input", "gold", "prediction", "score", "details"} an example, in
                                    order; of a choice "options", too
    DIR/submissions/KEY/RTE.tsv     the same for GLUE's server, of a test set whose labels are not public
    DIR/models/KEY/                 the fine-tuned model, a Hugging Face folder, where it was to be kept

KEY is a hash of what decides a run. A line is written in one piece under a lock, after everything it names: a run that
is killed leaves no line, whoever else is writing. Scores are in [0, 1].
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from linkbert.files import read_json_lines, replacing
from linkbert.tasks.examples import ChoiceExample, Example, Prediction, QuestionExample, TaggedExample, gold

RESULTS, GRID = "results.jsonl", "grid.jsonl"


def run_key(decisive: Mapping[str, Any]) -> str:
    """Name a run by what decides it: 16 hexadecimal digits."""
    return hashlib.sha256(json.dumps(decisive, sort_keys=True, default=str).encode()).hexdigest()[:16]


def read_results(folder: Path, name: str = RESULTS) -> list[dict[str, Any]]:
    """Read the finished runs of a folder, the last of each key; a line that was cut off is passed over."""
    return list({record["key"]: record for record in read_json_lines(folder / name, "key", "task")}.values())


def add_result(folder: Path, record: Mapping[str, Any], name: str = RESULTS) -> None:
    """Add a run's line; several processes may do so at once."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / name).open("ab+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        file.truncate(file.read().rfind(b"\n") + 1)  # what a process left that was killed while it wrote
        file.write(json.dumps(record, ensure_ascii=False).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


def write_predictions(
    path: Path, examples: Sequence[Example], predictions: Sequence[Prediction], scores: Sequence[float | None]
) -> None:
    """Write what a model answered to each example; `scores` is how well, None where it is not known."""
    with replacing(path) as part, part.open("w", encoding="utf-8") as file:
        for example, answer, score in zip(examples, predictions, scores, strict=True):
            line = {
                "id": example.id,
                "input": shown(example),
                **({"options": example.options} if isinstance(example, ChoiceExample) else {}),
                "gold": gold(example),
                "prediction": answer.value,
                "score": score,
                "details": answer.details,
            }
            file.write(json.dumps(line, ensure_ascii=False) + "\n")


def shown(example: Example) -> str:
    """Write an example's input for people: of a question without its options or its context."""
    match example:
        case QuestionExample() | ChoiceExample():
            return example.question
        case TaggedExample():
            return " ".join(example.words)
    return "\n".join(filter(None, (example.a, example.b)))
