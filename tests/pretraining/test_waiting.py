"""Nothing waits for a GPU before an update is queued, and a batch is copied at once, from pinned memory."""

import os
import threading
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
import torch

from linkbert.instances.batches import Batch, Batches
from linkbert.instances.sampler import Sampler
from linkbert.model import step
from linkbert.model.device import choose_device, deterministic, send_batch
from linkbert.pretraining import loop

READS = ("item", "tolist", "__bool__", "__int__", "__float__", "__index__", "nonzero", "numpy", "cpu", "unique")
SOME = {  # what waits only sometimes: an index that is a mask, a number that is assigned to a place (torch copies it)
    "__getitem__": lambda index: getattr(index, "dtype", None) == torch.bool,
    "__setitem__": lambda _, value: not isinstance(value, torch.Tensor),
}


class Watch:
    """While it is `armed`, reading a number from a tensor in this thread is an error: a GPU would be waited for."""

    def __init__(self, monkeypatch):
        self.armed, self.read, thread = False, [], threading.current_thread()

        def watched(name, plain):
            def call(tensor, *arguments, **options):
                if self.armed and SOME.get(name, lambda *_: True)(*arguments) and threading.current_thread() is thread:
                    self.armed = False
                    raise AssertionError(f"{name} waits for the device")
                return plain(tensor, *arguments, **options)

            return call

        for owner, names in ((torch.Tensor, (*READS, *SOME)), (torch, ("nonzero", "unique", "masked_select"))):
            for name in names:
                monkeypatch.setattr(owner, name, watched(name, getattr(owner, name)))


@pytest.fixture
def watch(monkeypatch):
    return Watch(monkeypatch)


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_an_update_reads_no_number_before_all_of_it_is_queued(train, config, watch, monkeypatch, precision):
    """From when the batches are there until the optimizer has made its step; but for a batch where it was made."""
    asked, made = loop.learning_rate, []
    slots = step.query_slots

    def starts(*arguments):
        watch.armed = True
        return asked(*arguments)

    def ends(optimizer, wrong):
        update(optimizer, wrong)
        made.append(watch.armed)
        watch.armed = False

    def on_the_host(batch, *arguments, **options):
        assert type(batch) is Batch
        armed, watch.armed = watch.armed, False
        found = slots(batch, *arguments, **options)
        watch.armed = armed
        return found

    update = loop.update_unless
    monkeypatch.setattr(loop, "learning_rate", starts)
    monkeypatch.setattr(loop, "update_unless", ends)
    monkeypatch.setattr(step, "query_slots", on_the_host)
    _, state, _ = train(config.replace(max_steps=3, precision=precision, spike=10.0))
    assert state.step == 3
    assert made == [True] * 3


def test_the_watch_sees_what_it_must(watch):
    watch.armed = True
    for name, read in {
        "item": lambda: torch.ones(1).item(),
        "__bool__": lambda: 1 if torch.ones(1) else 0,
        "__float__": lambda: float(torch.ones(1)),
        "nonzero": lambda: torch.nonzero(torch.ones(2)),
        "__getitem__": lambda: torch.ones(2)[torch.ones(2) > 0],
        "__setitem__": lambda: torch.ones(2).__setitem__(0, 2.0),
    }.items():
        watch.armed = True
        with pytest.raises(AssertionError, match=f"^{name} waits"):
            read()


def test_on_a_gpu_sums_in_one_order_are_asked_strictly():
    """With warn_only, torch's fused attention keeps a backward pass that is not repeatable."""
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    for name, warns in (("cuda", False), ("cpu", True)):
        with deterministic(torch.device(name)):
            assert torch.are_deterministic_algorithms_enabled()
            assert torch.is_deterministic_algorithms_warn_only_enabled() == warns
    assert (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    ) == before


def test_cublas_is_told_before_its_first_product(monkeypatch):
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    choose_device("cuda:0")
    assert os.environ.pop("CUBLAS_WORKSPACE_CONFIG") == ":4096:8"


def test_a_batch_is_one_copy_from_pinned_memory(stores, config, monkeypatch):
    batch = next(iter(Batches(Sampler.open(stores[0], config.replace(sequence_length=48))).micro_batches(0)))
    copies, pinned = [], []
    plain = torch.Tensor.to

    def to(tensor, device, *, non_blocking=False):
        copies.append((torch.device(device).type, non_blocking, any(tensor is each for each in pinned)))
        return plain(tensor, "cpu")

    monkeypatch.setattr(torch.Tensor, "to", to)
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: pinned.append(tensor.clone()) or pinned[-1])
    order, now = [], SimpleNamespace(wait_stream=lambda stream: order.append(f"wait for {stream}"))

    @contextmanager
    def on(stream):
        yield order.append(f"to {stream}")
        order.append(f"copied {len(copies)}")

    monkeypatch.setattr("linkbert.model.device.copy_stream", lambda device: "beside")
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: now)
    monkeypatch.setattr(torch.cuda, "stream", on)
    monkeypatch.setattr(torch.Tensor, "record_stream", lambda tensor, stream: order.append(stream is now))
    there = send_batch(batch, torch.device("cuda", 0))
    assert copies == [("cuda", True, True)]
    assert order == ["to beside", "copied 1", "wait for beside", True]
    for name, tensor in vars(batch).items():
        assert torch.equal(getattr(there, name), tensor), name
    assert send_batch(batch, torch.device("cpu")) is batch
