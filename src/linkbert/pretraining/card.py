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

GRAPH_ROWS = {
    "found": "links found",
    "resolved": "links resolved to a document",
    "redirected": "links that went through redirects",
    "dead": "links dead, dropped",
    "self": "links to their own document, dropped",
    "disambiguation": "links to disambiguation pages, dropped",
    "edges": "edges of the graph",
}
CARD = """\
{%- macro table(rows) %}
| | |
|---|---|
{%- for name, value in rows.items() %}
| {{ name }} | {{ value }} |
{%- endfor %}
{% endmacro -%}
---
{{ card_data }}
---

# LinkBERT, {{ "{:,}".format(state.step) }} steps on {{ stores | map(attribute="sources") | join("; ") }}

An encoder of the kind `{{ kind }}` that learnt {{ objective.learns or ", ".join(objective.over) }}, as LinkBERT does
(Yasunaga, Leskovec and Liang, ACL 2022), with `linkbert` {{ run.versions.linkbert }}. Written on {{ run.written }}.
{%- if not state.finished %}

This is a checkpoint on the way, {{ state.step }} of {{ state.planned }} steps: the learning rate is still high.
{%- endif %}

## How to use it

```python
from transformers import AutoModelForMaskedLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("DIR")
model = AutoModelForMaskedLM.from_pretrained("DIR")
```

`AutoModel` gives the encoder for fine-tuning.
{%- if kind == "bert" %}
`BertForPreTraining` gives the masked-token head and the rows *contiguous* and *random* of the relation head; the third,
*linked*, where it was learnt, is `cls.linked_relationship` in model.safetensors.
{%- elif objective.relations %}
The relation head is `linkbert.relation` in model.safetensors (rows: contiguous, random, linked), over the [CLS] that
the pooler has seen: the encoder's own, or else `linkbert.pooler`. Transformers names them as unexpected when it loads.
{%- endif %}
{%- if objective.relations == 3 %}
`linkbert relate A.txt B.txt --model DIR`, or in Python `linkbert.load_model("DIR")`, scores all three relations.
{%- endif %}

## What it learnt from
{{ table(seen) }}
{%- for store in stores %}
{{ "### " + store.name + "\n" if store.name }}
{{- table(store.rows) }}
{{ store.policy }}
{% endfor %}
## Scores on documents it has not seen
{% if scores %}
After step {{ "{:,}".format(state.evaluation.step) }}, on {{ "{:,}".format(state.evaluation.pairs) }} held-out pairs; \
in brackets 95 % intervals, of which documents are the units.

{{ scores | join("\n") }}
{%- else %}
Not scored.
{%- endif %}

## Settings
{{ table(settings) }}
Made with {% for name, version in run.versions.items() %}{{ name }} {{ version }}, {% endfor -%}
{{ run.processes }} process(es).

## Limits

* It repeats the views, gaps and errors of its corpus: who and what is written about, in which words, and what was later
  found wrong. Check it for your purpose before people depend on it.
* It fills masks and compares texts; it does not know facts, and a likely word is not a true one.
* In biomedicine it is for research, not for clinical use: not for diagnosis, treatment or advice to patients.
* It reads at most {{ config.sequence_length }} tokens as it was trained, in the languages of its corpus.
* The licence of its weights follows those of the corpus and of the encoder it started from; see to both.
"""


def model_card(run: dict[str, Any], state: State, config: Config, stores: Sequence[OpenPart], *, kind: str) -> str:
    """Write the card from run.json and its date, where the run stands, its settings, its stores and its model_type."""
    pairs = sum(state.relations)
    seen = {"pairs seen": f"{pairs:,}", "tokens seen": f"{state.tokens:,}"}
    for i, (name, count) in enumerate(zip(RELATIONS, state.relations, strict=True)):
        asked = sum(each.weight * each.config.shares[i] for each in stores)
        seen[f"share of {name} pairs"] = f"{count / max(pairs, 1):.1%} (asked: {asked:.1%})"
    scores = describe(from_json(state.evaluation)) if state.evaluation else []
    head = ModelCardData(
        license="other",
        license_name="see-the-licence-of-the-corpus",
        library_name="transformers",
        pipeline_tag="fill-mask",
        tags=["linkbert", kind, "fill-mask", "pretraining"],
    )
    values: dict[str, Any] = {
        "run": run,
        "state": state,
        "config": config,
        "kind": kind,
        "objective": find_objective(config.objective),
        "seen": seen,
        "stores": [describe_store(each) for each in stores],
        "scores": [re.sub(r"^( *)", r"\1* ", line) for line in scores],
        # A path by its last part, as other people's disks are nobody's business.
        "settings": {k: f"`{plain(v) if isinstance(v, str) else show_value(v)}`" for k, v in config},
    }
    return str(ModelCard.from_template(head, template_str=CARD, **values)).strip() + "\n"


def describe_store(store: OpenPart) -> dict[str, Any]:
    """Name a store and its sources, count what it holds, and describe how pairs are drawn from it."""
    manifest, config = read_json(store.part.path / "store.json"), store.config
    graph = store.graph.meta if store.graph else {}
    sources = [each["path"] for each in manifest["sources"]]
    names = [plain(source) for source in sources[:3]] or ["its corpus"]
    shares = ", ".join(f"{name} {part:.1%}" for name, part in zip(RELATIONS, config.shares, strict=True))
    rows = {
        "sources": ", ".join(names) + (f" and {len(sources) - 3} more" if len(sources) > 3 else ""),
        "store built on": plain(manifest["created"]),
        **{name: f"{store.tokens.meta[name]:,}" for name in ("documents", "tokens")},
        **{meaning: f"{graph[key]:,}" for key, meaning in GRAPH_ROWS.items() if graph.get(key) is not None},
        "share of the pairs": f"{store.weight:.2%}",
        "asked of them": shares,
    }
    scope = "links that stand in the first segment" if config.scope == "segment" else "any link of the first document"
    drawn = (
        f"A linked pair follows {scope}; its document is drawn in proportion to in-degree^-{config.alpha:g} and a "
        "target named twice counts once."
    )
    policy = drawn if config.shares[LINKED] else "No pair was linked."
    policy += f" Documents held out: {config.held_out:.1%}, by a hash of their id."
    return {"name": plain(store.part.name), "sources": rows["sources"], "rows": rows, "policy": policy}


def plain(text: str) -> str:
    """Keep of what comes from outside a path's last part, on one line, free of Markdown's and HTML's signs."""
    return re.sub(r"[^\w .,:+@=-]", "_", re.split(r"[/\\]", text.rstrip("/"))[-1])[:200]
