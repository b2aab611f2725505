"""The import table and the ceilings of the design, for every file; data moves in alphabetical order."""

import ast
import functools
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import linkbert

ROOT = Path(linkbert.__file__).parent
FILES = {path.relative_to(ROOT).with_suffix("").as_posix(): path for path in ROOT.rglob("*.py")}
BASE = {"records", "files", "workers", "registry", "config", "compiled", "progress"}
STAGES = ["corpora", "corpora/readers", "graph", "instances", "model", "pretraining", "tasks", "trials", "views"]
EVERYTHING = {*STAGES, "api", "demo", "cli"}
MAY_IMPORT = {  # besides the base, and a folder's own files
    "corpora": set(),
    "corpora/readers": {"corpora"},
    "graph": {"corpora"},
    "instances": {"corpora", "graph"},
    "model": {"instances/vocabulary"},  # one function reads a vocabulary for every command
    "pretraining": {"instances", "model"},
    "tasks": {"corpora", "corpora/readers/parquet", "instances", "model", "pretraining"},  # which bounds any table
    "trials": {"corpora", "instances", "model", "pretraining", "tasks"},
    "views": set(STAGES),
    "api": EVERYTHING,
    "demo": EVERYTHING - {"cli"},
    "cli": EVERYTHING,
    "__main__": {"cli"},
    "__init__": EVERYTHING,
} | {name: set() for name in BASE}
WITH_TORCH = {"model", "pretraining", "tasks", "trials/probes"}
WITH_TORCH |= {"instances/batches", "instances/dataset"}
CEILINGS = {  # lines of Python; (top) are the files beside the folders
    "(top)": 1_610,
    "corpora": 1_050,
    "corpora/readers": 3_900,
    "graph": 560,
    "instances": 2_250,
    "model": 1_550,
    "pretraining": 1_600,
    "tasks": 3_300,
    "trials": 900,
    "views": 1_240,  # with the page of the demo
}


OWED = {  # lines above the ceiling, docs/log/size.md says for what; what is not said there must go
    "(top)": 1_470,
    "corpora": 1_110,
    "corpora/readers": 3_520,
    "graph": 133,
    "instances": 232,
    "model": 531,
    "pretraining": 280,
    "tasks": 989,
    "trials": 577,
    "views": 319,
}


def place_of(name: str) -> str:
    """Return the row of the table that a file is in: its folder, or its own name at the top."""
    return name.rpartition("/")[0] or name


@functools.cache
def read(name: str) -> ast.AST:
    """Parse a file of the package."""
    return ast.parse(FILES[name].read_text(encoding="utf-8"))


def imports(tree: ast.AST, *, inside_functions: bool = True) -> set[str]:
    """Name every module that code imports, in full."""
    names = set()
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import"
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            pass
        elif inside_functions or not isinstance(node, ast.FunctionDef):
            names |= imports(node, inside_functions=inside_functions)
    return names


@pytest.mark.parametrize("name", FILES)
def test_imports_point_one_way(name):
    own = place_of(name)
    allowed = MAY_IMPORT[own] | {own}
    for module in imports(read(name)):
        path = module.removeprefix("linkbert").strip(".").replace(".", "/")
        if not module.startswith("linkbert.") or path not in FILES:
            continue
        assert path in BASE or {path, place_of(path)} & allowed, f"{name} imports {path}"


@pytest.mark.parametrize("name", FILES)
def test_torch_stays_where_the_design_puts_it(name):
    if {name, place_of(name)} & WITH_TORCH:
        return
    heavy = {module.split(".")[0] for module in imports(read(name), inside_functions=place_of(name) in STAGES)}
    assert not heavy & {"torch", "transformers"}, name


def test_every_folder_keeps_to_its_ceiling():
    lines: dict[str, int] = dict.fromkeys(CEILINGS, 0)
    for name, path in FILES.items():
        lines[name.rpartition("/")[0] or "(top)"] += len(path.read_text(encoding="utf-8").splitlines())
    most = {folder: ceiling + OWED.get(folder, 0) for folder, ceiling in CEILINGS.items()}
    over = {folder: f"{count} of {most[folder]}" for folder, count in lines.items() if count > most[folder]}
    assert not over, over


def test_inits_are_empty():
    for name, path in FILES.items():
        if name.endswith("/__init__"):
            assert not path.read_text().strip(), name


def test_help_is_instant_because_nothing_heavy_is_imported():
    code = (
        "import sys, linkbert.cli; print([m for m in ('torch', 'transformers', 'numba', 'duckdb') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "path", sorted((Path(__file__).parents[1] / "benchmarks").glob("*.py")), ids=lambda path: path.stem
)
def test_a_benchmark_uses_what_there_is(path):
    tree, modules = ast.parse(path.read_text(encoding="utf-8")), {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and f"{node.module}.".startswith("linkbert."):
            module = importlib.import_module(node.module)
            for alias in node.names:
                if f"{node.module}.{alias.name}".removeprefix("linkbert.").replace(".", "/") in FILES:
                    modules[alias.asname or alias.name] = importlib.import_module(f"{node.module}.{alias.name}")
                else:
                    assert hasattr(module, alias.name), f"{node.module} has no {alias.name}"
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in modules:
            assert hasattr(modules[node.value.id], node.attr), f"{node.value.id} has no {node.attr}"
