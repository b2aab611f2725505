"""Files as every stage reads and writes them: decompressed on the fly, renamed when whole.

A source with an address (https://, s3://, what fsspec knows) is a UPath, which acts as a Path does. A folder or file
with its final name is complete; a crash leaves at most a `.part` behind, which the next run overwrites.
"""

from __future__ import annotations

import bz2
import ctypes
import difflib
import errno
import fcntl
import hashlib
import io
import json
import logging
import lzma
import math
import os
import re
import shutil
import tempfile
import time
import tomllib
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import cache, partial, partialmethod
from importlib import import_module
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, Any, cast

from pydantic import BaseModel, create_model

from linkbert.config import Natural, check_content, nearest

if TYPE_CHECKING:
    import numpy as np

LARGEST_DICTIONARY, LARGEST_WINDOW = 200 << 20, 1 << 31  # bytes to look back in: xz -9 has 64 MB, zstd --long=31 2 GB
DECOMPRESSORS: dict[str, Callable[[], Callable[[], Any]]] = {  # of a file: what makes those of its streams
    ".bz2": lambda: bz2.BZ2Decompressor,
    ".gz": lambda: partial((isal := import_module("isal.igzip_lib")).IgzipDecompressor, flag=isal.DECOMP_GZIP),
    ".xz": lambda: partial(lzma.LZMADecompressor, memlimit=LARGEST_DICTIONARY),
    ".zst": lambda: partial(  # ZstdDecompressor takes 16 us to make, and a stream may have 8 bytes
        import_module("zstandard").ZstdDecompressor(max_window_size=LARGEST_WINDOW).decompressobj, write_size=1 << 16
    ),
}
COMPRESSIONS = tuple(DECOMPRESSORS)
PIECE, ZST_PIECE = 1 << 20, 1 << 11  # bytes made at a time; bytes of .zst read at a time, of which 64 MB may be made
STORE_FORMAT, LONGEST_LINE = 1, 2_000  # characters of an error
LARGEST_SETTINGS, DEEPEST = 64 << 20, 100  # bytes of a file of JSON or TOML, and tables in one another
MANY, ROOMY = 1 << 21, 8  # values of JSON, of which a list in 2 bytes takes 88; more, if each has so many bytes
DOTTED = re.compile(rf"""(?<![\w"'.-])(?:[\w"'-]++[ \t]*+\.[ \t]*+){{{DEEPEST}}}""")  # a key of TOML
SCRATCH = ".linkbert-scratch-"  # how folders below the temporary one begin
VOCABULARY_FILES = ("vocab.txt", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
                    "added_tokens.json", "vocab.json", "merges.txt", "*.model")  # fmt: skip
WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
HUB_FILES = ("config.json", "README.md", "model*.safetensors", "pytorch_model*.bin", *WEIGHTS[1::2], *VOCABULARY_FILES)
MODEL_FILES = (*HUB_FILES, "generation_config.json", "task.json", "LICENSE*")
OTHERS = {".h5": "from_tf", ".msgpack": "from_flax", ".index": "from_tf"}  # weights of TensorFlow and Flax
NO_CONFIG = {  # what a folder has in place of a config.json
    "bert_config.json": "its config.json is named bert_config.json, as of old: give it that name",
    "adapter_config.json": "it is an adapter: peft's merge_and_unload().save_pretrained(DIR) writes it with its model",
}
ALONE = r"-of-\d+\.(safetensors|bin)$|^adapter_model|\.(onnx|gguf)$"  # not a model by itself
SECRETS = re.compile(  # of an address: who asks, and values that let anybody ask; tokens of the hub
    r"(://)[^\s/?#\"\\]*(?=@)|([?&;](?i:[^=&?;\s]{0,40}(?:token|key|secret|signature|passw|credential)[^=&?;\s]{0,40}|sig|auth|"
    r"pwd)=)[^\s&;#'\"),\\]+|\bhf_[A-Za-z0-9]{30,}"
)
WEB, SILENCE = ("http://", "https://"), 60  # seconds after which a server is not waited for
ANSWER, SLOWEST = 600, 1_000  # seconds for a part of a file; bytes a second of a whole one, in as many seconds
FULL = (errno.ENOSPC, errno.EDQUOT)  # of a disk
REMEDIES = dict.fromkeys(FULL, "make room, and run the same command again (pretrain with --resume)")
REMEDIES |= {errno.EMFILE: "let more files be open (ulimit -n), or use fewer workers"}
HERE = -100  # AT_FDCWD: names are as they are given
KEPT = "run the same command again (finished shards are kept)"

log = logging.getLogger(__name__)
made_of: Any = create_model  # what a file holds: its keys, and their kinds


@dataclass(frozen=True)
class Member:
    """A file of an archive with its bytes, which is read as a Path is: it has a name, a suffix, a parent and so on."""

    path: str
    data: bytes

    def __str__(self) -> str:
        return self.path

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # what pickle asks for before there is a path
            raise AttributeError(name)
        return getattr(PurePosixPath(self.path), name)


@dataclass(frozen=True)
class Chosen:
    """A folder of which some files alone are meant, by their paths in it; it is read as a Path is."""

    folder: Path
    names: frozenset[str]

    def __str__(self) -> str:
        return str(self.folder)

    def __fspath__(self) -> str:
        return str(self.folder)

    def __truediv__(self, name: str) -> Path:
        return self.folder / name

    def __getattr__(self, name: str) -> Any:
        return getattr(self.folder, name)


def source_path(source: str | Path) -> Path:
    """Make the path of a source, also of one with an address: "https://example.org/dump.xml.bz2"."""
    if not isinstance(source, str):
        return source
    if "://" not in source:
        return Path(source)
    try:
        from upath import UPath

        options = {"client_kwargs": _client_options(SILENCE)} if source.startswith(WEB) else {}
        return cast(Path, cast(Any, UPath)(source, **options))
    except (ImportError, ValueError) as error:  # s3fs, gcsfs and the like are packages of their own
        raise ValueError(_unreadable(source, error, "install what is missing")) from None


@cache
def _client_options(silence: float) -> dict[str, Any]:
    """Return options of aiohttp: how long a server is waited for, and that no more is kept than was asked for."""
    import asyncio

    from aiohttp import ClientPayloadError, ClientResponse, ClientTimeout

    class Answer(ClientResponse):
        async def read(self) -> bytes:
            asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.request_info.headers.get("Range", ""))
            most, data = int(asked[2]) - int(asked[1]) + 1 if asked else PIECE, bytearray()
            async with asyncio.timeout(ANSWER):
                async for block in self.content.iter_any():
                    data += block
                    if len(data) > most:
                        raise ClientPayloadError(f"it sends more than the {most:,} bytes that were asked for")
            self._body = bytes(data)
            return self._body

    return {"timeout": ClientTimeout(None, sock_connect=silence, sock_read=silence), "response_class": Answer}


def without_secrets(text: str) -> str:
    """Hide what lets anybody in.

    >>> without_secrets("https://me:word@host/a.jsonl?part=1&token=x")
    'https://***@host/a.jsonl?part=1&token=***'
    """
    return SECRETS.sub(lambda found: (found[1] or found[2] or "") + "***", text)


def has_address(path: Path) -> bool:
    """Return whether a source has an address, rather than a place on this machine."""
    return not isinstance(path, Path | Member | Chosen)


def source_size(path: Path) -> int:
    """Return the bytes of a file, 0 where a server does not say; ValueError where an address cannot be read."""
    if isinstance(path, Member):
        return len(path.data)
    try:
        return path.stat().st_size or 0
    except Exception as error:  # each protocol has its own
        if not has_address(path):
            raise
        raise ValueError(_unreadable(path, error, "check the address")) from None


@contextmanager
def open_source(path: Path, **how: Any) -> Iterator[IO[bytes]]:
    """Open a source for reading, at any byte where its server allows it; block_size=0: one answer from its start."""
    try:
        with io.BytesIO(path.data) if isinstance(path, Member) else path.open("rb", **how) as file:
            yield file
    except Exception as error:
        if not has_address(path) or isinstance(error, ValueError):
            raise
        if isinstance(error, FileNotFoundError):
            raise ValueError(_unreadable(path, error, "check the address")) from None
        raise ConnectionError(_unreadable(path, error, KEPT)) from error


def _unreadable(path: Path | str, error: BaseException, remedy: str) -> str:
    # fsspec's FileNotFoundError hides the server's answer, its cause
    return f"{path} cannot be read ({one_line(error.__cause__ or error)}): {remedy}"


def one_line(error: BaseException) -> str:
    """Write an error in one line: what, and where; of a file on this machine, what to check."""
    if isinstance(error, OSError) and error.strerror and (error.filename or error.errno in REMEDIES):
        remedy = REMEDIES.get(error.errno or 0, "check the path and who may read and write there")
        return f"{error.filename}: ".removeprefix("None: ") + f"{error.strerror.lower()}; {remedy}"
    if isinstance(error, UnicodeEncodeError):
        return f"{error.object:.300} is not UTF-8, as it must be here: give it another name"
    text = " ".join(str(error).split()) or type(error).__name__
    return hub_names(text if len(text) <= LONGEST_LINE else f"{text[:999]} ... {text[-999:]}")  # it may quote a file


def hub_names(text: str) -> str:
    """Write a hub's name as the user gave it, in place of its place in the cache.

    >>> hub_names("~/.cache/huggingface/hub/models--org--tiny/snapshots/0a1/vocab.txt is not there")
    'org/tiny/vocab.txt is not there'
    """
    return re.sub(
        r"(?<![^\s'(=])[^\s'(=]*/(?:datasets|models)--([^/]+)/snapshots/\w+", lambda at: at[1].replace("--", "/"), text
    )


class CutFileError(ValueError):
    """A compressed file ends in the middle, or its bytes are damaged, somewhere behind byte `sound`."""

    sound = 0


def decompressed_blocks(path: Path) -> Iterator[tuple[bytes, int]]:
    """Yield a file's bytes block by block, decompressed as its name ends, each with the position reached in the file.

    Whatever can be decompressed is yielded before a CutFileError says that the file is cut or damaged.
    """
    size = position = 0
    try:
        for data, position in _decompress(path):
            size += len(data)
            yield data, position
    except CutFileError as error:
        before, rest = size, bytearray()
        with suppress(CutFileError):  # damage costs a whole block: once more, byte by byte at the end
            for data, _ in _decompress(path, error.sound) if error.__cause__ else ():
                rest += data[before:]
                before = max(before - len(data), 0)
                if len(rest) > PIECE:
                    size += len(rest)
                    yield bytes(rest), position
                    rest.clear()
        if rest:
            yield bytes(rest), position
        elif error.__cause__ and not size:
            raise CutFileError(f"{path} is not a {path.suffix} file, or damaged from its start") from None
        raise


def _decompress(path: Path, stop: float = math.inf) -> Iterator[tuple[bytes, int]]:
    """Decompress a file, block by block up to the position `stop`, then byte by byte; a block may give many pieces."""
    suffix = path.suffix.lower()
    start = make() if (make := DECOMPRESSORS.get(".gz" if suffix == ".tgz" else suffix)) else None
    step, most = (ZST_PIECE, ()) if suffix == ".zst" else (1 << 16, (PIECE,))
    stream, position, waits = None, 0, True  # whether the stream waits for more bytes
    web = str(path).startswith(WEB)
    size = source_size(path) if web else 0
    with open_source(path, **({"block_size": 0} if web else {})) as file:
        waited, known = 0.0, 0
        while True:
            started = time.monotonic()
            if not (block := file.read(step if position < stop else 1)):
                break
            before, position, waited = position, position + len(block), waited + time.monotonic() - started
            if size and position > size:
                raise OSError(f"its server sends more than the {size:,} bytes that it announced")
            if waited > ANSWER:
                if web and position - known < SLOWEST * ANSWER:
                    raise OSError(f"its server sends less than {SLOWEST:,} bytes a second")
                waited, known = 0.0, position
            if start is None:
                yield block, position
                continue
            # Streams may follow one another in a file, with zeros as padding at the end.
            while (block := block if stream else block.lstrip(b"\0")) or not waits:
                stream = stream or start()
                try:
                    data = stream.decompress(block, *most)
                except Exception as error:  # each library has its own: OSError, LZMAError, IsalError, ZstdError
                    damage = CutFileError(f"{path} is damaged near byte {position} ({error})")
                    damage.sound = before
                    raise damage from error
                block, waits = stream.unused_data if stream.eof else b"", not most or stream.eof or stream.needs_input
                if data:
                    yield data, position
                stream = None if stream.eof else stream
    if stream is not None:
        raise CutFileError(f"{path} is cut off: its compressed data ends in the middle, at byte {position}")


os.umask(UMASK := os.umask(0))  # it cannot be asked for without being set
HELD = set[int]()  # descriptors with a lock, which a process that is forked would keep for as long as it lives


def _let_go() -> None:
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    for number in HELD:
        os.dup2(null, number, inheritable=False)
    os.close(null)


os.register_at_fork(after_in_child=_let_go)


@contextmanager
def replacing(path: Path, *, folder: bool = False) -> Iterator[Path]:
    """Make an empty NAME.part next to `path`, a file or a folder; rename it when the block ends well, else remove it.

    Who else is at it is waited for: another report of that name, a shard that a worker of a killed client still makes.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    HELD.add(held := _hold(part, folder))
    try:
        yield part
        for weights in part.rglob("*.safetensors"):  # its library writes for the owner alone
            weights.chmod(0o666 & ~UMASK)
        if not folder:
            os.fsync(held)
        there = folder and path.is_dir()
        if there and _exchange(part, path):
            remove(part)  # the old one
        else:
            if there:
                remove(path)
            part.rename(path)
    except BaseException as error:
        remove(part)  # not after a rename: the next one may have made its own
        number = next(map(int, re.findall(r"os error (\d+)", str(error))), 0)
        if isinstance(error, OSError):
            number = error.errno if error.errno in FULL and not error.filename else 0
        if not number:
            raise
        raise OSError(number, os.strerror(number), str(path)) from error  # libraries have errors of their own for it
    finally:
        HELD.discard(held)
        os.close(held)


def _exchange(one: Path, other: Path) -> bool:
    """Exchange two names at once, so that a kill finds either; False where the system or the disk cannot."""
    with suppress(AttributeError):  # renameat2 is Linux's
        return ctypes.CDLL(None).renameat2(HERE, os.fsencode(one), HERE, os.fsencode(other), 2) == 0
    return False


def _hold(part: Path, folder: bool) -> int:
    """Make a file or a folder, or empty what a kill left; lock it, and return its descriptor."""
    while True:
        if part.is_symlink() or (part.exists() and part.is_dir() != folder):
            remove(part)
        if folder:
            part.mkdir(exist_ok=True)
        try:
            held = os.open(part, os.O_NOFOLLOW | os.O_CLOEXEC | (0 if folder else os.O_RDWR | os.O_CREAT), 0o666)
        except FileNotFoundError:
            if folder:  # it was renamed between the two
                continue
            raise
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log.warning("another process is writing %s, which is waited for", part)
            fcntl.flock(held, fcntl.LOCK_EX)
        except OSError:  # of a folder on NFS, or where no file can be locked
            pass
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(held), part.stat()):  # else it was renamed meanwhile
                break
        os.close(held)
    for inside in part.iterdir() if folder else ():
        remove(inside)
    if not folder:
        os.truncate(held, 0)
    return held


class LockedError(ValueError):
    """Another process is writing a folder."""


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Lock a folder, by the file NAME.lock next to it, until the block or the process ends; LockedError if it is."""
    place = folder.resolve()  # "." has no name, and a link to a folder needs the lock of the folder
    path = place.with_name(place.name + ".lock")
    path.parent.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        try:
            number, current = stack.enter_context(_lock(path, os.O_RDWR | os.O_CREAT | os.O_NONBLOCK)), None
            with suppress(FileNotFoundError):  # removed meanwhile
                current = path.stat().st_ino
            if os.fstat(number).st_ino != current:  # or made again
                raise BlockingIOError
        except BlockingIOError:
            raise LockedError(f"another process is writing {folder}; wait for it to end, or stop it") from None
        if not os.fstat(number).st_size:  # ours are empty; a file of one's own stays
            stack.callback(path.unlink, missing_ok=True)
        refuse_links(place)
        yield


def refuse_links(folder: Path) -> None:
    """Refuse a folder that is to be written where a link in it leads elsewhere."""
    root = os.path.realpath(folder)
    for place, folders, names in os.walk(root):
        for path in (os.path.join(place, name) for name in (*folders, *names)):
            if os.path.islink(path) and not Path(os.path.realpath(path)).is_relative_to(root):
                raise ValueError(f"{path} leads out of {folder}, where nothing is written: put itself there, no link")


@contextmanager
def scratch() -> Iterator[Path]:
    """Give a folder below the temporary folder, and remove those of processes that were killed."""
    for left in Path(tempfile.gettempdir()).glob(f"{SCRATCH}*"):
        with suppress(OSError), _lock(left, os.O_DIRECTORY):  # else it is another user's, or in use
            remove(left)
    with tempfile.TemporaryDirectory(prefix=SCRATCH) as folder, _lock(Path(folder), os.O_DIRECTORY):
        yield Path(folder)


@contextmanager
def _lock(path: Path, flags: int) -> Iterator[int]:
    """Open a file or a folder, and lock it until the block ends; BlockingIOError where another process has it."""
    number = os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    try:
        HELD.add(number)
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield number
    finally:
        HELD.discard(number)
        os.close(number)


def remove(path: Path) -> None:
    """Remove a file or a folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Write a value as indented JSON, whole or not at all."""
    with replacing(path) as part:
        text = json.dumps(value, indent=1, ensure_ascii=False)  # of a name that is not UTF-8, its escape is JSON
        part.write_text(f"{text}\n", encoding="utf-8", errors="backslashreplace")


def too_many(text: str, bytes_: int = 0) -> bool:
    """Return whether JSON has more than MANY values, and a value has less than so many bytes (0: any)."""
    return len(text) > MANY and sum(map(text.count, ",[{")) > max(MANY, len(text) // bytes_ if bytes_ else 0)


def read_json(path: Path) -> Any:
    """Read a JSON file; a broken one is a ValueError that names it."""
    return _parse(path, json.loads, "valid JSON", "; it was not written by linkbert, or was edited")


def read_ours(path: Path, kind: type[BaseModel], format_: int = 0) -> dict[str, Any]:
    """Read a JSON object that linkbert wrote: of this format (0: it has none), with keys as a model says."""
    found = read_json(path)
    if format_ and isinstance(found, dict) and found.get("format") != format_:
        raise ValueError(f"{path} is of format {found.get('format')}, this linkbert reads {format_}: make it again")
    check_content(kind, found, path, "; it is damaged: make it again")
    return cast(dict[str, Any], found)


def read_toml(path: Any) -> dict[str, Any]:
    """Read a TOML file; a broken one is a ValueError that names it."""

    def parse(text: str) -> dict[str, Any]:
        if DOTTED.search(text):
            raise ValueError(f"a key of more than {DEEPEST} parts")
        return tomllib.loads(text)

    return cast(dict[str, Any], _parse(path, parse, "a TOML file"))


def _parse(path: Any, parse: Callable[[str], Any], what: str, more: str = "") -> Any:
    data = read_small(path)
    try:
        if too_many(text := data.decode("utf-8-sig"), ROOMY):
            raise ValueError(f"more than {MANY:,} values in {len(text):,} characters")
        found = parse(text)
        inner: list[Any] = [[found]]
        for _ in range(DEEPEST + 1):
            values = (each.values() if isinstance(each, dict) else each for each in inner)
            inner = [value for each in values for value in each if isinstance(value, dict | list)]
        if inner:
            raise RecursionError(f"more than {DEEPEST} tables or lists in one another")
    except (ValueError, RecursionError) as error:
        refuse_pointer(path)
        raise ValueError(f"{path} is not {what} ({one_line(error)}){more}") from None
    return found


def read_small(path: Any) -> bytes:
    """Read a file that others may have made, whole: a regular one, of at most LARGEST_SETTINGS bytes."""
    if not path.is_file() and path.exists():
        raise ValueError(f"{path} is no regular file (a folder, a pipe, a device): name a file")
    with path.open("rb") as file:
        data = b"".join(islice(iter(lambda: file.read(PIECE), b""), LARGEST_SETTINGS // PIECE + 1))
    if len(data) > LARGEST_SETTINGS:
        raise ValueError(f"{path} has more than {LARGEST_SETTINGS:,} bytes, too many for what it should be")
    return data


def refuse_pointer(path: Path) -> None:
    """Refuse a file of which a clone without git-lfs has but a pointer."""
    with path.open("rb") as file:
        if file.read(30).startswith(b"version https://git-lfs."):
            raise ValueError(f"{path} is a pointer of git-lfs, not the file itself: run `git lfs pull` in its folder")


def read_json_lines(path: Path, *keys: str) -> list[dict[str, Any]]:
    """Read lines of JSON objects with these keys; none of no file, and not a last line that was cut off."""
    found: list[dict[str, Any]] = []
    for number, line in enumerate(path.read_bytes().split(b"\n")[:-1] if path.is_file() else [], 1):
        record = None
        with suppress(ValueError, RecursionError):
            record = json.loads(line)
        if not isinstance(record, dict) or not record.keys() >= {*keys}:
            raise ValueError(f"{path} is damaged: line {number} is not linkbert's; remove that line")
        found.append(record)
    return found


def map_array(path: Path, dtype: Any, size: int | None = None) -> np.ndarray:
    """Map a file of plain numbers for reading: (n,) of `dtype`; ValueError where it does not hold (`size`) such."""
    import numpy as np  # not above: a wrong word on the command line needs none of it

    kind = np.dtype(dtype)
    count, rest = divmod(path.stat().st_size, kind.itemsize) if path.is_file() else (0, 1)
    if rest or size not in (None, count):
        wanted = "numbers" if size is None else f"{size} numbers"
        raise ValueError(f"{path} is damaged: it is no file of {wanted} of {kind.itemsize} bytes; build it again")
    array = np.memmap(path, kind, "r") if count else np.zeros(0, kind)  # an empty file cannot be mapped
    array.setflags(write=False)  # as a mapped one, so that compiled code sees one type
    return np.asarray(array)


def never_falls(numbers: np.ndarray) -> bool:
    """Check that each number is at least the one before it, a block at a time."""
    blocks = (numbers[at : at + (1 << 22) + 1] for at in range(0, len(numbers) - 1, 1 << 22))
    return all(bool((block[1:] >= block[:-1]).all()) for block in blocks)


def runs_to(offsets: np.ndarray, end: int) -> bool:
    """Check that offsets run from 0 to `end` and never fall: code that reads by others would read anywhere."""
    return bool(len(offsets) and offsets[0] == 0 and offsets[-1] == end and never_falls(offsets))


def sha256(path: Path) -> str:
    """Hash a file's bytes; hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def cache_folder() -> Path:
    """Return the user's cache folder for linkbert (not made yet)."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "linkbert"


def as_path(value: Any, what: str) -> Path:
    """Take a path from Python; ValueError, in one line, for what is none."""
    if not isinstance(value, str | os.PathLike) or not str(value):
        given = "an empty text" if isinstance(value, str) else f"a {type(value).__name__}"
        raise ValueError(f"{what} must be a path or a name, got {given}")
    return Path(value).expanduser()


Source = made_of("Source", path=str, reader=str)
Lost = made_of("Lost", cause=str, target=str, source=str, links=Natural, whole=Natural)
Manifest = made_of("Manifest", documents=Natural, shards=Natural, skipped=(dict[str, Natural], {}),
                   sources=(list[Source], []), links_lost=(list[Lost] | None, None),  # type: ignore[valid-type]
                   **dict.fromkeys(("redirects", "links_found"), (Natural, 0)),
                   options=(dict[str, dict[str, Any]], {}), other_files=(dict[str, Natural], {}),
                   **dict.fromkeys(("created", "reader", "links_read"), (str, "")))  # fmt: skip


def read_manifest(store: Path, *needed: str) -> dict[str, Any]:
    """Read the store.json of a finished store, or raise a ValueError that says what is wrong and what to do.

    `needed` are keys that have to be there, too.
    """
    if (store / "store.json").is_file():
        found = read_ours(store / "store.json", Manifest, STORE_FORMAT)
        if lacks := {*needed} - found.keys():
            raise ValueError(f"{store}/store.json is damaged: it has no {min(lacks)}; build it again")
        return {name: each.get_default() for name, each in Manifest.model_fields.items()} | found  # what may lack
    if (store / "plan.json").is_file() or [*store.glob("documents/*.parquet*")]:
        raise ValueError(f"{store} is an unfinished build: run the same `linkbert build` again to finish it")
    kinds = {"run.json": "it is a run", "config.json": "it is a model"}
    why = next((kind for name, kind in kinds.items() if (store / name).is_file()), "it has no store.json")
    what = f"is not a store ({why})" if store.exists() else "is not there"
    near = [path.parent.name for path in store.absolute().parent.glob("*/store.json")]
    where = "" if store.name == str(store) else f" (in {store.parent})"
    remedy = f"; {nearest(store.name, near)}{where}" if near else ": check the path, or `linkbert build` makes a store"
    raise ValueError(f"{store} {what}{remedy}")


def find_encoder(name: str | Path) -> Path:
    """Find what MODEL means: a Hugging Face folder, RUN/model, a RUN with checkpoints, or a hub name (fetched)."""
    path = as_path(name, "a model")
    for folder in (path, path / "model"):
        if (folder / "config.json").is_file():
            return folder
    if (path / "checkpoints").is_dir():
        return path
    if (path / "store.json").is_file():
        raise ValueError(f"{name} is a store, it holds no model: `linkbert pretrain {name} --to RUN` makes one")
    if path.exists():
        what = "it is neither a Hugging Face folder nor a run with a checkpoint"
        named = (cause for file, cause in NO_CONFIG.items() if (path / file).is_file())
        raise ValueError(f"{name} holds no model: {next(named, '') or below(path, 'config.json') or what}")
    if not re.fullmatch(r"\w[^/]*(/[^/]+)?", str(name)):
        raise ValueError(f"{name}: no such folder{like(path)}")
    remedy = "fetch config.json, model.safetensors and its tokenizer elsewhere and give their folder"
    return fetch_from_hub(str(name), HUB_FILES, str(name), remedy)


def model_files(folder: Path, names: Sequence[str] = ()) -> list[Path]:
    """List a model's files: of known names, and no links to what lies elsewhere; a line says which others are there.

    Of these `names` alone, where they are given.
    """
    real, there = folder.resolve(), sorted(path for path in folder.iterdir() if not path.is_dir())
    places = (real, real.parents[1] / "blobs") if real.parent.name == "snapshots" else (real,)  # of a hub's cache
    known = [path for path in there if any(fnmatch(path.name, pattern) for pattern in names or MODEL_FILES)]
    found = [path for path in known if path.is_file() and any(map(path.resolve().is_relative_to, places))]
    if others := [path.name for path in (known if names else there) if path not in found]:
        log.warning("%s: %d files are left out, no model's or links to elsewhere: %.300s", folder, len(others), others)
    return found


def below(folder: Path, file: str) -> str:
    """Write where below a folder, three levels at most, a file lies; "" where it does not."""
    found = next((path for depth in ("*", "*/*", "*/*/*") for path in sorted(folder.glob(f"{depth}/{file}"))), None)
    return f"{file} is in {found.parent}: name that folder" if found else ""


def like(path: Path) -> str:
    """Write the nearest name to the first part of a path that is not there: '; did you mean docs/tutorial?', or ""."""
    while not path.parent.exists():
        path = path.parent
    close = difflib.get_close_matches(path.name, [each.name for each in path.parent.glob("*")], n=1)
    return f"; did you mean {path.with_name(close[0])}?" if close else ""


def choose_weights(names: Collection[str], where: str | Path) -> str:
    """Return the first of WEIGHTS among names of files; ValueError where none is there, with the way to make them."""
    for name in WEIGHTS:
        if name in names:
            return name
    other = next((name for name in sorted(names) if PurePosixPath(name).suffix in OTHERS), "")
    word = f"AutoModel.from_pretrained(DIR, {OTHERS.get(PurePosixPath(other).suffix)}=True).save_pretrained(DIR)"
    way = f"writes the encoder, without heads, by {word}"
    if other.endswith(".index") and other != "model.ckpt.index":  # Google's own form, which from_tf does not look for
        form = f"--tf_checkpoint {other.removesuffix('.index')} --config config.json"
        way = f"has `transformers-cli convert --model_type bert {form} --pytorch_dump_output pytorch_model.bin`"
    part = next((name for name in sorted(names) if re.search(ALONE, name)), "")
    made = f"; {part} is not enough: shards need their index, an adapter or another format its model" if part else ""
    made = f"; it has {other}: transformers 4 {way}" if other else made
    raise ValueError(f"{where} has no weights that linkbert reads ({', '.join(WEIGHTS[::2])}){made}")


@cache  # a command checks its words first, and opens the model later
def fetch_from_hub(name: str, patterns: tuple[str, ...], said: str, remedy: str, **options: Any) -> Path:
    """Fetch those files of a hub's repository into Hugging Face's own cache; give their folder, or one clear line."""
    import huggingface_hub
    from huggingface_hub.utils import tqdm

    # A bar for what takes time, and not where all is in the cache.
    bar = type("Patient", (tqdm,), {"__init__": partialmethod(tqdm.__init__, delay=2)})
    fetch = partial(huggingface_hub.snapshot_download, name, allow_patterns=[*patterns], tqdm_class=bar, **options)
    try:  # a download would try for longer
        listed = getattr(huggingface_hub.HfApi().repo_info(name, timeout=2, **options), "siblings", None)
        names = [each.rfilename for each in listed or ()] if patterns == HUB_FILES else []
        folder = Path(fetch(ignore_patterns=["*.bin*"] if {*names} & {*WEIGHTS[:2]} else None))
    except Exception as error:  # many kinds: no network, no such name, gated, offline mode
        with suppress(Exception):
            return Path(fetch(local_files_only=True))
        cause = one_line(error)[:200]
        raise ValueError(f"{said}: no such folder, and the hub did not give it ({cause}); {remedy}") from None
    if names:
        choose_weights(names, name)
    return folder
