"""Runs side by side: what their run.json and journals say, as a table, as the lines of a report, and as curves.

In: folders of runs, finished or not. Out: lines for people, and plain lists for plots.py. Rows of the table are what is
compared, columns are runs; below stand the settings in which they differ, because scores of runs that were asked other
questions (other shares of relations, another length) are not to be compared.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from linkbert.config import migrate, show_value
from linkbert.pretraining.journal import TIMINGS, read_journal, read_record
from linkbert.pretraining.scores import Gain, Scores, Share, describe, from_json
from linkbert.progress import count_text, seconds_text
from linkbert.records import RELATIONS

NOT_REPORTED = (
    "learning_rate",
    "gradient_norm",
    "utilisation",
    *TIMINGS,
)  # numbers of a journal line, not the objective's


@dataclass(frozen=True)
class Run:
    """A run as its files have it."""

    name: str
    record: dict[str, Any]  # run.json
    training: list[dict[str, Any]]  # lines of the journal
    evaluations: list[tuple[int, Scores]]  # by step

    @property
    def settings(self) -> dict[str, str]:
        """Every setting as the command line takes it, and the stores, each with its weight and own settings."""
        found = {key: show_value(value) for key, value in migrate(self.record["config"]).items()}
        for name, store in (self.record.get("stores") or {"": self.record["store"]}).items():
            own = " ".join(f"{key}={show_value(value)}" for key, value in store.get("settings", {}).items())
            weight = f" {store['weight']:.4f}" if "weight" in store else ""
            found[f"store {name}".strip()] = f"{Path(store['path']).name}{weight} {own}".strip()
        return found


def read_runs(paths: Sequence[Path]) -> list[Run]:
    """Read the folders of runs, each named by its last part, or by its path where two would have one name."""
    names = [path.resolve().name for path in paths]
    return [_read(path, name if names.count(name) == 1 else str(path)) for path, name in zip(paths, names, strict=True)]


def _read(path: Path, name: str) -> Run:
    entries = read_journal(path / "journal.jsonl")
    scores = [(entry["step"], from_json(entry["evaluation"])) for entry in entries if "evaluation" in entry]
    training = [entry for entry in entries if "mlm_loss" in entry]
    return Run(name, read_record(path), training, scores)


def runs_table(runs: Sequence[Run]) -> Iterator[str]:
    """Lay runs out side by side, a line for each thing that is compared; scores are the last on held-out documents."""
    rows: list[tuple[str, list[str]]] = [("", [run.name for run in runs])]

    def row(label: str, values: Iterator[str]) -> None:
        if any(found := list(values)):
            rows.append((label, [value or "-" for value in found]))

    last = [run.training[-1] if run.training else {} for run in runs]
    scores = [run.evaluations[-1][1] if run.evaluations else None for run in runs]
    row("step", (f"{line['step']:,}" if line else "" for line in last))
    row("tokens seen", (count_text(line["tokens"]) if line else "" for line in last))
    row("time", (seconds_text(line["elapsed"]) if line else "" for line in last))
    for name in dict.fromkeys(name for line in last for name in line if isinstance(line[name], float)):
        if name not in NOT_REPORTED:  # all else is of the objective
            label = name.replace("_", " ").replace("mlm", "MLM")
            row(f"training: {label}", (f"{line[name]:.3f}" if name in line else "" for line in last))
    row("scored after step", (f"{run.evaluations[-1][0]:,}" if run.evaluations else "" for run in runs))
    row("MLM loss", (f"{each.mlm_loss:.3f}" if each else "" for each in scores))
    for name in RELATIONS:
        losses = (each.mlm_losses.get(name) if each else None for each in scores)
        row(f"  in {name} pairs", ("" if loss is None else f"{loss:.3f}" for loss in losses))
    row("masked tokens right, %", (_share(each.mlm_accuracy) if each else "" for each in scores))
    row("relations right, %", (_share(each.relation_accuracy) if each else "" for each in scores))
    for name in RELATIONS:
        row(f"  {name}", (_share(each.relations.get(name)) if each else "" for each in scores))
    row("link gain, nats", (_gain(each.link_gain) if each else "" for each in scores))
    row("context gain, nats", (_gain(each.context_gain) if each else "" for each in scores))
    settings = [run.settings for run in runs]
    for key in dict.fromkeys(key for each in settings for key in each):
        values = [each.get(key, "-") for each in settings]
        if len(set(values)) > 1:
            rows.append((key, values))
    widths = [max(len(values[i]) for _, values in rows) for i in range(len(runs))]
    left = max(len(label) for label, _ in rows)
    for label, values in rows:
        cells = (value.rjust(width) for value, width in zip(values, widths, strict=True))
        yield "  ".join([label.ljust(left), *cells]).rstrip()


def run_lines(run: Run) -> list[str]:
    """Write one run: its last scores, with who was taken for whom, then every setting."""
    lines = [f"{key} {value}" for key, value in sorted(run.record["versions"].items())]
    lines += [f"begun {run.record['created']}, resumed {len(run.record['resumed'])} times"]
    if run.evaluations:
        step, scores = run.evaluations[-1]
        lines += ["", f"on held-out documents, after step {step:,}:", *describe(scores)]
    return [*lines, "", *(f"{key}={value}" for key, value in run.settings.items())]


def run_curves(run: Run) -> dict[str, Any]:
    """Give what plots.plot_runs draws of a run: lists of (step, value), or (step, value, low, high), by name."""
    training, scored = run.training, run.evaluations
    gains = {
        name: [(step, gain.value, gain.low, gain.high) for step, each in scored if (gain := getattr(each, name))]
        for name in ("link_gain", "context_gain")
    }
    accuracies = {
        name: [(line["step"], value) for line in training if (value := _accuracy(line, name)) is not None]
        for name in RELATIONS
    }
    return {
        "mlm_loss": [(line["step"], line["mlm_loss"]) for line in training],
        "held_out_mlm_loss": [(step, each.mlm_loss) for step, each in scored],
        "relation_accuracies": accuracies,
        "held_out_relations": {
            name: [(step, share.value) for step, each in scored if (share := each.relations.get(name))]
            for name in RELATIONS
        },
        "learning_rate": [(line["step"], line["learning_rate"]) for line in training],
        **gains,
    }


def _accuracy(line: dict[str, Any], name: str) -> float | None:
    return line.get("relation_accuracies", {}).get(name)


def _share(share: Share | None) -> str:
    return "" if share is None else f"{100 * share.value:.1f} ({100 * share.low:.1f} to {100 * share.high:.1f})"


def _gain(gain: Gain | None) -> str:
    return "" if gain is None else f"{gain.value:+.3f} ({gain.low:+.3f} to {gain.high:+.3f})"
