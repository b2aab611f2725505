"""A study as text, Markdown and a page: where it stands, its tables, its curves, the sentences that were asked for."""

import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from linkbert.files import write_json
from linkbert.pretraining.journal import read_journal
from linkbert.progress import count_text, seconds_text
from linkbert.tasks.results import Column
from linkbert.trials.differences import digits_of, summarise
from linkbert.trials.study import Run, open_study
from linkbert.views.page import Measured, Section, lay_out, text_lines, write_report
from linkbert.views.runs import curves, reported
from linkbert.views.tables import layouts

MOST = 100  # times that a job is queued again


def paper_number(row: str, column: Column) -> float | None:
    """Return what the paper's tables have in a row and a column, in per cent."""
    for layout in layouts():
        if column in layout.columns and row in layout.paper:
            return layout.paper[row][layout.columns.index(column)]
    return None


def write_study(folder: Path) -> list[str]:
    """Write study.json, study.md and study.html of what a study has so far; return their lines for the terminal."""
    runs = open_study(folder)
    found = summarise(runs, paper_number)
    write_json(folder / "study.json", found)
    sections = list(study_sections(found, runs))
    for suffix in ("md", "html"):
        write_report(sections, folder / f"study.{suffix}")
    rows = [["run", "arm", "seed", "step", "answers", ""]]
    for run in runs:
        steps = [line["step"] for line in read_journal(run.path / "journal.jsonl")]
        answers = [run.answer(each).is_file() for each in run.study.questions]
        where = f"{max(steps, default=0):,} of {run.config.max_steps:,}", f"{sum(answers)} of {len(answers)}"
        rows.append([run.key, run.arm, str(run.seed), *where, "done" if run.done else ""])
    lines = [line for section in sections for line in text_lines(section)]
    return [*lay_out(rows), *lines, f"wrote {folder}/study.json, study.md and study.html"]


def job_array(runs: Sequence[Run]) -> list[str]:
    """Write a job array for Slurm, a task for each run that is not done; one out of time is queued again."""
    left = [run for run in runs if not run.done]
    if not left:
        raise ValueError("every run is done")
    command = [sys.executable, "-m", "linkbert", "study", str(left[0].folder.absolute()), "--run"]
    head = ("--gpus=1", "--requeue", "--signal=TERM@120", "--open-mode=append", f"--array=0-{len(left) - 1}")
    keys = " ".join(run.key for run in left)
    return ["#!/bin/bash", *(f"#SBATCH {each}" for each in head), f"runs=({keys})",
            "cpus=${SLURM_CPUS_PER_TASK:+--cpus-per-task=$SLURM_CPUS_PER_TASK}",  # which srun does not take from sbatch
            f'srun --ntasks=1 $cpus {shlex.join(command)} "${{runs[$SLURM_ARRAY_TASK_ID]}}"', "status=$?",
            f'[ "$status" != 130 ] || [ "${{SLURM_RESTART_COUNT:-0}}" -ge {MOST} ] || scontrol requeue "$SLURM_JOB_ID"',
            'exit "$status"']  # fmt: skip


def plan_lines(found: Mapping[str, Any]) -> Iterator[str]:
    """Say how many runs a study has, and about how long they take."""
    counts = ", ".join(f"{found[key]:,} {key.replace('_', '-')}" for key in ("probes", "fine_tunings") if found[key])
    yield f"{found['runs']:,} pretraining runs, {found['done']:,} done" + f"; {counts}" * bool(counts)
    rows = [["arm", "seeds", "steps", "tokens a run"]]
    for name, arm in found["arms"].items():
        size = (f"{arm['steps']:,}", count_text(arm["tokens"])) if arm["tokens"] else ("?", "?")
        rows.append([name, str(arm["seeds"]), *size])
    yield from lay_out(rows)
    if found["lacking"]:
        yield f"not built yet: {', '.join(found['lacking'])}; until then neither times nor equal tokens are known"
        return
    rest = "" if found["answers_measured"] else ", and what probes and tasks take, which is known when one run is done"
    yield f"about {seconds_text(found['seconds'])} left{rest}"


def study_sections(found: Mapping[str, Any], runs: Sequence[Run]) -> Iterator[Section]:
    """Lay out a summary: comparisons, scores with the paper's, arms, curves."""
    notes = [found["note"]] if found["note"] else []
    if found["done"] < found["runs"]:
        notes.append(f"{found['done']} of {found['runs']} runs are done: numbers are of what there is")
    differing = []
    same: dict[str, dict[str, bool]] = {}  # of no arm, as BM25 and chance, or of arms that are alike
    for each in found["comparisons"]:
        if each["low"] == each["high"] == 0:
            pair = " and ".join(found["arms"][each[side]]["title"] for side in "ab")
            same.setdefault(pair, {})[": ".join(filter(None, (each["question"], each["measure"])))] = True
        else:
            differing.append(each)
    notes += [f"the same for {pair} in every run: {', '.join(names).replace('_', ' ')}" for pair, names in same.items()]
    notes += [
        f"not compared, as {arm} has no such number: {', '.join(of)}" for arm, of in found["not_compared"].items()
    ]
    spans = [(each["low"], each["high"]) for each in differing if each["low"] is not None]
    if len(spans) >= 20:
        told = sum(low > 0 or high < 0 for low, high in spans)
        chance = f"{len(spans) / 20:.0f} or so would be by chance, were all of them 0"
        notes.append(f"{told} of {len(spans)} differences are told from 0 at 95 %: {chance}")
    yield Section(found["title"], [*(each["sentence"] for each in differing), *notes])
    arms = found["arms"]
    for heading, per_cent in (("Tasks, in %", True), ("Probes", False)):
        rows = [["", "mean ± sd", "runs", "difference (95 %)", "p", "paper", "paper's difference"]]
        for each in found["measures"]:
            if each["per_cent"] == per_cent:
                rows.append([f"{each['title']} {each['metric']}".strip(), *[""] * 6])
                rows += [_row(arms[name]["title"], row, 1 if per_cent else 3) for name, row in each["arms"].items()]
        if len(rows) > 1:
            keep = [i for i in range(7) if i < 5 or any(row[i] not in ("", "-") for row in rows[1:])]
            about = f"difference: to {', '.join(dict.fromkeys(arms[arm['against']]['title'] for arm in arms.values()))}"
            yield Section(heading, table=[[row[i] for i in keep] for row in rows], about=about)
    rows = [["arm", "settings that differ", "seeds", "steps", "tokens a run", "hours in all"]]
    for arm in arms.values():
        words = " ".join(f"{key}={value}" for key, value in arm["settings_that_differ"].items()) or "-"
        seeds = f"{arm['trained']} of {len(arm['runs'])}"
        rows.append([arm["title"], words, seeds, f"{arm['steps']:,}", count_text(arm["tokens"]), f"{arm['hours']:.2f}"])
    lines: dict[str, list[tuple[float, dict[str, float]]]] = {}  # of an arm: what its runs reported, by million tokens
    for run in runs:
        own, pace = lines.setdefault(arms[run.arm]["title"], []), run.tokens / run.config.max_steps / 1e6
        own += [(pace * entry["step"], reported(entry)) for entry in read_journal(run.path / "journal.jsonl")]
    yield Section("Arms", table=rows, plots=curves(lines, "million tokens"))


def _row(title: str, row: Mapping[str, Any], digits: int) -> list[str]:
    spread = "" if row["sd"] is None else f" ± {row['sd']:.{digits}f}"
    cells = [f"  {title}", f"{row['mean']:.{digits}f}{spread}", str(row["runs"])]
    if difference := row["difference"]:
        digits = digits_of(difference, digits)
        words = f"{difference['value']:+.{digits}f}"
        if difference["low"] is not None:
            words = Measured(f"{words} ({difference['low']:.{digits}f} to {difference['high']:.{digits}f})", difference)
        cells += [words, "-" if difference["p"] is None else f"{difference['p']:.3f}"]
    numbers = (row["paper"], row["paper_difference"])
    cells += ["-"] * (5 - len(cells))
    papers = ["-" if n is None else f"{n:{'+' * i}.1f}" for i, n in enumerate(numbers)]
    return [*cells, papers[0] + " (whole set)" * row["paper_of_whole_set"], papers[1]]
