"""The model card: README.md of a checkpoint, written from the run so that nothing in it has to be remembered.

In: what run.json holds, the State, the settings and the opened stores. Out: Markdown with the YAML head of model hubs.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
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
CARD = """\
---
{{ card_data }}
---

# LinkBERT, {{ "{:,}".format(state.step) }} steps on {{ sources }}

An encoder of the kind `{{ kind }}` that learnt {{ objective.learns or ", ".join(objective.over) }}, as LinkBERT does
(Yasunaga, Leskovec and Liang, ACL 2022), with `linkbert` {{ run.versions.linkbert }}. Written on {{ run.written }}.
{%- if not state.finished %} This is a checkpoint on the way, {{ state.step }} of {{ state.planned }} steps.{% endif %}

## How to use it

```python
from transformers import AutoModelForMaskedLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("DIR")
model = AutoModelForMaskedLM.from_pretrained("DIR")
```

`AutoModel` gives the encoder for fine-tuning. {%- if objective.relations %} The relation head, of which transformers
knows at most the rows *contiguous* and *random* (`BertForPreTraining`), is used by `linkbert relate --model DIR`.
{%- endif %}

## What it learnt from

{{ learnt_from }}

## Scores on documents it has not seen

{{ scores }}

## Settings

{{ settings }}

Made with {% for name, version in run.versions.items() %}{{ name }} {{ version }}, {% endfor -%}
{{ run.processes }} process(es).

## Limits

* It repeats the views, gaps and errors of its corpus; check it for your purpose before people depend on it.
* It fills masks and compares texts; it does not know facts, and a likely word is not a true one.
* In biomedicine it is for research, not for clinical use: not for diagnosis, treatment or advice to patients.
* It reads at most {{ config.sequence_length }} tokens as it was trained, in the languages of its corpus.
* The licence of its weights follows those of the corpus and of the encoder it started from; see to both.
"""


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
    return str(ModelCard.from_template(head, template_str=CARD, **values)).strip() + "\n"


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
