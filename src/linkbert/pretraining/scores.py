"""Scores of a model as plain values: shares and means with their intervals, as JSON and as lines of text.

Every share has its count and its 95 % interval, because a demo scores a few hundred pairs and a bare percentage would
claim more than they can say. Pairs of one document are not independent draws: an interval is as wide as the values of
the documents of A, taken as the units, spread. `describe` is the one writer of scores: terminal, model card, report.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from os import PathLike
from pathlib import Path
from typing import Any, cast

from pydantic.dataclasses import dataclass
from scipy.special import stdtrit  # the quantile of Student's t

from linkbert.config import Config, check_content, migrate
from linkbert.instances.parts import Part

ENOUGH = 30  # pairs of a class, below which its accuracy says next to nothing
log = logging.getLogger(__name__)
NORMAL_95 = 1.959963984540054  # the 97.5 % quantile of the normal distribution


@dataclass(frozen=True)
class Share:
    """`correct` of `count`, with the interval that holds the true share 95 times in 100."""

    correct: int
    count: int
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Gain:
    """How much better tokens of the same `pairs` A are guessed with one B than with another, with its 95 % interval."""

    value: float  # nats a masked token
    low: float
    high: float
    pairs: int


@dataclass(frozen=True)
class Scores:
    """What an evaluation found; `too_few` names the relations with fewer than ENOUGH pairs."""

    pairs: int
    mlm_loss: float  # mean over masked tokens, nats
    mlm_accuracy: Share
    baseline_accuracy: Share  # always guessing the commonest token
    baseline_token: int
    relation_accuracy: Share | None  # None where the model learnt no relations
    relations: dict[str, Share]  # per true relation
    confusion: dict[str, dict[str, int]]  # true relation -> predicted relation -> pairs
    too_few: list[str]
    mlm_losses: dict[str, float] = field(default_factory=dict)  # per true relation of the pair that a token is in
    link_gain: Gain | None = None  # B linked against B random; None where no held-out document has a usable link
    shared_gain: Gain | None = None  # the same, of tokens of A that stand in that linked B
    context_gain: Gain | None = None  # B that follows A in its document against B random, for comparison
    stores: dict[str, Scores] = field(default_factory=dict)  # of each store alone, where there are several

    @property
    def commonest(self) -> float:
        """The share of relations that is right if it is always the commonest one; 0 without relations."""
        counts = [share.count for share in self.relations.values()]
        return max(counts) / max(sum(counts), 1) if self.relation_accuracy else 0.0


def wilson(correct: int, count: int, *, effective: float | None = None) -> Share:
    """Give a share with its Wilson interval at 95 %: 8 of 10 -> 0.8, from 0.490 to 0.943; nothing of nothing -> 0 to 1.

    Unlike the textbook interval it stays within 0 and 1 and is honest for small counts and shares near either end.
    `effective` is the number of independent draws that the count is worth, where that is less.
    """
    if count == 0:
        return Share(0, 0, 0.0, 0.0, 1.0)
    share, z2, draws = correct / count, NORMAL_95**2, effective or count
    centre = (share + z2 / (2 * draws)) / (1 + z2 / draws)
    half = NORMAL_95 / (1 + z2 / draws) * math.sqrt(share * (1 - share) / draws + z2 / (4 * draws**2))
    return Share(correct, count, share, max(0.0, centre - half), min(1.0, centre + half))


def clustered(correct: Sequence[int], count: Sequence[int]) -> Share:
    """Give the share of all groups together, with an interval in which the groups are the independent draws.

    A count is overrated by the design effect of survey sampling, at least 1: the variance between groups over that of
    single draws; few groups widen the interval by Student's t (Korn and Graubard). Three groups of ten, of which 10, 10
    and 0 are right, say less than 20 of 30 drawn one by one:

    >>> percent(clustered([10, 10, 0], [10, 10, 10])), percent(wilson(20, 30))
    ('66.7 % (4.4 to 98.9; 20 of 30)', '66.7 % (48.8 to 80.8; 20 of 30)')
    """
    groups, total, right = sum(size > 0 for size in count), sum(count), sum(correct)
    if groups < 2:
        return wilson(right, total, effective=1.0)
    share = right / total
    spread = sum((got - share * size) ** 2 for got, size in zip(correct, count, strict=True)) * groups / (groups - 1)
    effect = max(1.0, spread / (total * share * (1 - share))) if 0 < right < total else 1.0
    return wilson(right, total, effective=total / effect * (NORMAL_95 / float(stdtrit(groups - 1, 0.975))) ** 2)


def clustered_gain(worse: Sequence[float], better: Sequence[float], tokens: Sequence[int], pairs: int) -> Gain | None:
    """Give the mean difference of losses that were summed by group, with the groups as the independent draws.

    The ratio estimator of survey sampling: groups differ in tokens. Fewer than two groups tell nothing: None. Of 10
    tokens each, two groups lose 3 and 1 nats less:

    >>> gain = clustered_gain([30.0, 20.0], [27.0, 19.0], [10, 10], 4)
    >>> round(gain.value, 6), gain.pairs
    (0.2, 4)
    """
    groups, total = sum(size > 0 for size in tokens), sum(tokens)
    if groups < 2:
        return None
    differences = [a - b for a, b in zip(worse, better, strict=True)]
    value = sum(differences) / total
    spread = sum((each - value * size) ** 2 for each, size in zip(differences, tokens, strict=True))
    half = float(stdtrit(groups - 1, 0.975)) * math.sqrt(spread * groups / (groups - 1)) / total
    return Gain(value, value - half, value + half, pairs)


def from_json(content: Any, path: Path = Path("evaluation")) -> Scores:
    """Rebuild Scores from what `asdict` made of them; the `step` of a journal line or of a State is left out."""
    return cast(Scores, check_content(Scores, content, path))


def describe(scores: Scores, *, before: Scores | None = None, vocabulary: Sequence[str] = ()) -> list[str]:
    """Write Scores as lines of text; `before` are those before training, `vocabulary` names the commonest token."""
    token = f" ({vocabulary[scores.baseline_token]!r})" if vocabulary else ""
    by_relation = ", ".join(f"{name} {loss:.3f}" for name, loss in scores.mlm_losses.items())
    lines = [f"masked tokens right: {percent(scores.mlm_accuracy)}"]
    lines += [f"  before training: {percent(before.mlm_accuracy)}"] if before else []
    lines.append(f"  always the commonest token{token}: {percent(scores.baseline_accuracy)}")
    lines.append(f"  mean loss: {scores.mlm_loss:.3f}" + (f" (in pairs {by_relation})" if by_relation else ""))
    if scores.relation_accuracy:
        lines.append(f"relations right: {percent(scores.relation_accuracy)}")
        lines.append(f"  always the commonest relation: {100 * scores.commonest:.1f} %")
    for name, share in scores.relations.items():
        row = scores.confusion.get(name, {})
        wrong = [f"{other} {count:,}" for other, count in row.items() if count and other != name]
        taken = f"; taken for {', '.join(wrong)}" if wrong else ""
        few = "; too few pairs to say anything" if name in scores.too_few else ""
        lines.append(f"  {name}: {percent(share)}{taken}{few}" if share.count else f"  {name}: no pairs")
    for what, name in (
        ("link gain, nats a masked token of A", "link_gain"),
        ("  of those that the linked text holds", "shared_gain"),
        ("  of text that follows instead of a link", "context_gain"),
    ):
        gain, earlier = getattr(scores, name), getattr(before, name, None)
        few = "; too few pairs to say anything" if gain and gain.pairs < ENOUGH else ""
        lines += [f"{what}: {nats(gain)}{few}"] if gain else []
        lines += [f"    before training: {nats(earlier)}"] if gain and earlier else []
    for name, own in scores.stores.items():
        lines += [f"{name}, {own.pairs:,} pairs:", *("  " + line for line in describe(own, vocabulary=vocabulary))]
    return lines


def percent(share: Share) -> str:
    """Write a share for reading: '80.0 % (49.0 to 94.3; 8 of 10)'."""
    low, high = 100 * share.low, 100 * share.high
    return f"{100 * share.value:.1f} % ({low:.1f} to {high:.1f}; {share.correct:,} of {share.count:,})"


def nats(gain: Gain) -> str:
    """Write a gain for reading: '+0.034 (+0.012 to +0.056; 341 pairs)'."""
    return f"{gain.value:+.3f} ({gain.low:+.3f} to {gain.high:+.3f}; {gain.pairs:,} pairs)"


def run_of(model: Path) -> Path | None:
    """Find the run that a model is of: its own folder, or one that it lies in."""
    return next((each for each in (model, *model.resolve().parents[:2]) if (each / "run.json").is_file()), None)


def warn_of_seen(run: Path, parts: Sequence[Part], config: Config) -> None:
    """Say where documents that are to be scored as held out were trained on: more are held out now than by the run."""
    from linkbert.instances.mixture import fingerprint
    from linkbert.pretraining.journal import read_record

    record = read_record(run)
    for entry in record.get("stores", {"": record.get("store")}).values():
        trained = {**migrate(record["config"]), **entry.get("settings", {})}
        for part in parts:
            own = part.config(config)
            there = fingerprint(part.path, trained.get("graph", own.graph)) == entry.get("fingerprint")
            if there and own.held_out > (had := trained.get("held_out", own.held_out)):
                share = f"held_out={own.held_out:g}, and {run} had {had:g} of it"
                log.warning("%s: these documents are not all held out: it was trained on some (%s)", part.path, share)


def score(
    model: str | Path,
    store: str | PathLike[str] | None = None,
    settings: Mapping[str, Any] | Sequence[str] = (),
    *,
    preset: str | None = None,
    report: Callable[[str], None] = lambda _: None,
) -> Scores:
    """Score a run, a checkpoint or a Hugging Face folder on held-out documents, as `linkbert score` does.

    Without `store`, a run's own stores are read, with its settings unless `preset` names others; `settings` override
    them. Scores has `mlm_accuracy`, `relation_accuracy`, `link_gain` and more, each with `value`, `low` and `high`.

    >>> scores = score("run", store, {"eval_pairs": 16, "held_out": 0.2})
    >>> scores.pairs, 0 <= scores.mlm_accuracy.low <= scores.mlm_accuracy.value <= scores.mlm_accuracy.high <= 1
    (16, True)
    """
    from linkbert.pretraining.journal import stores_and_settings

    path = Path(model)
    run = run_of(path)
    words, changes = ((), settings) if isinstance(settings, Mapping) else (settings, {})
    parts, config = stores_and_settings(store, run, preset, "tiny", words)
    config = config.replace(**changes)
    if run:
        warn_of_seen(run, parts, config)
    report(f"opening the model, then {config.eval_pairs:,} pairs of held-out documents ...")
    from linkbert.pretraining.checkpoint import find_model
    from linkbert.pretraining.evaluation import score_model

    return score_model(find_model(model), parts, config)
