"""The device of a run, its arithmetic, and what makes it repeatable; CUDA was never run by us.

In: settings as the user writes them. Out: torch's own devices and dtypes, and switches that are set back at the end.
"""

import contextlib
import ctypes
import functools
import importlib.util
import inspect
import os
import re
import time
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

VARLEN = "torch.nn.attention.varlen"  # since torch 2.10, and as we ask it since 2.11
varlen_attn: Any = importlib.import_module(VARLEN).varlen_attn if importlib.util.find_spec(VARLEN) else None
if varlen_attn and "window_size" not in inspect.signature(varlen_attn).parameters:
    varlen_attn = None

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}
copy_stream = functools.cache(torch.cuda.Stream)  # of a GPU, on which batches are copied
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4  # of glibc's malloc.h


def choose_device(name: str, local_rank: int = 0) -> torch.device:
    """Return the device of the setting `device`: auto is this process's GPU where there is one, else the CPU."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if not re.fullmatch(r"cpu|cuda(:\d+)?", name):
        raise ValueError(f"device={name} is not known; it must be auto, cpu, cuda or cuda:N")
    device = torch.device(f"cuda:{local_rank}" if name == "cuda" else name)
    if device.type == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # for sums in one order, before the first product
        if device.index >= (cards := torch.cuda.device_count()):
            raise ValueError(f"device={name} is not there; this machine has {cards} CUDA devices")
    return device


def choose_precision(name: str, device: torch.device) -> str:
    """Return the arithmetic of the setting `precision`: auto is bf16, or fp32 where a product is measured faster."""
    if name != "auto":
        return name
    return max(("bf16", "fp32"), key=lambda each: matrix_peak(device, DTYPES[each]))


@functools.cache
def matrix_peak(device: torch.device, dtype: torch.dtype) -> float:
    """Measure the operations a second of a matrix product, once a process: the best of what is seen in 0.3 s.

    The product grows until it takes long enough to be timed: one that is slow (bf16 on an older CPU) stays small.
    """
    size, best, until = 256, 0.0, time.perf_counter() + 0.3
    while time.perf_counter() < until:
        a = torch.ones(size, size, dtype=dtype, device=device)
        (a @ a)[0, 0].item()  # the first one warms up
        start = time.perf_counter()
        (a @ a)[0, 0].item()  # waits for a GPU
        taken = time.perf_counter() - start
        best = max(best, 2 * size**3 / taken)
        size *= 2 if taken < 0.02 and size < 8192 else 1
    return best


def has_varlen(device: torch.device, dtype: torch.dtype, head: int) -> bool:
    """Return whether torch has attention over sequences of many lengths here: in 16 bits, on cards from Ampere on.

    `head` is the size of a head: FlashAttention takes multiples of 8 up to 256.
    """
    narrow = device.type == "cuda" and dtype != torch.float32 and varlen_attn is not None
    narrow = narrow and head % 8 == 0 and head <= 256 and torch.backends.cuda.is_flash_attention_available()
    return narrow and torch.cuda.get_device_capability(device) >= (8, 0)


def keep_memory() -> None:
    """Have glibc keep freed memory: mapping every large tensor again costs a quarter of a step of tiny."""
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        for option, value in ((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, -1), (M_TOP_PAD, 64 << 20)):
            mallopt(option, value)


def give_back_memory() -> None:
    """Have glibc give back what it keeps: what is free lies in ever more pieces, as no two batches are of one shape."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def send(tensor: Tensor, device: torch.device) -> Tensor:
    """Copy a tensor to a device; to a GPU from pinned memory and beside what it computes, so that nothing waits.

    The host runs ahead of the device: the next micro-batch is copied while the one before is computed.
    """
    if device.type != "cuda":
        return tensor.to(device)
    beside, now = copy_stream(device), torch.cuda.current_stream(device)
    with torch.cuda.stream(beside):
        there = tensor.pin_memory().to(device, non_blocking=True)
    now.wait_stream(beside)
    there.record_stream(now)  # its memory is not given away while that stream uses it
    return there


def send_batch(batch: Any, device: torch.device) -> Any:
    """Copy a Batch, or another record of int64 tensors, to a device: all of it in one piece."""
    if device.type == "cpu":
        return batch
    flat = send(torch.cat([tensor.flatten() for tensor in vars(batch).values()]), device)
    parts = flat.split([tensor.numel() for tensor in vars(batch).values()])
    shaped = zip(vars(batch).items(), parts, strict=True)
    return type(batch)(**{name: part.view(tensor.shape) for (name, tensor), part in shaped})


@contextlib.contextmanager
def deterministic(device: torch.device) -> Iterator[None]:
    """Have sums taken in one order, so that a repeated step gives the same bits.

    On a GPU a kernel that cannot is an error: with a warning instead, fused attention's gradient is not repeatable.
    """
    flags: Any = torch.utils.deterministic
    before, filled = torch.are_deterministic_algorithms_enabled(), flags.fill_uninitialized_memory
    warned = torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(True, warn_only=device.type != "cuda")
    flags.fill_uninitialized_memory = False  # a guard against reading what was never written; it costs time
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=warned)
        flags.fill_uninitialized_memory = filled
