"""Files as every stage reads and writes them: decompressed on the fly, renamed when whole.

A source may have an address (https://, s3://, gs:// and what else fsspec knows): it is a UPath then, which acts as a
Path does, and is streamed; where a connection drops, the next one goes on from the byte that was reached.

A folder or file with its final name is complete; a crash leaves at most a `.part` name behind, which the next run
overwrites.
"""

from __future__ import annotations

import bz2
import fcntl
import hashlib
import io
import json
import lzma
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any, cast

import numpy as np

COMPRESSIONS = (".bz2", ".gz", ".xz", ".zst")
BLOCK = 1 << 20  # bytes of one request to a server


TRIES = 6  # connections in a row that may fail without a byte
PAUSE = 0.5  # seconds before the second of them; doubled each time


def source_path(source: str | Path) -> Path:
    """Make the path of a source, also of one with an address: "https://example.org/dump.xml.bz2"."""
    if not isinstance(source, str):
        return source
    if "://" not in source:
        return Path(source)
    try:
        from upath import UPath

        return cast(Path, UPath(source))
    except (ImportError, ValueError) as error:  # s3fs, gcsfs and the like are packages of their own
        raise ValueError(f"{source} cannot be read here: {_reason(error)}") from None


@dataclass(frozen=True)
class Member:
    """A file of an archive with its bytes, which is read as a Path is."""

    path: str
    data: bytes

    def __str__(self) -> str:
        return self.path

    @property
    def name(self) -> str:
        """The last part of its path."""
        return PurePosixPath(self.path).name

    @property
    def suffix(self) -> str:
        """The last suffix of its name."""
        return PurePosixPath(self.path).suffix


def has_address(path: Path) -> bool:
    """Return whether a source has an address, rather than a place on this machine."""
    return not isinstance(path, Path | Member)


def fetch_from_hub(name: str, patterns: Sequence[str], said: str, remedy: str, **options: Any) -> Path:
    """Fetch those files of a hub's repository into Hugging Face's own cache; give their folder, or one clear line."""
    import huggingface_hub

    try:
        return Path(huggingface_hub.snapshot_download(name, allow_patterns=list(patterns), **options))
    except Exception as error:  # many kinds: no network, no such name, gated, offline mode
        cause = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ValueError(f"{said}: no such folder, and the hub did not give it ({cause[:200]}); {remedy}") from None


def source_size(path: Path) -> int:
    """Return the bytes of a file, 0 where a server does not say; ValueError where there is none to be had."""
    if isinstance(path, Member):
        return len(path.data)
    if not has_address(path):
        return path.stat().st_size
    try:
        return path.stat().st_size or 0
    except ImportError as error:
        raise ValueError(f"{path} cannot be read here: {_reason(error)}; pip install what is missing") from None
    except Exception as error:  # each protocol has its own
        raise ValueError(f"{path} cannot be read ({_reason(error)}): check the address") from None


def open_source(path: Path) -> IO[bytes]:
    """Open a source for reading, at any byte."""
    if isinstance(path, Member):
        return io.BytesIO(path.data)
    return io.BufferedReader(_Remote(path)) if has_address(path) else path.open("rb")


class _Remote(io.RawIOBase):
    """A file with an address that is read on over dropped connections."""

    def __init__(self, path: Path) -> None:
        self.path, self.position, self.file, self.block = path, 0, cast(Any, None), BLOCK

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self.position, io.SEEK_END: 0}[whence]
        if whence == io.SEEK_END:
            start = source_size(self.path)
        if self.position != start + offset:
            self.position = start + offset
            self._drop()
        return self.position

    def readinto(self, buffer: Any) -> int:
        for attempt in range(TRIES):
            if attempt:
                time.sleep(PAUSE * 2 ** (attempt - 1))
            try:
                if self.file is None:
                    self.file = self._connect()
                data = self.file.read(len(buffer))
                break
            except FileNotFoundError as error:
                raise ValueError(f"{self.path} cannot be read ({_reason(error)}): check the address") from None
            except Exception as error:  # each protocol has its own
                self._drop()
                # Of a server that gives no ranges, a plain stream (0); of one that breaks off, less at a time.
                self.block = 0 if isinstance(error, ValueError) else min(self.block, max(self.block // 4, 1 << 14))
                reason = _reason(error)
        else:
            raise ConnectionError(
                f"{self.path} cannot be read from byte {self.position} on, tried {TRIES} times ({reason}): "
                "run the same command again later to go on"
            )
        buffer[: len(data)] = data
        self.position += len(data)
        return len(data)

    def _connect(self) -> Any:
        file = self.path.open("rb", block_size=self.block)  # type: ignore[call-overload] # a UPath takes what fsspec takes
        try:
            file.seek(self.position)
        except (ValueError, OSError):  # a plain stream begins at the beginning
            rest = self.position
            while rest > 0 and (skipped := len(file.read(min(rest, BLOCK)))):
                rest -= skipped
        return file

    def _drop(self) -> None:
        if self.file is not None:
            with suppress(Exception):
                self.file.close()
            self.file = None

    def close(self) -> None:
        self._drop()
        super().close()


def _reason(error: BaseException) -> str:
    error = error.__cause__ or error  # fsspec's FileNotFoundError hides the server's answer
    return " ".join(str(error).split()) or type(error).__name__


class CutFileError(ValueError):
    """A compressed file ends in the middle, or its bytes are damaged from some place on."""


def decompressed_blocks(path: Path) -> Iterator[tuple[bytes, int]]:
    """Yield a file's bytes block by block, decompressed as its name ends, each with the position reached in the file.

    Whatever can be decompressed is yielded before a CutFileError says that the file is cut or damaged.
    """

    def decompressor() -> Any:
        match suffix:
            case ".bz2":
                return bz2.BZ2Decompressor()
            case ".gz":
                from isal import igzip_lib

                return igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP)
            case ".xz":
                return lzma.LZMADecompressor()
            case ".zst":
                import zstandard

                return zstandard.ZstdDecompressor(max_window_size=2**31).decompressobj()

    suffix = ".gz" if path.suffix == ".tgz" else path.suffix
    stream = None
    with open_source(path) as file:
        while block := file.read(1 << 16):
            position = file.tell()
            if suffix not in COMPRESSIONS:
                yield block, position
                continue
            while block:  # streams may follow one another in a file, with zeros as padding at the end
                if stream is None:
                    block = block.lstrip(b"\0") if position > len(block) else block
                    if not block:
                        break
                    stream = decompressor()
                try:
                    data = stream.decompress(block)
                except Exception as error:  # each library has its own: OSError, LZMAError, IsalError, ZstdError
                    raise CutFileError(f"{path} is damaged near byte {position} ({error})") from None
                if data:
                    yield data, position
                block = stream.unused_data if stream.eof else b""
                stream = None if stream.eof else stream
    if stream is not None:
        raise CutFileError(f"{path} is cut off: its compressed data ends in the middle, at byte {source_size(path)}")


class DecompressedFile(io.RawIOBase):
    """A file's decompressed bytes to `read`; `position` says how far the file on disk is read for them."""

    def __init__(self, path: Path) -> None:
        self.blocks = decompressed_blocks(path)
        self.pending = bytearray()
        self.position = 0

    def read(self, size: int = -1) -> bytes:
        """Give `size` bytes, fewer at the end; all there are for -1."""
        while size < 0 or len(self.pending) < size:
            block, position = next(self.blocks, (b"", 0))
            if not block:
                break
            self.pending += block
            self.position = position
        size = len(self.pending) if size < 0 else size
        data = bytes(self.pending[:size])
        del self.pending[:size]
        return data

    def readable(self) -> bool:
        """Say that it can be read, as io.BufferedReader asks."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read into a buffer, as io.BufferedReader does."""
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


os.umask(UMASK := os.umask(0))  # it cannot be asked for without being set


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary name beside `path`; rename it to `path` when the block ends well, remove it when it does not."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    remove(part)
    try:
        yield part
        for weights in part.rglob("*.safetensors"):  # its library writes for the owner alone
            weights.chmod(0o666 & ~UMASK)
        if part.is_file():
            with part.open("rb") as file:
                os.fsync(file.fileno())
        if path.is_dir() and part.is_dir():
            remove(path)
        part.rename(path) if part.is_dir() else os.replace(part, path)
    finally:
        remove(part)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other processes of this machine from writing a folder; one that is being written is a ValueError.

    The lock is the file NAME.lock beside the folder; it goes when the block, or the process, ends.
    """
    place = folder.resolve()  # "." has no name, and a link to a folder needs the lock of the folder
    path = place.with_name(place.name + ".lock")
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(file.fileno()).st_ino != path.stat().st_ino:  # removed and made anew meanwhile
                raise BlockingIOError
        except (BlockingIOError, FileNotFoundError):
            raise ValueError(f"another process is writing {folder}; wait for it to end, or stop it") from None
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def remove(path: Path) -> None:
    """Remove a file or a folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Write a value as indented JSON, whole or not at all."""
    with replacing(path) as part:
        part.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def read_json(path: Path) -> Any:
    """Read a JSON file; a broken one is a ValueError that names it."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not valid JSON ({error}); it was not written by linkbert, or was edited") from None


def read_json_lines(path: Path, *keys: str) -> list[dict[str, Any]]:
    """Read a JSON object a line, each with these keys; of no file nothing, and nothing of a last line that was cut off.

    Any other line is a ValueError that names it.
    """
    found: list[dict[str, Any]] = []
    for number, line in enumerate(path.read_bytes().split(b"\n")[:-1] if path.is_file() else [], 1):
        try:
            record = json.loads(line)
        except ValueError:
            record = None
        if not isinstance(record, dict) or not record.keys() >= {*keys}:
            raise ValueError(f"{path} is damaged: line {number} is none of linkbert's; remove that line to go on")
        found.append(record)
    return found


def map_array(path: Path, dtype: Any, size: int | None = None) -> np.ndarray:
    """Map a file of plain numbers for reading: (n,) of `dtype`.

    One that is not there or cannot hold them, or (`size`) does not hold so many, is a ValueError.
    """
    kind = np.dtype(dtype)
    if not path.is_file():
        raise ValueError(f"{path} is not there: the store is damaged, build it again")
    bytes_ = path.stat().st_size
    if bytes_ % kind.itemsize or size not in (None, bytes_ // kind.itemsize):
        wanted = f"{size * kind.itemsize}" if size is not None else f"a multiple of {kind.itemsize}"
        raise ValueError(f"{path} is damaged: it has {bytes_} bytes, not {wanted}; build it again")
    array = np.memmap(path, kind, "r") if bytes_ else np.zeros(0, kind)  # an empty file cannot be mapped
    array.setflags(write=False)  # as a mapped one, so that compiled code sees one type
    return np.asarray(array)


def sha256(path: Path) -> str:
    """Hash a file's bytes; hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def cache_folder() -> Path:
    """Return the user's cache folder for linkbert (not made yet)."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "linkbert"
