"""What is compiled and kept on disk: numba's kernels of the stages, the hash they share, and torch's cache.

numba's cache looks at the date of a function's own file only: what is compiled here must never change.
"""

import ctypes
import fcntl
import hashlib
import os
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import llvmlite.binding  # type: ignore[import-untyped]
import numba
import numpy as np

import linkbert
from linkbert.files import cache_folder

_U = np.uint64


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function on its first call, and keep the result on disk where a folder for it can be written."""
    try:
        return numba.njit(function, cache=True, nogil=True)
    except RuntimeError:  # neither the package's folder nor the user's cache can be written
        return numba.njit(function, nogil=True)


@compiled
def mix(x: np.uint64) -> np.uint64:
    """Hash 64 bits to 64 bits (the finaliser of splitmix64)."""
    x = (x ^ (x >> _U(30))) * _U(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> _U(27))) * _U(0x94D049BB133111EB)
    return x ^ (x >> _U(31))


def torch_cache_folder() -> Path:
    """Return the folder in which torch compiles, and set it: ours, unless TORCHINDUCTOR_CACHE_DIR names another.

    torch sets that variable as well when it is imported, to a folder torchinductor_USER that all its versions share.
    """
    folder = Path(os.environ.get("TORCHINDUCTOR_CACHE_DIR", "torchinductor_"))
    if folder.name.startswith("torchinductor_"):
        processor = llvmlite.binding.get_host_cpu_name() + llvmlite.binding.get_host_cpu_features().flatten()
        digest = hashlib.sha256(processor.encode()).hexdigest()[:8]
        folder = cache_folder() / "torch" / f"linkbert-{linkbert.__version__}-torch-{version('torch')}-{digest}"
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(folder)
    return folder


@contextmanager
def checked_torch_cache() -> Iterator[None]:
    """Let torch compile in its folder; a process that compiles there alone first removes broken libraries."""
    folder = torch_cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "compiling.lock").open("w") as lock:
        with suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for library in folder.rglob("*.so"):
                if not is_whole_library(library):
                    library.unlink()
        fcntl.flock(lock, fcntl.LOCK_SH)
        yield


def is_whole_library(path: Path) -> bool:
    """Return whether a shared library has all its bytes and can be loaded."""
    with path.open("rb") as file:
        head = file.read(64)
    if head[:5] == b"\x7fELF\2":  # of 64 bits; the table of sections ends it: a short one kills who loads it
        start, size, count = struct.unpack_from("=40xQ10xHH", head.ljust(64))
        if start + size * count > path.stat().st_size:
            return False
    with suppress(OSError):
        ctypes.CDLL(str(path))
        return True
    return False
