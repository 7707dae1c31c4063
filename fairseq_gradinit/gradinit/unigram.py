"""The unigram start: a model that knows the word frequencies before its first update.

In the first updates all tokens' gradients agree, since all ask for the same: the frequencies of
the words. Where they must be learned, they are learned through every layer at once, which makes
the states of all tokens alike. Meister et al. 2023 (arXiv 2212.09686) give them to the bias of the
output layer; the output layer of a Transformer has no bias, but the LayerNorm before it has.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .errors import GradInitError


@dataclass(frozen=True)
class UnigramStart:
    """What was done, for the record.

    Attributes:
        entropy: of the frequencies, nats per token: the loss of a model that knows no more.
        seconds: spent counting and writing.
    """

    entropy: float
    seconds: float = 0.0


def target_distribution(counts: Tensor, smoothing: float = 0.0) -> Tensor:
    """What a model that knows only frequencies should predict: the mean target distribution.

    Args:
        counts: of each word in the training targets, [words]; 0 for what is never a target.
        smoothing: the label smoothing ε, spread over all words. Without it a word that was never
            seen counts as seen once, so that its logarithm is finite.

    Returns:
        p, [words], which sums to 1.

    Raises:
        GradInitError: there is no target at all.
    """
    counts = counts.double()
    if not counts.sum() > 0:
        raise GradInitError("the training split has no target token; check the data")
    if smoothing == 0:
        counts = counts.clamp_min(1)
    return (1 - smoothing) * counts / counts.sum() + smoothing / len(counts)


@torch.no_grad()
def give_frequencies(
    norm: nn.LayerNorm,
    embeddings: Tensor,
    distribution: Tensor,
    generator: torch.Generator,
    skip: Sequence[int] = (),
    mask: Tensor | None = None,
) -> UnigramStart:
    """Has `norm` → `embeddings` predict `distribution` whatever comes in, and little else.

    With x̂ the normalised state, γ and b the gain and bias of the LayerNorm and E_i the output
    embedding of word i, its logit is ⟨E_i, γ⊙x̂ + b⟩. Written are

    - b = u, of d coordinates ±1 with random signs, as large as a fresh gain: half of the softmax
      layer's input is common to all tokens, half each token's own;
    - E_i ← E_i − ⟨E_i, u⟩u/‖u‖² + log p_i·u/‖u‖², so that ⟨E_i, b⟩ = log p_i up to a constant;
    - γ_j ← ±γ_j with random signs. Where the input embedding is E too, and residual branches are
      small, x̂ is nearly the embedding of the token before, and ⟨E_i, γ⊙x̂⟩ predicts it again with
      √d nats; half of the signs turned, that sum is one of noise.

    Args:
        norm: the LayerNorm whose output the softmax layer reads, with gain and bias [d].
        embeddings: E, [words, d], tied to the input or not; written in place.
        distribution: p, [words], above 0.
        generator: of the signs, on the CPU.
        skip: words whose rows stay as they are, such as padding.
        mask: 0 where E stays 0, [words, d]; each row then moves along the active part of u.

    Raises:
        GradInitError: the LayerNorm has no gain and bias of the embeddings' width.
    """
    words, width = embeddings.shape
    gain, bias = getattr(norm, "weight", None), getattr(norm, "bias", None)
    if gain is None or bias is None or tuple(bias.shape) != (width,):
        raise GradInitError(
            f"the last LayerNorm has no gain and bias of the {width} coordinates that the softmax "
            "layer reads"
        )
    u = _signs(width, generator)
    log_p = distribution.log()
    kept = torch.ones(words, dtype=torch.bool)
    kept[list(skip)] = False
    offset = torch.where(kept, log_p - log_p[kept].mean(), 0.0)
    u, offset = u.to(embeddings), offset.to(embeddings)
    along = torch.where(kept.to(embeddings.device), embeddings @ u, 0.0)
    if mask is None:
        embeddings.add_(torch.outer(offset - along, u / u.dot(u)))
    else:
        active = u * mask.to(u)
        squares = active.square().sum(1).clamp_min(1)  # 0 for a row that has nothing active
        embeddings.add_(((offset - along) / squares)[:, None] * active)
    bias.copy_(u)
    gain.mul_(_signs(width, generator).to(gain))
    return UnigramStart(float(-(distribution * log_p).sum()))


def _signs(size: int, generator: torch.Generator) -> Tensor:
    return torch.randint(2, (size,), generator=generator).double() * 2 - 1
