"""Train on linked pairs, with masked tokens and the three relations, by transformers.Trainer.

    python examples/trainer.py STORE MODEL OUT [STEPS]

STORE is what `linkbert build` wrote; MODEL a folder or a hub name of a BERT with the store's vocabulary.
Trainer needs accelerate: pip install "accelerate>=1.10".
"""

import sys

import torch
from transformers import Trainer, TrainingArguments

import linkbert


def main(store: str, model: str, out: str, steps: str = "100") -> None:
    """Train for some steps and save a Hugging Face folder."""
    pairs = linkbert.PairDataset(store, sequence_length=128)
    arguments = TrainingArguments(
        out, max_steps=int(steps), per_device_train_batch_size=16, learning_rate=1e-4, logging_steps=10,
        report_to="none", remove_unused_columns=False, save_strategy="no",
        dataloader_pin_memory=torch.cuda.is_available(),
    )  # fmt: skip
    trainer = Trainer(
        linkbert.load_model(model), arguments, train_dataset=pairs, data_collator=linkbert.PairCollator(pairs)
    )  # Trainer calls pairs.set_epoch before each epoch: other masks and partners
    trainer.train()
    trainer.model.save_pretrained(out)


if __name__ == "__main__":
    main(*sys.argv[1:])
