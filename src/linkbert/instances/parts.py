"""The stores of a run, as the command line names them; nothing is opened, so that a wrong word is found at once."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from linkbert.config import STORE_SETTINGS, Config, nearest, number


@dataclass(frozen=True)
class Part:
    """One store of a run: its name among several, and how it differs from the run's Config."""

    name: str  # empty where there is but one
    path: Path
    weight: float | None = None  # None: its number of tokens
    settings: Mapping[str, Any] = field(default_factory=dict)

    def config(self, config: Config) -> Config:
        """Return the run's Config with this store's own settings."""
        try:
            return config.replace(**self.settings)
        except ValueError as error:
            raise ValueError(f"{self.name}.{error}") from None


def read_mix(
    words: Iterable[str], settings: Iterable[str], *, before: Mapping[str, Mapping[str, Any]] | None = None
) -> tuple[list[Part], list[str]]:
    """Read the words of --mix, `NAME=STORE` or `NAME=STORE:WEIGHT`, and settings of the form `NAME.key=value`.

    Returned: the Parts, and the settings that name no store. `before` are the stores of a run that is resumed, as
    run.json has them: what is not given is as it was. Bad words are a ValueError.

    >>> read_mix(["wiki=./w:0.8", "books=./b:1/5"], ["max_steps=9", "books.scope=document"])[0][1]
    Part(name='books', path=PosixPath('b'), weight=0.2, settings={'scope': 'document'})
    """
    parts, rest = dict[str, Part](), []
    for word in words:
        name, _, store = word.partition("=")
        if not store or not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_-]*", name):
            raise ValueError(f"--mix {word} cannot be read: it takes NAME=STORE or NAME=STORE:WEIGHT, as wiki=./w:0.8")
        if name in parts:
            raise ValueError(f"--mix names two stores {name!r}; give each a name of its own")
        was = (before or {}).get(name, {})
        weight, (path, _, text) = was.get("weight"), store.rpartition(":")
        if path:
            with suppress(ValueError):  # else the colon is the path's
                weight, store = float(number(text)), path
        if weight is not None and not 0 < weight < math.inf:
            raise ValueError(f"--mix {word}: a weight is a number above 0, such as 0.8")
        own = {key: getattr(Config(**{key: value}), key) for key, value in was.get("settings", {}).items()}
        parts[name] = Part(name, Path(store), weight, own)
    for word in settings:
        key, equals, text = word.partition("=")
        name, dot, setting = key.partition(".")
        if not parts or not dot or not equals:
            rest.append(word)
        elif name not in parts:
            raise ValueError(f"unknown setting {key!r}: no store of --mix is called {name!r}; {nearest(name, parts)}")
        elif setting not in STORE_SETTINGS:
            raise ValueError(f"unknown setting {key!r}, not one of a single store; {nearest(setting, STORE_SETTINGS)}")
        else:
            value = getattr(Part(name, Path(), settings={setting: text}).config(Config()), setting)
            parts[name] = replace(parts[name], settings={**parts[name].settings, setting: value})
    return list(parts.values()), rest


def choose_stores(
    words: Sequence[str], record: Mapping[str, Any], mix: Sequence[str] = ()
) -> tuple[list[Part], list[str]]:
    """Find the stores to read, and the words that remain: of --mix, the first word without "=", or those of a run."""
    words, before = list(words), record.get("stores", {})
    named = next((word for word in words if "=" not in word or Path(word).exists()), None)
    if mix and named:
        raise ValueError(f"{named} and --mix are both given: name one STORE, or every store with --mix")
    if named:
        words.remove(named)
    elif mix := mix or [f"{name}={store['path']}:{store['weight']}" for name, store in before.items()]:
        return read_mix(mix, words, before=before)
    elif not (named := record.get("store", {}).get("path")):
        raise ValueError("there is no store: name a STORE, or several with --mix NAME=STORE, or a run that has one")
    return [Part("", Path(named))], words
