import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of real data beside the project; tests that need it skip where it is absent."""
    folder = Path(os.environ.get("LINKBERT_DATA") or Path(__file__).parents[2] / "shared" / "data")
    if not (folder / "corpora").is_dir():
        pytest.skip(f"real data is not at {folder} (set LINKBERT_DATA)")
    return folder
