"""What tells a model that reads its source from one that has gone blind."""

from __future__ import annotations

from torch import Tensor


def token_spread(states: Tensor) -> float:
    """ρ = ‖X − 1x̄ᵀ‖²_F / ‖X‖²_F, the part of the representations that differs from token to token.

    The square of the relative residual of Dong et al. 2021 (arXiv 2103.03404), 1 for centred
    representations and 0 where every token has the same.

    Args:
        states: X, [tokens, width], padding left out.
    """
    states = states.double()
    mean = states.mean(0)
    return float((states - mean).pow(2).sum() / states.pow(2).sum())
