"""Runs side by side: folders of runs come in, finished or not, and what run.json and journals say goes out as a table.

Rows are what is compared, columns are runs; below stand the settings in which they differ, because scores of runs that
were asked other questions (other shares of relations, another length) are not to be compared. The curves of runs are
TensorBoard's, all settings of a run and its confusion matrix are in its model card.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from linkbert.config import migrate, show_value
from linkbert.pretraining.journal import TIMINGS, read_journal, read_record
from linkbert.pretraining.scores import from_json, nats, percent
from linkbert.progress import count_text, seconds_text

NOT_REPORTED = {"learning_rate", "gradient_norm", "utilisation", *TIMINGS}  # in a journal line, not by the objective


def runs_table(paths: Sequence[Path]) -> list[list[str]]:
    """Lay runs out side by side with their last scores, each under its folder's name, or its path if two share it."""
    names = [path.resolve().name for path in paths]
    names = [name if names.count(name) == 1 else str(path) for path, name in zip(paths, names, strict=True)]
    facts = [_facts(read_journal(path / "journal.jsonl")) for path in paths]
    settings = [_settings(read_record(path)) for path in paths]
    rows = [["", *names]]
    for label in dict.fromkeys(label for each in sorted(facts, key=len, reverse=True) for label in each):
        rows.append([label, *(each.get(label, "-") for each in facts)])
    for key in dict.fromkeys(key for each in settings for key in each):
        values = [each.get(key, "-") for each in settings]
        rows += [[key, *values]] if len(set(values)) > 1 else []
    return rows


def _facts(entries: list[dict[str, Any]]) -> dict[str, str]:
    """Write what a journal says at its end, by label."""
    facts = {}
    for last in [entry for entry in entries if "learning_rate" in entry][-1:]:
        facts = {"step": f"{last['step']:,}", "tokens seen": count_text(last["tokens"])}
        facts["time"] = seconds_text(last["elapsed"])
        for name, value in last.items():
            if isinstance(value, float) and name not in NOT_REPORTED:
                facts[f"training: {name.replace('_', ' ').replace('mlm', 'MLM')}"] = f"{value:.3f}"
    for entry in [entry for entry in entries if "evaluation" in entry][-1:]:
        scores = from_json(entry["evaluation"])
        facts |= {"scored after step": f"{entry['step']:,}", "MLM loss": f"{scores.mlm_loss:.3f}"}
        facts |= {f"  in {name} pairs": f"{loss:.3f}" for name, loss in scores.mlm_losses.items()}
        accuracies = {"masked tokens right": scores.mlm_accuracy, "relations right": scores.relation_accuracy}
        accuracies |= {f"  {name}": share for name, share in scores.relations.items()}
        facts |= {label: percent(share) for label, share in accuracies.items() if share}
        gains = {"link gain, nats": scores.link_gain, "context gain, nats": scores.context_gain}
        facts |= {label: nats(gain) for label, gain in gains.items() if gain}
    return facts


def _settings(record: dict[str, Any]) -> dict[str, str]:
    """Write every setting as the command line takes it, and the stores, each with its weight and own settings."""
    found = {key: show_value(value) for key, value in migrate(record["config"]).items()}
    for name, store in (record.get("stores") or {"": record["store"]}).items():
        own = [f"{key}={show_value(value)}" for key, value in store.get("settings", {}).items()]
        weight = [f"{store['weight']:.4f}"] if "weight" in store else []
        found[f"store {name}".strip()] = " ".join([Path(store["path"]).name, *weight, *own])
    return found
