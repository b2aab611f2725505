"""What `pretrain`, `score` and `demo` print of a model: any console will do, as training needs no other library."""

from __future__ import annotations

import shlex
from typing import Any

from linkbert.pretraining.scores import describe

RELATION_STYLES = {"contiguous": "bold green", "random": "bold magenta", "linked": "bold cyan"}


def show_scores(console: Any, scores: Any, *, before: Any = None, vocabulary: tuple[str, ...] = ()) -> None:
    """Print Scores, as `describe` writes them."""
    for line in describe(scores, before=before, vocabulary=vocabulary):
        inner = RELATION_STYLES.get(line.strip().partition(":")[0], "")
        console.print(line, style=inner if line.startswith(" ") else "bold")
    console.print("in brackets: the 95 % interval, and the count; a nat is 1 in log-probability", style="dim")


def show_result(console: Any, result: Any) -> None:
    """Print how a run ended."""
    if not result.finished:
        again = f"linkbert pretrain --to {shlex.quote(str(result.run))} {result.resume}"
        console.print(f"stopped after step {result.step:,} of {result.steps:,}; to resume: {again}")
    if result.scores is not None:
        show_scores(console, result.scores)
    if result.model:
        console.print(f"the model is in {result.model}")
