"""What a person sees: lines, and on stderr, while a command works, a bar on a terminal, plain lines elsewhere.

Whatever a command prints or logs passes through here: what would steer a terminal is shown, as Python escapes it. A
`Screen` is the last that it passes; what knows its lines (`say`, `LogLine`) escapes what would break them, too.
"""

import json
import logging
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, redirect_stderr, redirect_stdout
from types import SimpleNamespace
from typing import Any, cast

from linkbert.files import hub_names, without_secrets

EVERY = 10.0  # seconds between plain lines
LONG, MEASURED = 86_400, 5  # seconds from which on a run is long, and the steps after which that is known
# Control characters; turns of direction and what else is not seen; halves of surrogate pairs, of which some are bytes.
STEERING = re.compile(
    "[\0-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e0fff]"
)
MOVES = re.compile(r"(?:\r|\n|\x1b\[A)*")  # what a bar of tqdm begins with
SOON = 60.0  # seconds in which a thread starts, if it finds memory
HEARD = threading.Event()  # Ctrl-C, of which a library may make another error
Show = Callable[..., None]

log = logging.getLogger(__name__)


def seconds_text(seconds: float) -> str:
    """Write a duration: 7.2 -> '7s', 85 -> '1m25s', 7300 -> '2h02m'."""
    minutes, rest = divmod(int(seconds), 60)
    if not minutes:
        return f"{rest}s"
    return f"{minutes}m{rest:02d}s" if minutes < 60 else f"{minutes // 60}h{minutes % 60:02d}m"


def count_text(number: float) -> str:
    """Write a count with few digits: 950 -> '950', 12_345 -> '12.3k', 6_500_000 -> '6.5M'."""
    size, unit = next(each for each in ((1e9, "G"), (1e6, "M"), (1e3, "k"), (0, "")) if number >= each[0])
    return f"{number / size:.1f}{unit}" if unit else f"{number:.0f}"


def printable(text: str, keep: str = "") -> str:
    r"""Write what would steer a terminal as Python escapes it, and no secret of an address.

    >>> printable("a\x1b[2J\n\u202e caf\udce9"), printable("a\n\tb\r", keep="\n\t")
    ('a\\x1b[2J\\n\\u202e caf\\xe9', 'a\n\tb\\r')
    """

    def escape(found: re.Match[str]) -> str:
        byte = "\udc80" <= found[0] <= "\udcff"  # of a name that is not UTF-8
        return found[0] if found[0] in keep else ascii(chr(ord(found[0]) - 0xDC00) if byte else found[0])[1:-1]

    return STEERING.sub(escape, without_secrets(text))


def json_text(value: Any, indent: int | None = 1) -> str:
    """Write a value as JSON that a terminal may be shown: what would steer it as JSON escapes it."""
    units = lambda found: re.sub("(....)", r"\\u\1", found[0].encode("utf-16-be", "surrogatepass").hex())  # noqa: E731
    text = json.dumps(value, indent=indent, ensure_ascii=False)
    return "\n".join(STEERING.sub(units, line) for line in text.split("\n"))


def say(*lines: str, stderr: bool = False) -> None:
    """Print lines, at once; what is in one of them stays there."""
    if lines:
        print("\n".join(map(printable, lines)), file=sys.stderr if stderr else sys.stdout, flush=True)


def say_json(*values: Any, indent: int | None = 1) -> None:
    """Print values for programs, word for word, past the screen; what is stored of addresses has no secrets."""
    stream = getattr(sys.stdout, "unscreened", sys.stdout)
    for value in values:
        print(json_text(value, indent), file=stream, flush=True)


class LogLine(logging.Formatter):
    """A line of the log, which calls what lies in the hub's cache as the user did; a traceback follows as it is."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        """Write the line."""
        return printable(hub_names(super().formatMessage(record)))


class Screen:
    """A stream that shows what would steer a terminal, whichever library writes it."""

    def __init__(self, stream: Any) -> None:
        self.unscreened = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self.unscreened, name)

    def write(self, text: str) -> int:
        """Write a text that may have lines."""
        moves = cast(re.Match[str], MOVES.match(text))[0]
        self.unscreened.write(moves + printable(text[len(moves) :], keep="\n\t"))
        return len(text)


@contextmanager
def screened() -> Iterator[None]:
    """Show on stdout and stderr what would steer a terminal, until the block ends."""
    with redirect_stdout(cast(Any, Screen(sys.stdout))), redirect_stderr(cast(Any, Screen(sys.stderr))):
        yield


def make_console(*, stderr: bool = False) -> Any:
    """Make the console that commands print to: colours on a terminal, none elsewhere, text as it is, never wrapped."""
    try:
        from rich.console import Console
    except ModuleNotFoundError:
        return SimpleNamespace(is_terminal=False, print=lambda *parts, **_: say(*parts, stderr=stderr))

    class Screened(Console):
        """Its own colours and moves are control codes; of text, each part that is printed is a line."""

        def print(self, *parts: Any, **how: Any) -> None:
            line = lambda text: text.replace(inner := text.strip("\n"), printable(inner), 1)  # noqa: E731
            super().print(*(line(part) if isinstance(part, str) else part for part in parts), **how)

        def render(self, *args: Any, **how: Any) -> Any:
            for segment in super().render(*args, **how):
                yield segment if segment.control else segment._replace(text=printable(segment.text, keep="\n\t"))

    stream = sys.stderr if stderr else sys.stdout
    stream = getattr(stream, "unscreened", stream)
    return Screened(file=stream, highlight=False, soft_wrap=True, markup=False, emoji=False)


@contextmanager
def reporting(console: Any = None, *, every: float = EVERY) -> Iterator[Show]:
    """Give a function show(stage, text, done, total); what it showed last of each stage stays.

    On a terminal each stage has a bar; elsewhere its text is a plain line, every `every` seconds; after a text
    that ends with "..." stands how long it is shown, as nothing calls back meanwhile.
    """
    console = console or make_console(stderr=True)
    bars, stages = None, dict[str, Any]()
    if console.is_terminal:
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        bar = (BarColumn(console.width // 5 - 10), TimeElapsedColumn()) if console.width >= 100 else ()
        text = TextColumn("{task.fields[text]}", markup=False)
        bars = Progress(TextColumn("  {task.description}", markup=False), *bar, text, console=console)
    written, last, shown = "", "", time.monotonic() - every
    waiting, over = ("", "", shown), threading.Event()

    def flush() -> None:
        nonlocal written, shown
        if not bars and last != written:
            console.print(last, markup=False, highlight=False, soft_wrap=True)
            shown, written = time.monotonic(), last

    def show(stage: str, text: str, done: float | None = None, total: float | None = None, *, took: str = "") -> None:
        nonlocal waiting, last
        stage, text = printable(stage), printable(text)
        if not took and (stage, text) != waiting[:2]:
            waiting = stage, text, time.monotonic()
        if stage not in stages:
            flush()
            stages[stage] = bars.add_task(stage, total=total, text="") if bars else None
        if bars:
            bars.update(stages[stage], text=text + took, completed=done, total=total)
        last = f"  {stage}: {text}{took}"
        if time.monotonic() - shown >= every:
            flush()

    def tick() -> None:
        while not over.wait(1):
            stage, text, since = waiting
            if text.endswith("...") and (took := time.monotonic() - since) >= every:
                show(stage, text, took=f" {seconds_text(took)}")

    with bars or nullcontext():
        thread = threading.Thread(target=tick, daemon=True)
        thread.start()
        try:
            yield show
        finally:
            over.set()
            thread.join()
            flush()


@contextmanager
def report_stages() -> Iterator[Callable[[str, int, int | None], None]]:
    """Give the callback that stages of a build take: (stage, done, in all or None); of documents, in bytes."""
    started: dict[str, float] = {}
    with reporting() as show:

        def progress(stage: str, done: int, total: int | None) -> None:
            elapsed = time.monotonic() - started.setdefault(stage, time.monotonic())
            unit = {"documents": "B", "tokens": " parts"}.get(stage, "")
            text = count_text(done) + (f" of {count_text(total)}" if total is not None else "") + unit
            if done and elapsed > 1:
                text += f", {count_text(done / elapsed)}{unit}/s"
                if total and done < total:
                    text += f", {seconds_text(elapsed / done * (total - done))} left"
            show(stage, text, done, total)

        yield progress


def leave(said: str, status: int = 130) -> None:
    """End this process at once."""
    os.write(2, b"\x1b[?25h" * os.isatty(2) + f"linkbert: {said}\n".encode())  # shows the cursor
    os._exit(status)


class Started(threading.Event):
    """That a thread runs: one that finds no memory dies before it does, and Python would wait for it for ever."""

    def wait(self, timeout: float | None = None) -> bool:
        """Wait; RuntimeError where nothing comes."""
        if not super().wait(SOON if timeout is None else timeout) and timeout is None:
            raise RuntimeError("can't start new thread")
        return self.is_set()


def start_soon(thread: Any, start: Callable[..., None] = threading.Thread.start) -> None:
    """Start a thread as Python does, or end with a RuntimeError."""
    if not thread._started.is_set():
        thread._started = Started()
    start(thread)


@contextmanager
def interruptible() -> Iterator[None]:
    """Have every command end: Ctrl-C, and no memory, also where nobody hears of it; and threads that do not start.

    While a module is made, Ctrl-C ends this process at once: of a library, it would be ignored, or lines.
    """

    def interrupt(_: int, frame: Any) -> None:
        HEARD.set()
        while frame and "importlib" not in frame.f_code.co_filename:
            frame = frame.f_back
        if frame:
            leave("interrupted")
        raise KeyboardInterrupt

    def unheard(found: Any) -> None:  # of a callback or a destructor
        if isinstance(found.exc_value, KeyboardInterrupt | MemoryError):
            no_memory = isinstance(found.exc_value, MemoryError)
            leave("not enough memory" if no_memory else "interrupted", 1 if no_memory else 130)
        hook(found)

    HEARD.clear()
    before, hook, start = signal.getsignal(signal.SIGINT), sys.unraisablehook, threading.Thread.start
    own = before is signal.default_int_handler and threading.current_thread() is threading.main_thread()
    if own:
        signal.signal(signal.SIGINT, interrupt)
        sys.unraisablehook, cast(Any, threading.Thread).start = unheard, start_soon
    try:
        yield
    finally:
        if own:
            signal.signal(signal.SIGINT, before)
            sys.unraisablehook, cast(Any, threading.Thread).start = hook, start


@contextmanager
def report_training() -> Iterator[Callable[[Any], None]]:
    """Give the callback of a pretraining run, which takes its state after every update, and in a slow one.

    While the run stops, a second Ctrl-C ends this process at once: a checkpoint has its name only when it is whole.
    """
    smooth, measured = dict[str, float](), 0
    with reporting() as show:

        def progress(state: Any) -> None:
            nonlocal measured
            if state.stage == "compiling":
                much = "compiling takes a minute on two idle cores, more on busy ones"
                log.warning("%s; a budget starts after it; compile=off starts at once", much)
            show("train", training_text(state, smooth), state.step, state.steps)
            measured += state.seconds_left == state.seconds_left
            if measured == MEASURED and state.seconds_left > LONG:
                left, steps = seconds_text(state.seconds_left), state.steps * 86_400 / state.seconds_left
                shorter = f"budget=1h, max_steps={steps:.0f} (a day) or sequence_length=128 (a quarter)"
                log.warning("this run takes %s on this machine; shorter ones: %s", left, shorter)

        show("train", "opening the store and the model ...")
        before = signal.signal(signal.SIGINT, lambda *_: leave("ended at once"))
        try:
            yield progress
        finally:
            signal.signal(signal.SIGINT, before)


def training_text(state: Any, smooth: dict[str, float]) -> str:
    """Write the state of a run in 70 letters: `smooth` averages what the objective reports over some twenty steps.

    The loss is the sum of those reported; with -v each is shown by itself.
    """
    step = f"{state.step:,}/{state.steps:,}"
    if state.stage != "training":
        return f"{step}: {state.stage} ..."
    for name, value in state.means.items():
        if value == value:
            smooth[name] = 0.95 * smooth.get(name, value) + 0.05 * value
    means = smooth
    if not logging.getLogger().isEnabledFor(logging.DEBUG):
        means = {"loss": sum(value for name, value in smooth.items() if name.endswith("loss"))}
        means |= dict([("accuracy", value) for name, value in smooth.items() if name.endswith("accuracy")][:1])
    numbers = [f"{n.replace('_', ' ')} {value:{'.0%' if 'accuracy' in n else '.2f'}}" for n, value in means.items()]
    left = [f"{seconds_text(state.seconds_left)} left"] if state.seconds_left == state.seconds_left else []
    return ", ".join([step, *numbers, f"{count_text(state.tokens_per_second)} tokens/s", *left])
