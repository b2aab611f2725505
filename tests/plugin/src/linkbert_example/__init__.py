"""What linkbert finds here by entry points: a reader, a graph method, an objective and a table of datasets."""

from pathlib import Path


def tables() -> Path:
    """Name the file of tables of datasets."""
    return Path(__file__).with_name("tasks.toml")
