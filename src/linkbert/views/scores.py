"""What `pretrain`, `score` and `demo` print of a model: any console will do, as training needs no other library."""

import shlex
from pathlib import Path
from typing import Any

from linkbert.pretraining.journal import read_journal
from linkbert.pretraining.scores import describe, from_json, percent

RELATION_STYLES = {"contiguous": "bold green", "random": "bold magenta", "linked": "bold cyan"}


def show_scores(console: Any, scores: Any, *, before: Any = None, vocabulary: tuple[str, ...] = ()) -> None:
    """Print Scores, as `describe` writes them."""
    for line in describe(scores, before=before, vocabulary=vocabulary):
        inner = RELATION_STYLES.get(line.strip().partition(":")[0], "")
        console.print(line, style=inner if line.startswith(" ") else "bold")
    console.print("in brackets: the 95 % interval, and the count; a nat is 1 in log-probability", style="dim")


def relations_known(model: Path) -> list[str]:
    """Write how many relations of held-out pairs a RUN, or its model, had right: how far its answers can be trusted."""
    journal = next((path for each in (model, model.parent) if (path := each / "journal.jsonl").is_file()), None)
    for entry in [each for each in read_journal(journal) if "evaluation" in each][-1:] if journal else []:
        if (scores := from_json(entry["evaluation"])).relation_accuracy:
            right, most = percent(scores.relation_accuracy), f"{100 * scores.commonest:.1f} %"
            return [f"of held-out pairs it had right: {right}; always the commonest relation {most}"]
    return []


def show_result(console: Any, result: Any) -> None:
    """Print how a run ended."""
    if not result.finished:
        again = f"linkbert pretrain --to {shlex.quote(str(result.run))} {result.resume}"
        console.print(f"stopped after step {result.step:,} of {result.steps:,}; to resume: {again}")
    if result.scores is not None:
        show_scores(console, result.scores)
    if result.model:
        console.print(f"the model is in {result.model}")
