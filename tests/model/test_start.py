"""Start values: what Hugging Face's own BERT makes of them, and what they leave alone."""

import pytest
import torch

from linkbert.config import make_config
from linkbert.model.checkpoint import start_model

VOCABULARY = 3000


@pytest.mark.parametrize(
    ("sizes", "shifts", "least"),  # of 512 places, any one would have 0.002
    [
        (["hidden_size=128", "num_attention_heads=2"], [-1, 1], 0.8),
        (["hidden_size=128", "num_attention_heads=2", "initializer_range=0.02"], [-1, 1], 0.8),
        (["hidden_size=150", "num_attention_heads=2"], [-1, 1], 0.8),  # 75 to a head: one is left over
        (
            ["hidden_size=384", "num_attention_heads=12"],
            [-1, 1, -2, 2, -3, 3, -4, 4, -5, 5, -6, 6],
            0.3,
        ),  # 16 waves to a head
    ],
)
def test_heads_of_the_first_layer_look_at_the_places_beside_their_own(sizes, shifts, least):
    config = make_config("tiny", ["initializer_range=0.08", "weight_init=neighbours", *sizes])
    bert = start_model(config, VOCABULARY).bert
    tokens = torch.randint(5, VOCABULARY, (2, 512), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        first = type(bert)(bert.config).eval()  # Hugging Face's forward pass
        first.load_state_dict(bert.state_dict())
        first.set_attn_implementation("eager")
        attention = first(tokens, output_attentions=True).attentions[0]  # (2, heads, T, T)
    for head, shift in enumerate(shifts):
        seen = float(attention[:, head].diagonal(shift, 1, 2).mean())
        assert seen > least, (head, shift, seen)


def test_everything_else_starts_as_ever():
    made = {
        start: start_model(make_config("tiny", [f"weight_init={start}", "hidden_size=32", "seed=3"]), 50).state_dict()
        for start in ("random", "neighbours")
    }
    changed = {name for name, value in made["random"].items() if not value.equal(made["neighbours"][name])}
    layer = "bert.encoder.layer.0.attention.self."
    assert changed == {"bert.embeddings.position_embeddings.weight", layer + "query.weight", layer + "key.weight"}
