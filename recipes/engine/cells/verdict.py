"""What a trained cell's numbers say: done, undertrained, not reading its source, diverged."""

from __future__ import annotations

from .records import Curves, Status, Watch

LOW_BLEU = 1.0
SMALL_WORTH = 0.05  # nats per token that the right source saves over a wrong one
STUCK = "valid loss not below the unigram plateau"


def verdict(curves: Curves, plateau: float, bleu: float, watch: list[Watch]) -> tuple[Status, str]:
    """The status of a cell that trained to its end, and why where it is not done.

    Args:
        plateau: the loss of a model that knows word frequencies only, bits per token.
        bleu: in percent.
        watch: what the package recorded during training, [] without it.
    """
    if is_stuck(curves, plateau):
        return Status.DIVERGED, STUCK
    if bleu >= LOW_BLEU:
        return Status.DONE, ""
    worths = [one.source_worth for one in watch if one.source_worth is not None]
    if worths and worths[-1] < SMALL_WORTH:
        return Status.BLIND, f"its source is worth {worths[-1]:.3f} nats per token"
    return Status.UNDERTRAINED, f"valid loss below the unigram plateau, BLEU below {LOW_BLEU:g}"


def is_stuck(curves: Curves, plateau: float) -> bool:
    """Whether the last loss is not finite or not below the plateau; False without any."""
    last = curves.last
    return last is not None and (last.nll is None or not last.nll < plateau)
