"""Xavier initialisation of the feed-forward matrices, which fairseq leaves to torch."""

from __future__ import annotations

from torch import nn

from .residual import all_layers, refill


def initialise(model: nn.Module) -> None:
    """fc1 and fc2: Xavier uniform, gain 1, biases 0 (Glorot & Bengio 2010, eq. 16).

    fairseq fills the attention matrices so itself, q, k and v with gain 1/√2, but fc1 and fc2
    keep torch's U(±1/√fan-in). The released code of Admin and T-Fixup starts from here.

    Raises:
        GradInitError: the model has no Transformer layers.
    """
    for layer in all_layers(model):
        for linear in (layer.fc1, layer.fc2):
            refill(linear, nn.init.xavier_uniform_)
