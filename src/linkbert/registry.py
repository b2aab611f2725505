"""Readers, graph methods, objectives and tasks by name: ours, those of installed packages, and `package.module:name`.

A package registers its own in the entry-point groups linkbert.readers, linkbert.graphs, linkbert.objectives and
linkbert.tasks. A name, never the object, goes to worker processes; each looks it up again, so a plugin works with any
number of them. Nothing is imported before it is asked for.
"""

from __future__ import annotations

import importlib
from functools import cache
from importlib.metadata import entry_points
from operator import attrgetter
from typing import Any

from linkbert.config import nearest

READERS = ("jsonl", "markdown", "mediawiki", "parquet", "pubmed", "html", "jats", "text", "zim")
BUILT_IN = {
    "readers": {name: f"linkbert.corpora.readers.{name}:READER" for name in READERS},
    "graphs": {
        "hyperlink": "linkbert.graph.hyperlinks:build",
        "tfidf": "linkbert.graph.tfidf:build",
        "random": "linkbert.graph.random_graph:build",
    },
    "objectives": {name: f"linkbert.model.heads:{name.upper()}" for name in ("drp", "nsp", "none")},
    "tasks": {name: f"linkbert.tasks.kinds:{name.title()}" for name in ("question", "text", "tags", "choice")},
}


@cache  # to look at every installed package takes 20 ms
def installed(group: str) -> dict[str, str]:
    """Return what installed packages add to a group."""
    return {each.name: each.value for each in entry_points(group=f"linkbert.{group}")}


def references(group: str) -> dict[str, str]:
    """Return what a group holds, name -> "module:attribute"; an installed package may not take a name of ours."""
    return BUILT_IN[group] | installed(group) | BUILT_IN[group]  # in this order, and ours stay


def find(group: str, name: str) -> Any:
    """Import what a name stands for; `package.module:name` needs no registration.

    An unknown name is a ValueError that names the nearest known one; so is a module that cannot be imported.
    """
    reference = (known := references(group)).get(name, name)
    module, colon, attribute = reference.partition(":")
    if not colon:
        raise ValueError(f"unknown {group.removesuffix('s')} {name!r}; {nearest(name, known)}")
    try:
        return attrgetter(attribute)(importlib.import_module(module))
    except Exception as error:  # a module of others may fail in any way
        remedy = "; give package.module:name" * (":" not in name)
        raise ValueError(f"{name} cannot be imported ({error}){remedy}") from error
