"""GradInit in plain torch: `learn_scales` works on any `nn.Module`, with no fairseq at hand.

>>> import torch
>>> from torch import nn
>>> from torch.utils.data import DataLoader
>>> from fairseq_gradinit.gradinit import Settings, learn_scales
>>> _ = torch.manual_seed(1)
>>> model = nn.Sequential(nn.Embedding(50, 16), nn.TransformerEncoderLayer(16, 2, 32),
...                       nn.Linear(16, 50))
>>> tokens = torch.randint(50, (64, 9))                       # 64 sentences of 9 tokens
>>> loader = DataLoader(tokens, batch_size=16, shuffle=True)  # goes round when it ends
>>> def loss_per_token(batch):
...     return nn.functional.cross_entropy(model(batch[:, :-1]).transpose(1, 2), batch[:, 1:])
>>> settings = Settings.of("multistep", eta=1e-2, lookahead=3, iters=5)
>>> learned = learn_scales(model, loss_per_token, loader, settings)
>>> print(learned.iterations, "iterations,", len(learned.scales), "scales")
5 iterations, 15 scales
"""

from .blocks import Block, Blocks
from .errors import GradInitError
from .iteration import Iteration
from .learn import LearnedScales, Search, learn_scales
from .settings import Settings

__all__ = [
    "Block",
    "Blocks",
    "GradInitError",
    "Iteration",
    "LearnedScales",
    "Search",
    "Settings",
    "learn_scales",
]
