"""Train on linked pairs in a loop of your own, with Accelerate.

    python examples/accelerate_loop.py STORE MODEL OUT [STEPS]

STORE and MODEL as in trainer.py. It needs accelerate: pip install "accelerate>=1.10".
"""

import sys

import torch
from accelerate import Accelerator
from torch.utils.data import DataLoader

import linkbert


def main(store: str, model: str, out: str, steps: str = "100") -> None:
    """Train for some steps and save a Hugging Face folder."""
    accelerator = Accelerator()
    pairs = linkbert.PairDataset(store, sequence_length=128)
    loader = DataLoader(pairs, batch_size=16, collate_fn=linkbert.PairCollator(pairs), num_workers=1)
    network = linkbert.load_model(model)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4)
    network, optimizer, loader = accelerator.prepare(network, optimizer, loader)
    network.train()
    step, epoch = 0, 0
    while step < int(steps):
        pairs.set_epoch(epoch)  # other masks and partners in every epoch
        for batch in loader:
            loss = network(**batch).loss
            accelerator.backward(loss)
            optimizer.step()
            optimizer.zero_grad()
            step += 1
            if step % 10 == 0:
                accelerator.print(f"step {step}: loss {loss.item():.3f}")
            if step == int(steps):
                break
        epoch += 1
    accelerator.unwrap_model(network).save_pretrained(out)


if __name__ == "__main__":
    main(*sys.argv[1:])
