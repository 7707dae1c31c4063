"""Optimizers for fairseq that are said to need no warmup; importing this registers them."""

from . import adamw2, modular, muon, radam, rotational, schedule_free  # noqa: F401
