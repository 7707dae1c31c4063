"""Small random translation models in plain torch, float64, for comparison with references."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

VOCABULARY, WIDTH, HEADS, FFN = 23, 8, 2, 12


class Batch(NamedTuple):
    """source: [sentences, source length], target: [sentences, target length]; token ids."""

    source: Tensor
    target: Tensor


class ToyTransformer(nn.Module):
    """One encoder and one decoder layer. Every tensor is random, biases and gains too, so that
    no derivative is zero for a trivial reason; one bias is all zero on purpose."""

    def __init__(self, seed: int, pre_ln: bool = False, tied: bool = True) -> None:
        super().__init__()
        layer = {"dropout": 0.1, "batch_first": True, "norm_first": pre_ln}
        self.embedding = nn.Embedding(VOCABULARY, WIDTH)
        self.encoder = nn.TransformerEncoderLayer(WIDTH, HEADS, FFN, **layer)
        self.decoder = nn.TransformerDecoderLayer(WIDTH, HEADS, FFN, **layer)
        self.output = nn.Linear(WIDTH, VOCABULARY, bias=False)
        if tied:
            self.output.weight = self.embedding.weight
        self.double()
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in self.parameters():
                noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
                parameter.copy_(0.3 * noise + (parameter.dim() == 1))
            self.encoder.linear1.bias.zero_()

    def forward(self, batch: Batch) -> Tensor:
        """Label-smoothed cross-entropy per token of `batch`, a scalar."""
        memory = self.encoder(self.embedding(batch.source))
        states = self.decoder(self.embedding(batch.target[:, :-1]), memory)
        logits = self.output(states)
        return F.cross_entropy(
            logits.flatten(0, 1), batch.target[:, 1:].flatten(), label_smoothing=0.1
        )


def random_batches(count: int, seed: int = 0, sentences: int = 4) -> list[Batch]:
    """`count` batches of random token ids."""
    generator = torch.Generator().manual_seed(seed)

    def ids(length: int) -> Tensor:
        return torch.randint(VOCABULARY, (sentences, length), generator=generator)

    return [Batch(ids(5), ids(6)) for _ in range(count)]
