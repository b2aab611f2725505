"""Every setting of fine-tuning, its default and its meaning; a task's table has its own, the paper's grids others."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from linkbert import config
from linkbert.config import Precision, Probability, setting


class FineTuneConfig(config.Settings):
    """How an encoder is fine-tuned on a task: the authors' settings where the paper's grids say no other."""

    headings: ClassVar = {"learning_rate": "The optimizer", "max_length": "What is read",
                          "micro_batch_size": "How the run goes"}  # fmt: skip
    adam_beta1: ClassVar[float] = 0.9
    lr_scheduler_type: ClassVar[str] = "linear"
    learning_rate: config.Positive = setting(3e-5, "peak learning rate; a small encoder wants more, 1e-4 or 3e-4")
    batch_size: config.Count = setting(32, "examples an update; of questions, windows")
    num_train_epochs: config.Positive = setting(3.0, "passes over the training set")
    budget: config.Seconds = setting("none", "time of training, such as 20m; the learning rate decays to 0 in it")
    warmup_steps: config.Amount = setting(0.0, "steps of linear warm-up, below 1 a share; then linear decay to 0")
    weight_decay: config.Amount = setting(0.0, "AdamW weight decay; none on biases and norms")
    adam_beta2: config.Share = setting(0.999, "AdamW beta 2")
    adam_epsilon: config.Positive = setting(1e-8, "AdamW epsilon")
    max_grad_norm: config.Amount = setting(1.0, "gradients are clipped to this norm; 0: they are not")
    hidden_dropout_prob: Probability = setting(0.1, "dropout on hidden states and heads")
    attention_probs_dropout_prob: Probability = setting(0.0, "dropout on attention weights; slow on a CPU")
    early_stop: config.CountOrNone = setting(0, "epochs without gain on dev that end training with the best; 0: never")
    seed: config.Seed = setting(0, "decides new heads, the order of examples and dropout")

    max_length: Annotated[config.Int, Field(ge=8, le=65_536)] = setting(
        384, "tokens of a row, longer ones are cut, or (questions) read in windows"
    )
    stride: config.CountOrNone = setting(128, "tokens that two windows of a context share")
    fraction: Annotated[config.Float, Field(gt=0, le=1)] = setting(1.0, "share of train, drawn by the seed (few-shot)")
    distract: str = setting("0", "other articles' paragraphs before or after each context, such as 1..2 (questions)")
    distract_in: Literal["all", "eval"] = setting("all", "where: in training and scoring, or in scoring alone")
    dev_split: str = setting("none", "a file that says which dev items are dev and test: none is by a hash (MRQA)")

    micro_batch_size: config.CountOrNone = setting(
        0, "tokens, with padding, of one forward pass; a larger batch is cut; 0: 16,384 (GPU) or 1,024"
    )
    precision: Precision = setting("auto", "arithmetic: bf16, or fp32 where that is measured to be faster (auto)")
    device: str = setting("auto", "auto, cpu, cuda or cuda:N")
    threads: config.CountOrNone = setting(0, "CPU threads of one run; 0 leaves it to torch")
