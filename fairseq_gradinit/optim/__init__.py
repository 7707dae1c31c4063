"""Optimizers for fairseq that are said to need no warmup; importing this registers them."""

from . import modular  # noqa: F401
