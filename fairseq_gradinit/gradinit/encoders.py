"""Which modules are a model's encoder: told by structure, wherever in the model it is."""

from __future__ import annotations

from torch import nn


def encoders(model: nn.Module) -> list[str]:
    """The names of the encoders in `model`, as `named_modules` has them.

    An encoder stands beside a decoder in some module of the model: as its attributes `encoder` and
    `decoder` (fairseq, `nn.Transformer`, Hugging Face) or as an `nn.TransformerEncoder` beside an
    `nn.TransformerDecoder` under whatever names. The attribute `encoder` of `model` itself needs no
    decoder.
    """
    found = ["encoder"] if isinstance(getattr(model, "encoder", None), nn.Module) else []
    for prefix, module in model.named_modules():
        children = dict(module.named_children())
        beside = {"encoder", "decoder"} <= set(children)
        typed = any(isinstance(child, nn.TransformerDecoder) for child in children.values())
        for name, child in children.items():
            if (beside and name == "encoder") or (
                typed and isinstance(child, nn.TransformerEncoder)
            ):
                found.append(f"{prefix}.{name}" if prefix else name)
    return list(dict.fromkeys(found))
