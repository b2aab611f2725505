"""The model card: README.md of a checkpoint, written from the run so that nothing in it has to be remembered.

In: what run.json holds, the State, the settings and the opened stores; card.md is its template. Out: Markdown with the
YAML head of model hubs.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib import resources
from typing import Any

from huggingface_hub import ModelCard, ModelCardData

from linkbert.config import Config, show_value
from linkbert.files import read_json
from linkbert.instances.mixture import OpenPart
from linkbert.model.heads import find_objective
from linkbert.pretraining.checkpoint import State
from linkbert.pretraining.scores import describe, from_json
from linkbert.records import LINKED, RELATIONS

LICENCE: dict[str, Any] = {"license": "other", "license_name": "see-the-licence-of-the-corpus"}
OUTCOMES = ("found", "resolved", "redirected", "dead", "self", "disambiguation", "edges")  # of links


def model_card(run: dict[str, Any], state: State, config: Config, stores: Sequence[OpenPart], *, kind: str) -> str:
    """Write the card from run.json and its date, where the run stands, its settings, its stores and its model_type."""
    pairs = sum(state.relations)
    seen = {"pairs seen": f"{pairs:,}", "tokens seen": f"{state.tokens:,}"}
    for i, name in enumerate(RELATIONS):
        asked = sum(each.weight * each.config.shares[i] for each in stores)
        seen[f"share of {name} pairs"] = f"{state.relations[i] / max(pairs, 1):.1%} (asked: {asked:.1%})"
    scores = "Not scored."
    if state.evaluation:
        pairs, step = state.evaluation["pairs"], state.evaluation["step"]
        scores = f"After step {step:,}, on {pairs:,} held-out pairs; in brackets 95 % intervals, by document.\n"
        for line in describe(from_json(state.evaluation)):
            scores += re.sub(r"^( *)", r"\n\1* ", line)
    # A path by its last part, as other people's disks are nobody's business.
    settings = {k: f"`{plain(v) if isinstance(v, str) else show_value(v)}`" for k, v in config}
    sources, described = zip(*(describe_store(each) for each in stores), strict=True)
    tags = ["linkbert", kind, "fill-mask", "pretraining"]
    head = ModelCardData(**LICENCE, library_name="transformers", pipeline_tag="fill-mask", tags=tags)
    values: dict[str, Any] = {"kind": kind, "run": run, "state": state, "config": config, "scores": scores}
    values |= {"sources": "; ".join(sources), "learnt_from": "\n\n".join([table(seen), *described])}
    values |= {"settings": table(settings), "objective": find_objective(config.objective)}
    template = resources.files("linkbert.pretraining").joinpath("card.md").read_text(encoding="utf-8")
    return str(ModelCard.from_template(head, template_str=template, **values)).strip() + "\n"


def describe_store(store: OpenPart) -> tuple[str, str]:
    """Name a store's sources; also count, in Markdown, what it holds, and describe how pairs are drawn from it."""
    manifest, config = read_json(store.part.path / "store.json"), store.config
    graph = store.graph.meta if store.graph else {}
    names = [plain(each["path"]) for each in manifest["sources"]] or ["its corpus"]
    sources = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    shares = ", ".join(f"{name} {part:.1%}" for name, part in zip(RELATIONS, config.shares, strict=True))
    rows = {"sources": sources, "store built on": plain(manifest["created"])}
    rows |= {name: f"{store.tokens.meta[name]:,}" for name in ("documents", "tokens")}
    rows |= {f"links: {key}": f"{graph[key]:,}" for key in OUTCOMES if graph.get(key) is not None}
    rows |= {"share of the pairs": f"{store.weight:.2%}", "asked of them": shares}
    scope = "links that stand in the first segment" if config.scope == "segment" else "any link of the first document"
    drawn = f"A linked pair follows {scope}; a document is drawn in proportion to in-degree^-{config.alpha:g}."
    policy = drawn if config.shares[LINKED] else "No pair was linked."
    name = f"### {plain(store.part.name)}\n\n" if store.part.name else ""
    held_out = f"Documents held out: {config.held_out:.1%}, by a hash of their id."
    return sources, f"{name}{table(rows)}\n\n{policy} {held_out}"


def table(rows: dict[str, str]) -> str:
    """Lay out names and values as a Markdown table without a head."""
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows.items())])


def plain(text: str) -> str:
    """Keep of what comes from outside a path's last part, on one line, free of Markdown's and HTML's signs."""
    return re.sub(r"[^\w .,:+@=-]", "_", re.split(r"[/\\]", text.rstrip("/"))[-1])[:200]
