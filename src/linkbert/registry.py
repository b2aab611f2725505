"""Readers, graph methods, objectives and tasks by name: ours, those of installed packages, and `package.module:name`.

A package registers its own in the entry-point groups linkbert.readers, .graphs, .objectives and .tasks. A name, never
the object, goes to worker processes; each looks it up again. Nothing is imported before it is asked for.
"""

import importlib
import logging
from functools import cache
from importlib.metadata import entry_points
from operator import attrgetter
from typing import Any

from linkbert.config import nearest

log = logging.getLogger(__name__)
READERS = ("jsonl", "csv", "markdown", "mediawiki", "parquet", "pubmed", "html", "jats", "rst", "text", "zim")
WIKIS = {f"{name}wiki": f"linkbert.corpora.readers.wikis:{name.upper()}WIKI" for name in ("doku", "tiddly", "zim")}
WIKIS["wikitext"] = "linkbert.corpora.readers.wikis:WIKITEXT"
XML = ("stackexchange", "feed", "xml", "wikipedia")
PROBES = ("link-gain", "relation-transfer", "linked-retrieval", "two-hop-cloze", "reading", "score")  # of studies
BUILT_IN = {
    "readers": {name: f"linkbert.corpora.readers.{name}:READER" for name in READERS + XML} | WIKIS,
    "graphs": {
        name: f"linkbert.graph.{module}:build"
        for name, module in (("hyperlink", "hyperlinks"), ("tfidf", "tfidf"), ("random", "random_graph"))
    },
    "objectives": {name: f"linkbert.model.heads:{name.upper()}" for name in ("drp", "nsp", "none")},
    "tasks": {name: f"linkbert.tasks.kinds:{name.title()}" for name in ("question", "text", "tags", "choice")},
    "metrics": {},  # ours are functions of tasks/metrics.py
    "probes": {name: f"linkbert.trials.probes:{name.replace('-', '_')}" for name in PROBES},
}


@cache  # to look at every installed package takes 20 ms
def references(group: str) -> dict[str, str]:
    """Return what a group holds, name -> "module:attribute"; an installed package that has a name of ours is taken."""
    others = {each.name: each.value for each in entry_points(group=f"linkbert.{group}")}
    for name in others.keys() & BUILT_IN[group].keys():
        log.warning("%s %r is that of an installed package, %s, not ours", group.removesuffix("s"), name, others[name])
    return BUILT_IN[group] | others


@cache  # so that each is warned of once
def usable(group: str) -> list[str]:
    """List what a group holds, without what of installed packages cannot be imported: that is warned of."""
    names = [*BUILT_IN[group]]
    for name in [name for name in references(group) if name not in names]:
        try:
            find(group, name)
            names.append(name)
        except ValueError as error:
            log.warning("%s: it is left out", error)
    return names


def find(group: str, name: str) -> Any:
    """Import what a name or `package.module:name` stands for; ValueError for what is unknown or cannot be imported."""
    kind, known = group.removesuffix("s"), references(group)
    module, colon, attribute = known.get(name, name).partition(":")
    if not colon:
        raise ValueError(f"unknown {kind} {name!r}; {nearest(name, known)}")
    try:
        return attrgetter(attribute)(importlib.import_module(module))
    except Exception as error:  # a module of others may fail in any way
        whose = "" if ":" in name else f"{kind} {name!r} of an installed package, "
        raise ValueError(f"{whose}{known.get(name, name)} cannot be imported ({error})") from error
