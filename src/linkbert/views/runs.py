"""Runs side by side: folders of runs come in, finished or not, and what run.json and journals say goes out.

Rows are what is compared, columns are runs; below stand the settings in which they differ, because scores of runs that
were asked other questions are not to be compared. All settings and the confusion matrix are in a run's model card. What
`pretrain`, `score` and `demo` print of a model stands here, too, for any console: training needs no other library.
"""

import shlex
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from linkbert.config import Config, make_config, migrate, show_value
from linkbert.files import one_line
from linkbert.pretraining.journal import TIMINGS, read_journal, read_record
from linkbert.pretraining.scores import describe, from_json, nats, percent
from linkbert.progress import count_text, seconds_text
from linkbert.views.page import Measured, Section
from linkbert.views.plots import Plot, mean_plots

NOT_REPORTED = {"learning_rate", "gradient_norm", "utilisation", *TIMINGS}  # in a journal line, not by the objective
TOLD = ("preset", "init", "scope", "anchors", "budget", "max_steps")  # settings that are shown whatever they are
EXPLAINED = (
    "link gain: by how many nats a masked token of A is likelier next to a text that A links to than next to a random "
    "one; context gain: the same of the text that follows A; an interval that holds 0 shows no gain"
)
RELATION_STYLES = {"contiguous": "bold green", "random": "bold magenta", "linked": "bold cyan"}
HELD_OUT = {"relation_accuracy": "relations right", "link_gain": "link gain, nats"}  # of an evaluation, as curves


def runs_section(paths: Sequence[Path]) -> Section:
    """Lay runs out side by side with their last scores, each under its folder's name, or its path if two share it."""
    names = [path.resolve().name for path in paths]
    names = [name if names.count(name) == 1 else str(path) for path, name in zip(paths, names, strict=True)]
    facts, lines_of = [], dict[str, list[tuple[int, dict[str, float]]]]()
    for name, path in zip(names, paths, strict=True):
        journal = read_journal(path / "journal.jsonl")
        try:
            facts.append(_facts(journal))
            lines_of[name] = [(entry["step"], reported(entry)) for entry in journal]
        except Exception as error:  # whatever a line makes of it that was edited, or damaged
            what = f"{path / 'journal.jsonl'} is damaged ({type(error).__name__}: {one_line(error):.200})"
            raise ValueError(f"{what}: bring it back, or leave out this run") from None
    records, usual = [read_record(path) for path in paths], {k: show_value(v) for k, v in Config()}
    stores = {
        (Path(each["path"]).name, each.get("fingerprint")) for record in records for each in stores_of(record).values()
    }
    several = [name for name, times in Counter(name for name, _ in stores).items() if times > 1]  # of one name
    settings = [_settings(record, several) for record in records]
    rows = [["", *names]]
    for label in dict.fromkeys(label for each in sorted(facts, key=len, reverse=True) for label in each):
        rows.append([label, *(each.get(label, "-") for each in facts)])
    every = {key: [each.get(key, "-") for each in settings] for each in settings for key in each}
    differ = {key: values for key, values in every.items() if len(set(values)) > 1}
    same = {key: own for key, own in every.items() if key not in differ and (key in TOLD or own[0] != usual.get(key))}
    for title, some in (("settings that differ", differ), ("settings of all" if paths[1:] else "settings", same)):
        rows += [[title, *[""] * len(names)], *([key, *values] for key, values in some.items())] if some else []
    unscored = (name for name, each in zip(names, facts, strict=True) if "scored after step" not in each)
    lines = [f"{name} has no scores" for name in unscored]
    lines += [EXPLAINED] if len(lines) < len(names) else []
    caption = f"The journals' last lines and scores, and the settings, of {', '.join(map(str, paths))}"
    return Section("Runs", lines, rows, caption=caption, plots=curves(lines_of))


def reported(entry: Mapping[str, Any]) -> dict[str, float]:
    """Return what an objective reported in a line of a journal, or an evaluation found, by label."""
    if scores := entry.get("evaluation"):
        found = {f"held out: {HELD_OUT[key]}": scores[key]["value"] for key in HELD_OUT if scores.get(key)}
        return {"held out: MLM loss": scores["mlm_loss"]} | found
    names = [name for name, value in entry.items() if isinstance(value, float) and name not in NOT_REPORTED]
    return {f"training: {name.replace('_', ' ').replace('mlm', 'MLM')}": entry[name] for name in names}


def _facts(entries: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Write what a journal says at its end, by label."""
    facts = {}
    for last in [entry for entry in entries if "learning_rate" in entry][-1:]:
        facts = {"step": f"{last['step']:,}", "tokens seen": count_text(last["tokens"])}
        facts["time, with compiling and scoring"] = seconds_text(last["elapsed"])
        facts |= {label: f"{value:.3f}" for label, value in reported(last).items()}
    for entry in [entry for entry in entries if "evaluation" in entry][-1:]:
        scores = from_json(entry["evaluation"])
        facts |= {"scored after step": f"{entry['step']:,}", "MLM loss": f"{scores.mlm_loss:.3f}"}
        facts |= {f"  in {name} pairs": f"{loss:.3f}" for name, loss in scores.mlm_losses.items()}
        accuracies = {"masked tokens right": scores.mlm_accuracy, "relations right": scores.relation_accuracy}
        accuracies |= {f"  {name}": share for name, share in scores.relations.items()}
        accuracies |= {"always the commonest token right": scores.baseline_accuracy}
        facts |= {label: Measured(percent(share), share, 1.0) for label, share in accuracies.items() if share}
        facts |= {"always the commonest relation right": f"{100 * scores.commonest:.1f} %"} if scores.commonest else {}
        gains = {"link gain, nats": scores.link_gain, "  of words that the linked text holds": scores.shared_gain}
        gains["context gain, nats"] = scores.context_gain
        facts |= {label: Measured(nats(gain), gain) for label, gain in gains.items() if gain}
    return facts


def curves(lines_by_run: Mapping[str, Sequence[tuple[float, Mapping[str, float]]]], over: str = "step") -> list[Plot]:
    """Plot over steps what runs reported and scored, the mean of each step, where one has more than a point of it."""
    found: dict[str, dict[str, dict[float, list[float]]]] = {}
    for name, lines_of in lines_by_run.items():
        for step, entry in lines_of:
            for label, value in entry.items():
                own = found.setdefault(label, {each: {} for each in lines_by_run})[name]
                own.setdefault(step, []).append(value)
    return [*mean_plots({(label, label, over, label.partition(": ")[2]): lines for label, lines in found.items()})]


def stores_of(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the stores of a run, by name; one alone has none."""
    return record.get("stores") or {"": record["store"]}


def _settings(record: dict[str, Any], several: Collection[str]) -> dict[str, str]:
    """Write every setting as the command line takes it, and the stores, each with its weight and own settings.

    Stores whose name `several` have are shown by their paths.
    """
    found = {"preset": record.get("preset", "") or "none"}
    found |= {key: show_value(value) for key, value in migrate(record["config"]).items()}
    found["scope"] = (record.get("store") or {}).get("scope") or found.get("scope", "-")
    for name, store in stores_of(record).items():
        own = [f"{key}={show_value(value)}" for key, value in store.get("settings", {}).items()]
        weight = [f"{store['weight']:.4f}"] if "weight" in store else []
        path = Path(store["path"])
        found[f"store {name}".strip()] = " ".join([str(path) if path.name in several else path.name, *weight, *own])
    return found


def settings_on(store: Path, runs: Sequence[Path]) -> tuple[Config, str]:
    """Return the settings of the first of some runs that is on a store, and its name; else those of preset tiny."""
    for run in runs:
        record = read_record(run)
        for name, each in stores_of(record).items():
            if Path(each["path"]).resolve() == store.resolve():
                own = make_config(base=record["config"]).replace(**each.get("settings", {}))
                return own, f"the run {run} {name}".strip()
    return make_config("tiny"), "a run"


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
        if (scores := from_json(entry["evaluation"], journal or model)).relation_accuracy:
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
