"""The import table of the design: data moves through the folders in alphabetical order, and imports point backwards."""

import ast
import subprocess
import sys
from pathlib import Path

import linkbert

ROOT = Path(linkbert.__file__).parent
BASE = {"records", "files", "config", "shards", "compiled"}
MAY_IMPORT = {
    "corpora": set(),
    "graph": {"corpora"},
    "instances": {"corpora", "graph"},
    "model": set(),
    "pretraining": {"instances", "model"},
    "tasks": {"corpora", "instances", "model", "pretraining"},
}
TORCH = {"model", "pretraining", "tasks"}
EMPTY_INITS_SAVE = {"corpora"}


def imports(file: Path) -> set[str]:
    """Name every module that a file imports, in full."""
    names = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def test_imports_point_one_way():
    for stage, allowed in MAY_IMPORT.items():
        for file in (ROOT / stage).rglob("*.py"):
            parts = {name.split(".")[1] for name in imports(file) if name.startswith("linkbert.")}
            foreign = parts - BASE - allowed - {stage, "__version__"}
            assert not foreign, f"{file.relative_to(ROOT)} imports {sorted(foreign)}"


def test_the_base_imports_no_stage():
    for name in BASE:
        parts = {module.split(".")[1] for module in imports(ROOT / f"{name}.py") if module.startswith("linkbert.")}
        assert not parts - BASE - {"__version__"}, name


def test_torch_stays_where_the_design_puts_it():
    for file in ROOT.rglob("*.py"):
        stage = file.relative_to(ROOT).parts[0]
        if stage in MAY_IMPORT and stage not in TORCH and file.name != "batches.py":
            heavy = {name for name in imports(file) if name.split(".")[0] in ("torch", "transformers")}
            assert not heavy, f"{file.relative_to(ROOT)} imports {sorted(heavy)}"


def test_inits_are_empty():
    for stage in MAY_IMPORT.keys() - EMPTY_INITS_SAVE:
        assert not (ROOT / stage / "__init__.py").read_text().strip(), stage


def test_help_is_instant_because_nothing_heavy_is_imported():
    code = (
        "import sys, linkbert.cli; print([m for m in ('torch', 'transformers', 'numba', 'duckdb') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
