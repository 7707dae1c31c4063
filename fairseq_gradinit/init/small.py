"""SmallInit (Nguyen & Salazar 2019, "Transformers without Tears", arXiv 1910.05895)."""

from __future__ import annotations

import math
from functools import partial

from torch import nn

from .residual import all_layers, attentions, refill


def initialise(model: nn.Module) -> None:
    """All attention matrices N(0, 2/(d + 4d)), the spread that Xavier gives a feed-forward matrix
    of a hidden width 4d; fc1 and fc2 Xavier normal; biases 0.

    The paper trains Pre-LN with it: give --encoder-normalize-before --decoder-normalize-before.

    Raises:
        GradInitError: the model has no Transformer layers.
    """
    for layer in all_layers(model):
        small = partial(nn.init.normal_, std=math.sqrt(2 / (5 * layer.embed_dim)))
        for attention in attentions(layer):
            for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
                refill(getattr(attention, name), small)
        for linear in (layer.fc1, layer.fc2):
            refill(linear, nn.init.xavier_normal_)
