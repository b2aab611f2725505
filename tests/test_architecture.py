"""The import table and the ceilings of the design, for every file; data moves in alphabetical order."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import linkbert

ROOT = Path(linkbert.__file__).parent
FILES = {path.relative_to(ROOT).with_suffix("").as_posix(): path for path in ROOT.rglob("*.py")}
BASE = {"records", "files", "workers", "registry", "config", "compiled", "progress"}
STAGES = ["corpora", "corpora/readers", "graph", "instances", "model", "pretraining", "tasks", "views"]
EVERYTHING = {*STAGES, "build", "api", "demo", "cli"}
MAY_IMPORT = {  # besides the base, and a folder's own files
    "corpora": set(),
    "corpora/readers": {"corpora"},
    "graph": {"corpora"},
    "instances": {"corpora", "graph"},
    "model": set(),
    "pretraining": {"instances", "model"},
    "tasks": {"corpora", "instances", "model", "pretraining"},
    "views": set(STAGES),
    "build": {"corpora", "graph", "instances"},
    "api": EVERYTHING,
    "demo": EVERYTHING - {"cli"},
    "cli": EVERYTHING,
    "__main__": {"cli"},
    "__init__": EVERYTHING,
} | {name: set() for name in BASE}
WITH_TORCH = {"model", "pretraining", "tasks", "instances/batches", "instances/dataset"}
CEILINGS = {  # lines of Python; (top) are the files beside the folders
    "(top)": 1_610,
    "corpora": 1_050,
    "corpora/readers": 2_950,
    "graph": 560,
    "instances": 2_250,
    "model": 1_550,
    "pretraining": 1_600,
    "tasks": 3_300,
    "views": 990,
}


OWED = {  # lines above the ceiling that are still to go; a change may only lower them
    "(top)": 1_235,
    "corpora": 667,
