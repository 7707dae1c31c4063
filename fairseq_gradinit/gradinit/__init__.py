"""GradInit in plain torch: `learn_scales` works on any `nn.Module`, with no fairseq at hand."""

from .blocks import Block, Blocks
from .errors import GradInitError
from .learn import Iteration, LearnedScales, learn_scales
from .settings import Settings

__all__ = [
    "Block",
    "Blocks",
    "GradInitError",
    "Iteration",
    "LearnedScales",
    "Settings",
    "learn_scales",
]
