"""Which parameters of a model are layers: its weight matrices, and what else there is."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

EMBEDDING, LAYER_NORM, BIAS, OTHER = "embedding", "layer_norm", "bias", "other"


@dataclass(frozen=True)
class Layer:
    """A weight matrix (or a convolution's kernel) and where it hangs.

    name: of its module within the model, followed by the parameter's own where that is not
    `weight`.
    """

    name: str
    module: nn.Module
    attribute: str

    @property
    def weight(self) -> nn.Parameter:
        """The parameter, [out, in] or a kernel."""
        return getattr(self.module, self.attribute)


def weight_matrices(model: nn.Module) -> list[Layer]:
    """The trainable weight matrices, in the model's order, each once.

    An embedding is none, nor is an output projection tied to one; biases and the gains of
    LayerNorms have no matrix.
    """
    layers, seen = [], set(_embeddings(model))
    for prefix, module in model.named_modules():
        for local, parameter in module.named_parameters(recurse=False):
            if _is_matrix(local, parameter) and parameter not in seen:
                seen.add(parameter)
                name = prefix if local == "weight" else f"{prefix}.{local}".lstrip(".")
                layers.append(Layer(name, module, local))
    return layers


def other_parameters(model: nn.Module) -> dict[str, list[nn.Parameter]]:
    """The trainable parameters that are no layers: embeddings, LayerNorms, biases and others."""
    embeddings = set(_embeddings(model))
    groups: dict[str, list[nn.Parameter]] = {EMBEDDING: list(_embeddings(model))}
    seen = {layer.weight for layer in weight_matrices(model)} | embeddings
    for module in model.modules():
        for local, parameter in module.named_parameters(recurse=False):
            if parameter.requires_grad and parameter not in seen:
                seen.add(parameter)
                groups.setdefault(_kind(module, local), []).append(parameter)
    return {kind: parameters for kind, parameters in groups.items() if parameters}


def _embeddings(model: nn.Module) -> dict[nn.Parameter, None]:
    tables = (m for m in model.modules() if isinstance(m, (nn.Embedding, nn.EmbeddingBag)))
    weights = [table.get_parameter("weight") for table in tables]
    return {weight: None for weight in weights if weight.requires_grad}


def _is_matrix(local: str, parameter: nn.Parameter) -> bool:
    trained = parameter.requires_grad and parameter.is_floating_point()
    return trained and parameter.dim() >= 2 and not local.startswith("bias")


def _kind(module: nn.Module, local: str) -> str:
    if local.startswith("bias") or local.endswith("_bias"):
        return BIAS if not hasattr(module, "normalized_shape") else LAYER_NORM
    return LAYER_NORM if hasattr(module, "normalized_shape") else OTHER
