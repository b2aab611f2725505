"""Arms of a study: the settings in which each differs from what all have in common, and how long each is trained.

In: a study's tables. Out: a Config for an arm and a seed. Arms are compared at equal tokens: one gets as many steps as
see the tokens that its baseline sees. With one seed, two arms share initial weights, the order of places for segment A,
each A, and dropout, because these follow from the seed and the store alone; they share segment B and the masks, too,
where both drew the same relation (LinkBERT and BERT: half of the pairs). So what differs is what was meant to.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field

from linkbert.config import Config, Positive, Seconds, Seed, make_config, nearest, show_value
from linkbert.instances.parts import Part

ARMS: Mapping[str, tuple[str, Mapping[str, Any]]] = {  # by name: how a table and a sentence call it, and its settings
    "linkbert": ("LinkBERT", {}),
    "bert": ("BERT", {"baseline": "bert"}),
    "no-drp": ("LinkBERT without DRP", {"objective": "none"}),
    "no-diversity": ("LinkBERT without diversity", {"alpha": 0}),
    "tfidf": ("LinkBERT on TF-IDF links", {"graph": "tfidf"}),
    "random-links": ("LinkBERT on random links", {"graph": "random"}),
}
PAPER = {"linkbert": "", "no-drp": ", no DRP", "tfidf": ", TF-IDF links", "no-diversity": ", no diversity",
         "random-links": ", random links"}  # fmt: skip
SAVING = {
    "save_total_limit": 1,
    "keep_best": False,
}  # a study keeps the last checkpoint of a run, unless told otherwise
SAMPLED = 16_384  # pairs of which an arm's tokens a pair are the mean


class Budget(BaseModel, extra="forbid", frozen=True):
    """How long an arm is trained: one of these, or max_steps of its settings."""

    steps: int | None = Field(None, ge=1)
    tokens: Positive | None = None
    time: Seconds = "none"  # as many tokens as the baseline sees in it on this machine, measured once


class Arm(BaseModel, extra="forbid", frozen=True):
    """What an arm's table may hold; any other key is a setting of pretraining."""

    title: str = ""  # in tables and sentences
    like: str = ""  # a predefined arm whose settings it starts from
    seeds: list[Seed] = []  # of pretraining; none: those of the study
    against: str = ""  # the arm it is compared with; none: the study's baseline
    paper: str = ""  # the row of the paper's tables that stands next to it
    budget: Budget | None = None  # none: the study's
    settings: dict[str, Any] = {}


def read_arm(name: str, table: Mapping[str, Any], size: str = "") -> Arm:
    """Read an arm's table; the name of a predefined arm is enough. `size` is the paper's, such as tiny.

    >>> read_arm("bert", {}, "tiny").paper, read_arm("deep", {"num_hidden_layers": 6}).settings
    ('BERT-tiny', {'num_hidden_layers': 6})
    """
    own = {key: value for key, value in table.items() if key in Arm.model_fields and key != "settings"}
    settings = {key: value for key, value in table.items() if key not in own}
    like = own.setdefault("like", name if name in ARMS else "")
    if like and like not in ARMS:
        raise ValueError(f"arm {name} is like {like!r}; {nearest(like, ARMS)}")
    if not like and not settings:
        raise ValueError(f"arm {name} has no settings, and is none of the predefined; {nearest(name, ARMS)}")
    title, known = ARMS.get(like, (name, {}))
    own.setdefault("title", title if name in ARMS else name)
    if size and name in ARMS:
        own.setdefault("paper", f"BERT-{size}" if name == "bert" else f"LinkBERT-{size}{PAPER[name]}")
    return Arm(**own, settings={**known, **settings})


def arm_config(common: Mapping[str, Any], arm: Arm, seed: int = 0, **more: Any) -> tuple[Config, str]:
    """Return the settings of an arm's run, and the preset that they name."""
    table = {**SAVING, **common, **arm.settings, **more, "seed": seed}
    preset = str(table.pop("preset", "tiny"))
    named = f"{preset} recipe={table['recipe']}" if "recipe" in table else preset
    return make_config(preset, [f"{key}={show_value(value)}" for key, value in table.items()]), named


@dataclass(frozen=True)
class Length:
    """How long an arm is trained; `tokens_per_pair` is 0 where its stores were not there to look at."""

    steps: int
    tokens_per_pair: float
    batch_size: int

    @property
    def tokens(self) -> float:
        """Return the tokens of its training, about."""
        return self.steps * self.batch_size * self.tokens_per_pair


def tokens_per_pair(config: Config, stores: Sequence[Part]) -> float:
    """Return the tokens of a pair, special ones included: the mean over the first ones of a run."""
    import numpy as np

    from linkbert.instances.mixture import make_sampler, open_parts
    from linkbert.instances.sampler import lengths_of

    drawn = np.arange(min(SAMPLED, config.max_steps * config.batch_size))
    return float(lengths_of(make_sampler(open_parts(stores, config), config).draw(drawn)[0]).mean())


def plan_lengths(
    configs: Mapping[str, Config],
    budgets: Mapping[str, Budget],
    against: Mapping[str, str],
    stores: Sequence[Part],
    rate: float = 0.0,
) -> dict[str, Length]:
    """Decide the steps of every arm: those of a baseline by its budget, of the others such that tokens are equal.

    `against` is the arm that each is compared with, itself for a baseline, and for an arm with a budget of its own.
    `rate` is tokens a second, for a budget of time. Without stores, pairs count as equally long.
    """
    found: dict[str, Length] = {}
    for name in sorted(configs, key=lambda name: against[name] != name):  # baselines first
        config, budget, base = configs[name], budgets[name], found.get(against[name])
        mean = tokens_per_pair(config, stores) if stores else 0.0
        tokens = base.tokens if base else (budget.tokens or 0) or rate * _seconds(budget)
        if tokens and mean:
            steps = round(tokens / (mean * config.batch_size))
        elif base:  # nothing is known of its pairs
            steps = round(base.steps * base.batch_size / config.batch_size)
        else:
            guess = (budget.tokens or 0) / (config.batch_size * config.sequence_length)
            steps = budget.steps or round(guess) or config.max_steps
        found[name] = Length(max(1, steps), mean, config.batch_size)
    return found


def _seconds(budget: Budget) -> float:
    from linkbert.config import in_seconds

    return in_seconds(budget.time)


def lacking_graphs(store: Path, graphs: Sequence[str]) -> list[str]:
    """List the graphs that a store lacks."""
    return [name for name in dict.fromkeys(graphs) if not (store / "graphs" / name / "graph.json").is_file()]
