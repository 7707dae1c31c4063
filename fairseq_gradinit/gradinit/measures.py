"""What tells a model that reads its source from one that has gone blind."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

COLLAPSED = 0.02  # a token spread below it after some updates hardly ever comes back


@dataclass(frozen=True)
class Reading:
    """What some sentences tell of a model; None where there is nothing to measure.

    Attributes:
        loss: negative log-likelihood of the targets, nats per token, no label smoothing.
        source_worth: the same with other sentences' sources, minus `loss`; None for a language
            model.
        encoder_spread, decoder_spread: token spread ρ of the last states.
    """

    loss: float
    source_worth: float | None
    encoder_spread: float | None
    decoder_spread: float | None

    @property
    def collapsed(self) -> tuple[str, ...]:
        """Which of encoder and decoder has the same state for every token."""
        spreads = {"encoder": self.encoder_spread, "decoder": self.decoder_spread}
        # A spread that is not a number is none.
        return tuple(n for n, rho in spreads.items() if rho is not None and not rho >= COLLAPSED)


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
