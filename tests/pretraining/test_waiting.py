"""Nothing waits for a GPU while an update is computed, and a batch is copied at once, from pinned memory."""

import pytest
import torch

from linkbert.instances.batches import Batches
from linkbert.instances.sampler import Sampler
from linkbert.model.device import send_batch
from linkbert.pretraining import loop


class OnDevice(torch.Tensor):
    """Stands in for a tensor on a GPU: to read it, or to let its values decide a shape, is an error in an update."""

    computing = False
    WAITS = ("item", "tolist", "__bool__", "__int__", "__float__", "__index__", "nonzero", "numpy", "unique", "cpu")

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        masked = func.__name__ == "__getitem__" and isinstance(args[1], torch.Tensor) and args[1].dtype == torch.bool
        if cls.computing and (func.__name__ in cls.WAITS or masked):
            raise AssertionError(f"{func.__name__} waits for the device")
        return super().__torch_function__(func, types, args, kwargs or {})


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_an_update_reads_no_number_before_all_of_it_is_computed(train, small, monkeypatch, precision):
    send, all_reduce, updates = loop.send, loop.all_reduce, []

    def sums_come_last(processes, tensor):
        if OnDevice.computing:
            updates.append(tensor.dtype)
        OnDevice.computing = not OnDevice.computing
        return all_reduce(processes, tensor)

    moved = lambda tensor, device: send(tensor, device).as_subclass(OnDevice)  # noqa: E731
    monkeypatch.setattr(loop, "send", moved)
    monkeypatch.setattr(loop, "all_reduce", sums_come_last)
    monkeypatch.setattr("linkbert.model.step.send", moved)
    monkeypatch.setattr(
        "linkbert.model.step.send_batch",
        lambda batch, _: type(batch)(**{name: each.as_subclass(OnDevice) for name, each in vars(batch).items()}),
    )
    _, state, _ = train(small(max_steps=3, precision=precision))
    assert state.step == 3
    assert updates == [torch.float64] * 3
    monkeypatch.setattr(OnDevice, "computing", True)
    with pytest.raises(AssertionError, match="item waits"):
        torch.ones(1).as_subclass(OnDevice).item()


def test_a_batch_is_one_copy_from_pinned_memory(stores, config, monkeypatch):
    batch = next(iter(Batches(Sampler.open(stores[0], config.replace(sequence_length=48))).micro_batches(0)))
    copies, pinned = [], []
    plain = torch.Tensor.to

    def to(tensor, device, *, non_blocking=False):
        copies.append((torch.device(device).type, non_blocking, any(tensor is each for each in pinned)))
        return plain(tensor, "cpu")

    monkeypatch.setattr(torch.Tensor, "to", to)
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: pinned.append(tensor.clone()) or pinned[-1])
    there = send_batch(batch, torch.device("cuda", 0))
    assert copies == [("cuda", True, True)]
    for name, tensor in vars(batch).items():
        assert torch.equal(getattr(there, name), tensor), name
    assert send_batch(batch, torch.device("cpu")) is batch
