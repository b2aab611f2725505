"""A card that is not there: CUDA tensors that lie in the host's memory, for a torch that was built without CUDA.

A tensor "on the card" holds one of the CPU and says that its device is cuda:0. Every operation is computed on the CPU,
its values with it, and refused where a card refuses it: host and card in one operation, attention over sequences in
other than 16 bits. What makes the host wait for a card is noted. What it cannot show: kernels, their speed, order and
memory, what a compiler makes of it, and streams.

torch asks which devices it was built for when it is loaded; so a library of twenty lines, that says CUDA, is loaded
before. Only a process of its own can do that:

    LINKBERT_CARD=card.so python -c "import pretended; ..."       # `build` makes card.so, in seconds
"""

import contextlib
import ctypes
import functools
import importlib.util
import os
import subprocess
import traceback
from pathlib import Path

CODE = """
#include <ATen/detail/CUDAHooksInterface.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
namespace c10::impl {
struct Guard final : NoOpDeviceGuardImpl<DeviceType::CUDA> {
  Device getDevice() const override { return Device(DeviceType::CUDA, 0); }
  Device exchangeDevice(Device) const override { return getDevice(); }
  Stream getStream(Device) const noexcept override { return Stream(Stream::DEFAULT, getDevice()); }
  Stream getDefaultStream(Device device) const override { return getStream(device); }
  Stream exchangeStream(Stream stream) const noexcept override { return stream; }
  void record(void**, const Stream&, const DeviceIndex, const EventFlag) const override {}
  void block(void*, const Stream&) const override {}
  bool queryEvent(void*) const override { return true; }
};
C10_REGISTER_GUARD_IMPL(CUDA, Guard)
}
namespace at {
struct Hooks final : CUDAHooksInterface {
  explicit Hooks(CUDAHooksArgs) {}
  void init() const override {}
  bool isBuilt() const override { return true; }
  bool isAvailable() const override { return true; }
  bool hasCUDA() const override { return true; }
  bool hasPrimaryContext(DeviceIndex) const override { return true; }
  DeviceIndex deviceCount() const override { return 1; }
};
C10_REGISTER_CLASS(CUDAHooksRegistry, CUDAHooks, Hooks)
}
"""
TORCH = Path(importlib.util.find_spec("torch").origin).parent


def build(folder):
    """Compile the library into a folder."""
    source, library = folder / "card.cpp", folder / "card.so"
    source.write_text(CODE)
    words = ["g++", "-std=c++20", "-shared", "-fPIC", f"-I{TORCH}/include", source, "-o", library]
    subprocess.run([*words, f"-L{TORCH}/lib", "-lc10", "-ltorch_cpu"], check=True)
    return library


if "LINKBERT_CARD" in os.environ:
    ctypes.CDLL(str(TORCH / "lib" / "libtorch_cpu.so"), ctypes.RTLD_GLOBAL)
    ctypes.CDLL(os.environ["LINKBERT_CARD"])

import torch  # noqa: E402
from torch.utils import _pytree as tree  # noqa: E402
from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402

HERE = torch.device("cpu")
THERE = torch.device("cuda:0")
READS = ("_local_scalar_dense", "equal", "nonzero", "masked_select", "_unique2", "unique_dim", "bincount")
BY_INDEX = ("index", "index_put", "index_put_", "_index_put_impl_")  # torch copies an index of the host itself


class OnCard(torch.Tensor):
    """A tensor on the card; `inner` has its values."""

    @staticmethod
    def __new__(cls, inner):
        sizes = (inner.shape, inner.stride(), inner.storage_offset())
        return torch.Tensor._make_wrapper_subclass(cls, *sizes, dtype=inner.dtype, device=THERE)

    def __init__(self, inner):
        self.inner = inner

    def __repr__(self):
        return f"OnCard({self.dtype}, {tuple(self.shape)})"

    def __tensor_flatten__(self):
        return ["inner"], None

    def tolist(self):
        return self.to("cpu").tolist()

    @classmethod
    def __torch_dispatch__(cls, operation, _, arguments=(), options=None):
        with card:
            return operation(*arguments, **(options or {}))


def inner(tensor):
    return tensor.inner if isinstance(tensor, OnCard) else tensor


class Card(TorchDispatchMode):
    """While it is entered, cuda:0 is there; `waits` lists what made the host wait, and which line of the package."""

    def __init__(self):
        super().__init__()
        self.waits, self.pinned = [], set()

    def wait(self, what):
        own = [each for each in traceback.extract_stack() if "linkbert" in each.filename]
        self.waits.append(f"{what} at {Path(own[-1].filename).name}: {own[-1].line}" if own else what)

    def is_pinned(self, tensor):
        return tensor.device == HERE and tensor.untyped_storage().data_ptr() in self.pinned

    def __torch_dispatch__(self, operation, _, arguments=(), options=None):
        options, name = dict(options or {}), operation._schema.name.partition("::")[2]
        tensors = [each for each in tree.arg_tree_leaves(*arguments, **options) if isinstance(each, torch.Tensor)]
        cards, hosts = ([each for each in tensors if isinstance(each, OnCard) == on] for on in (True, False))
        asked = None if options.get("device") is None else torch.device(options["device"])
        if name == "_pin_memory":
            self.pinned.add((copy := arguments[0].clone()).untyped_storage().data_ptr())
            return copy
        if not cards and (asked is None or asked.type != "cuda"):
            return operation(*arguments, **options)
        if operation.namespace in ("linkbert", "torch_attn"):  # of the package as Python writes it; torch's: for it
            with torch._C._AutoDispatchBelowAutograd(), self:
                return as_written(name)(*arguments, **options)
        if name in ("_to_copy", "copy_"):
            return self.copy(operation, name, arguments, options, asked)
        if name in READS or (name in BY_INDEX and any(each.dtype == torch.bool for each in tensors[1:])):
            self.wait(name)
        if name.startswith("scatter") and arguments[0].ndim > 1:
            self.wait(f"{name} in rows, whose strides torch copies,")
        if cards and hosts and name in (*BY_INDEX, "where"):
            self.wait(f"{name} with a tensor of the host")
        elif cards and hosts:
            numbers = all(each.ndim == 0 for each in hosts)
            if not numbers or not (torch.Tag.pointwise in operation.tags or name.startswith("_foreach")):
                raise RuntimeError(f"{name}: a tensor of the host meets one of the card")
        return self.compute(operation, arguments, options)

    def copy(self, operation, name, arguments, options, asked):
        """Copy within the card, to it or from it: only from pinned memory, and where it is said, without waiting."""
        source, target = (arguments[0], asked or arguments[0].device) if name == "_to_copy" else (arguments[1], None)
        target = target or arguments[0].device
        free = options.get("non_blocking") or (name == "copy_" and arguments[2:] == (True,))
        if source.device.type != target.type and not (free and self.is_pinned(source)):
            self.wait(f"copied {'to' if target == HERE else 'from'} the host")
        options.pop("device", None)
        if target == HERE:
            found = operation(*map(inner, arguments), **options)
            return arguments[0] if name == "copy_" else found
        return self.compute(operation, arguments, options)

    def compute(self, operation, arguments, options):
        """Compute on the CPU; what comes out is on the card, and what was written to is what was given."""
        options.pop("device", None)
        given = tree.tree_map_only(OnCard, inner, (arguments, options))
        written = {
            id(inner(each)): each
            for place, declared in enumerate(operation._schema.arguments)
            if declared.alias_info is not None and declared.alias_info.is_write
            for each in tree.tree_leaves([*arguments[place : place + 1], options.get(declared.name)])
        }
        found = operation(*given[0], **given[1])
        return tree.tree_map_only(
            torch.Tensor, lambda each: written[id(each)] if id(each) in written else OnCard(each), found
        )


def over_sequences(query, key, value, starts, stops, most_asked, most_seen, causal, scale, window, *_):
    """Attention over sequences: (N, heads, D) thrice -> the same, sums (heads, N), state (2,)."""
    assert query.dtype == key.dtype == value.dtype
    assert query.dtype in (torch.bfloat16, torch.float16)
    assert query.shape[-1] % 8 == 0
    assert all(each.stride(-1) == 1 for each in (query, key, value))
    sizes = starts.inner.diff()
    assert starts is stops
    assert starts.dtype == torch.int32
    assert starts.inner[-1] == len(query)
    assert (causal, scale, window) == (False, None, [most_seen, most_seen])
    assert sizes.min() >= 0
    assert sizes.max() <= most_asked == most_seen
    mixed = torch.zeros_like(value)
    for part, weights in weights_of(query, key, starts):
        mixed.inner[part] = (weights @ by_head(value, part)).transpose(0, 1).to(value.dtype)
    return mixed, query.new_zeros(query.shape[1], len(query)), query.new_zeros(2, dtype=torch.uint64)


def back_over_sequences(gradient, query, key, value, _out, _sums, starts, *_):
    """Return the gradients of query, key and value."""
    found = [torch.zeros_like(each) for each in (query, key, value)]
    scale = query.shape[-1] ** -0.5
    for part, weights in weights_of(query, key, starts):
        q, k, v, g = (by_head(each, part) for each in (query, key, value, gradient))
        along = g @ v.transpose(-1, -2)
        inner_ = weights * (along - (weights * along).sum(-1, keepdim=True)) * scale
        for own, new in zip(
            found, (inner_ @ k, inner_.transpose(-1, -2) @ q, weights.transpose(-1, -2) @ g), strict=True
        ):
            own.inner[part] = new.transpose(0, 1).to(own.dtype)
    return tuple(found)


def by_head(tensor, part):
    return tensor.inner[part].transpose(0, 1).float()


def weights_of(query, key, starts):
    """Yield each sequence and its weights (heads, n, n)."""
    bounds = starts.inner.tolist()
    for part in map(slice, bounds, bounds[1:]):
        scores = by_head(query, part) @ by_head(key, part).transpose(-1, -2)
        yield part, (scores * query.shape[-1] ** -0.5).softmax(-1)


@functools.cache
def as_written(name):
    """Find an operation of the package as Python writes it, or what stands here for torch's attention."""
    from linkbert.model import fast_bert, loss

    own = (fast_bert.look_up, fast_bert.look_up_gradient, loss.masked_token_loss)
    own = {each._name: each._init_fn for each in own}
    return (own | {"_varlen_attn": over_sequences, "_varlen_attn_backward": back_over_sequences})[name]


class Stream:
    """A stream of the card."""

    def __init__(self, *_):
        pass

    def wait_stream(self, _):
        pass


card = Card()


def insert():
    """Have torch show the card."""
    found = {"is_available": True, "device_count": 1, "current_device": 0, "get_device_capability": (9, 0),
             "is_bf16_supported": True, "max_memory_allocated": 0, "is_current_stream_capturing": False,
             "set_device": None, "synchronize": None, "_lazy_init": None}  # fmt: skip
    for name, value in found.items():
        setattr(torch.cuda, name, lambda *_, value=value, **__: value)
    torch.cuda.Stream, torch.cuda.current_stream = Stream, Stream
    torch.cuda.stream = lambda _: contextlib.nullcontext()
    torch.Tensor.record_stream = lambda *_: None
    torch.inference_mode = torch.no_grad  # a tensor of ours is none of inference
    torch.backends.cuda.is_flash_attention_available = lambda: True
    torch._C._set_only_lift_cpu_tensors(True)  # as torch's fake tensors have it: torch.tensor(1, device="cuda")
    torch.__future__.set_swap_module_params_on_conversion(True)
    return card
