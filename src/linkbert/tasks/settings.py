"""Every setting of fine-tuning, its default and its meaning; a task's table has its own, the paper's grids others."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from linkbert.config import Count, Float, Int, Precision, Probability, Seconds, Settings, in_seconds


class FineTuneConfig(Settings):
    """How an encoder is fine-tuned on a task: the authors' settings where the paper's grids say no other."""

    # The optimizer
    learning_rate: Float = Field(3e-5, gt=0, description="peak learning rate; a small encoder wants more, 1e-4 or 3e-4")
    batch_size: Count = Field(32, description="examples an update; of questions, windows")
    num_train_epochs: Float = Field(3.0, gt=0, description="passes over the training set")
    budget: Seconds = Field(
        "none", description="time after which training ends, such as 20m; the learning rate decays in that time"
    )
    warmup_steps: Float = Field(
        0.0, ge=0, description="steps of linear warm-up; below 1, a share of the steps; then linear decay to 0"
    )
    weight_decay: Float = Field(0.0, ge=0, description="AdamW weight decay; none on biases and norms")
    adam_beta2: Float = Field(0.999, gt=0, lt=1, description="AdamW beta 2")
    adam_epsilon: Float = Field(1e-8, gt=0, description="AdamW epsilon")
    max_grad_norm: Float = Field(1.0, ge=0, description="gradients are clipped to this norm; 0: they are not")
    hidden_dropout_prob: Probability = Field(0.1, description="dropout on hidden states and heads")
    attention_probs_dropout_prob: Probability = Field(
        0.0, description="dropout on attention weights; leaves the fast kernel on a CPU"
    )
    early_stop: Int = Field(
        0, ge=0, description="epochs without gain on dev after which the best one is taken; 0: the last, as the paper"
    )
    seed: Int = Field(0, ge=0, lt=2**63, description="decides new heads, the order of examples and dropout")

    # What is read
    max_length: Int = Field(
        384, ge=8, le=65_536, description="tokens of a row, longer ones are cut, or (questions) read in windows"
    )
    stride: Int = Field(128, ge=0, description="tokens that two windows of a context share")
    fraction: Annotated[Float, Field(gt=0, le=1)] = Field(
        1.0, description="share of the training set, drawn by a hash of the ids (few-shot)"
    )
    distract: str = Field(
        "0", description="other articles' paragraphs before or after each context, such as 1..2 (questions)"
    )
    distract_in: Literal["all", "eval"] = Field(
        "all", description="where: in training and scoring, or in scoring alone"
    )
    dev_split: str = Field(
        "none", description="a file that says which dev items are dev and test: none is by a hash (MRQA)"
    )

    # How the run goes
    micro_batch_size: Int = Field(
        0,
        ge=0,
        description="tokens, padding included, of one forward pass; a larger batch is cut; 0: 16,384 (GPU) or 1,024",
    )
    precision: Precision = Field(
        "auto", description="arithmetic: bf16, or fp32 where that is measured to be faster (auto)"
    )
    device: str = Field("auto", description="auto, cpu, cuda or cuda:N")
    threads: Int = Field(0, ge=0, description="CPU threads of one run; 0 leaves it to torch")

    @property
    def budget_seconds(self) -> float:
        """The budget in seconds, 0 for none."""
        return in_seconds(self.budget)
