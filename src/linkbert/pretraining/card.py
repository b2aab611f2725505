"""The model card: README.md of a checkpoint, written from the run so that nothing in it has to be remembered.

In: the facts of a run as plain values (what run.json holds, the State, the store's own records). Out: Markdown with the
YAML head that model hubs read.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from linkbert.config import Config, show_value
from linkbert.model.heads import find_objective
from linkbert.pretraining.checkpoint import State
from linkbert.pretraining.scores import describe, from_json
from linkbert.records import LINKED, RELATIONS

POLICY = {
    "found": "links found",
    "resolved": "links resolved to a document",
    "redirected": "links that went through redirects",
    "dead": "links dead, dropped",
    "self": "links to their own document, dropped",
    "disambiguation": "links to disambiguation pages, dropped",
    "edges": "edges of the graph",
}
USE = """\
```python
from transformers import AutoModelForMaskedLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("DIR")
model = AutoModelForMaskedLM.from_pretrained("DIR")
```

`AutoModel` gives the encoder for fine-tuning.
"""
USE_BERT = """\
`BertForPreTraining` gives the masked-token head and the rows *contiguous* and *random* of the relation head; the third,
*linked*, where it was learnt, is `cls.linked_relationship` in model.safetensors.
"""
USE_OTHER = """\
The relation head is `linkbert.relation` in model.safetensors (rows: contiguous, random, linked), over the [CLS] that
the pooler has seen: the encoder's own, or else `linkbert.pooler`. Transformers names them as unexpected when it loads.
"""
USE_LINKED = """\
`linkbert` gives the probabilities of all three relations:

    linkbert relate --model DIR A.txt B.txt

```python
from pathlib import Path
from linkbert.model.checkpoint import load_model

model = load_model(Path("DIR"))  # model.predict(...) gives the probabilities of all three
```
"""


@dataclass(frozen=True)
class Learnt:
    """What a card says of a store that a run learns from."""

    name: str  # empty where there is but one
    weight: float  # its share of the pairs
    config: Config  # the run's, with the store's own settings
    manifest: dict[str, Any]  # store.json
    tokens: dict[str, Any]  # tokens.json
    graph: dict[str, Any]  # graph.json; empty without one


def model_card(
    run: dict[str, Any], state: State, config: Config, stores: Sequence[Learnt], *, kind: str = "bert"
) -> str:
    """Write the card from RUN/run.json, where the run stands, its settings, the stores it learns from, and its kind."""
    objective = find_objective(config.objective)
    learnt = objective.learns or ", ".join(objective.over)
    use = USE + (USE_BERT if kind == "bert" else USE_OTHER if objective.relations else "")
    sections = [
        _head(kind),
        f"# LinkBERT, {state.step:,} steps on " + "; ".join(_corpus(store.manifest) for store in stores),
        f"An encoder of the kind `{kind}` that learnt {learnt}, as LinkBERT does (Yasunaga, Leskovec "
        f"and Liang, ACL 2022), with `linkbert` {run['versions']['linkbert']}. Written on {run['written']}.",
        _unfinished(state),
        "## How to use it\n\n" + use + (USE_LINKED if objective.relations == 3 else ""),
        "## What it learnt from\n\n" + _learnt_from(state, stores),
        "## Scores on documents it has not seen\n\n" + _scores(state),
        "## Settings\n\n" + _settings(config, run),
        "## Limits\n\n" + _limits(config),
    ]
    return "\n\n".join(section.strip() for section in sections if section) + "\n"


def _head(kind: str) -> str:
    """Write the YAML head; the licence is that of the corpus and the encoder, which a program cannot know."""
    lines = ["license: other", "license_name: see-the-licence-of-the-corpus", "library_name: transformers"]
    lines += ["pipeline_tag: fill-mask", "tags:", "- linkbert", f"- {kind}", "- fill-mask", "- pretraining"]
    return "\n".join(["---", *lines, "---"])


def _corpus(manifest: dict[str, Any]) -> str:
    """Name the sources without their folders: 'enwiki-20260101.xml.bz2'."""
    sources = manifest.get("sources") or []
    names = [
        _plain(re.split(r"[/\\]", str(s.get("path", s) if isinstance(s, dict) else s).rstrip("/"))[-1]) for s in sources
    ]
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "") if names else "its corpus"


def _plain(text: str) -> str:
    """Keep what comes from outside on one line and free of Markdown's and HTML's signs."""
    return re.sub(r"[^\w .,:+@=-]", "_", text)[:200]


def _unfinished(state: State) -> str:
    if state.finished:
        return ""
    return (
        f"This is a checkpoint on the way, {state.step:,} of {state.plan[2]:,} steps: the learning rate is still high."
    )


def _learnt_from(state: State, stores: Sequence[Learnt]) -> str:
    pairs = sum(state.relations)
    asked = [sum(store.weight * store.config.shares[i] for store in stores) for i in range(3)]
    seen = [("pairs seen", _count(pairs)), ("tokens seen", _count(state.tokens))]
    for name, part, came in zip(RELATIONS, asked, state.relations, strict=True):
        seen.append((f"share of {name} pairs", f"{came / max(pairs, 1):.1%} (asked: {part:.1%})"))
    if len(stores) == 1:
        return _table(_facts(stores[0]) + seen) + "\n\n" + _policy(stores[0].config)
    parts = [f"{len(stores)} stores, in one sequence of pairs by their weights.", _table(seen)]
    for store in stores:
        shares = ", ".join(f"{name} {part:.1%}" for name, part in zip(RELATIONS, store.config.shares, strict=True))
        own = [("share of the pairs", f"{store.weight:.2%}"), ("asked of them", shares)]
        parts += [f"### {_plain(store.name)}", _table(_facts(store) + own), _policy(store.config)]
    return "\n\n".join(parts)


def _facts(store: Learnt) -> list[tuple[str, str]]:
    return [
        ("sources", _corpus(store.manifest)),
        ("store built on", _plain(str(store.manifest.get("created", "unknown")))),
        ("documents", _count(store.tokens.get("documents"))),
        ("tokens", _count(store.tokens.get("tokens"))),
        *((meaning, _count(store.graph[key])) for key, meaning in POLICY.items() if store.graph.get(key) is not None),
    ]


def _policy(config: Config) -> str:
    scope = "links that stand in the first segment" if config.scope == "segment" else "any link of the first document"
    held_out = f"Documents held out: {config.held_out:.1%}, by a hash of their id."
    if not config.shares[LINKED]:
        return "No pair was linked. " + held_out
    return (
        f"A linked pair follows {scope}; its document is drawn in proportion to in-degree^-{config.alpha:g} and a "
        f"target named twice counts once. {held_out}"
    )


def _scores(state: State) -> str:
    if not state.evaluation:
        return "Not scored."
    scores = from_json(state.evaluation)
    lines = [
        f"After step {state.evaluation['step']:,}, on {scores.pairs:,} held-out pairs; in brackets 95 % "
        "intervals, of which documents are the units.",
        "",
    ]
    lines += [re.sub(r"^( *)", r"\1* ", line) for line in describe(scores)]
    return "\n".join(lines)


def _settings(config: Config, run: dict[str, Any]) -> str:
    rows = [(name, f"`{_plain_value(getattr(config, name))}`") for name, _, _ in Config.describe()]
    versions = ", ".join(f"{name} {version}" for name, version in run["versions"].items())
    return _table(rows) + f"\n\nMade with {versions}, {run['processes']} process(es)."


def _plain_value(value: Any) -> str:
    """Write a setting; a start that is a folder by its last name, as other people's disks are nobody's business."""
    return _plain(re.split(r"[/\\]", value)[-1]) if isinstance(value, str) else show_value(value)


def _limits(config: Config) -> str:
    lines = [
        "It repeats the views, gaps and errors of its corpus: who and what is written about, in which words, and what "
        "was later found wrong. Check it for your purpose before people depend on it.",
        "It fills masks and compares texts; it does not know facts, and a likely word is not a true one.",
        "In biomedicine it is for research, not for clinical use: not for diagnosis, treatment or advice to patients.",
        f"It reads at most {config.sequence_length} tokens as it was trained, in the languages of its corpus.",
        "The licence of its weights follows those of the corpus and of the encoder it started from; see to both.",
    ]
    return "\n".join(f"* {line}" for line in lines)


def _count(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else "unknown"


def _table(rows: list[tuple[str, str]]) -> str:
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)])
