"""What is measured of a model's representations."""

from .rehearsal import token_share as token_spread

__all__ = ["token_spread"]
