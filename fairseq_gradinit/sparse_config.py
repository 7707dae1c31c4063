"""The flags of fixed random masks, and the narrow configuration of a wide model."""

import copy
from dataclasses import dataclass, field
from typing import Any, Optional

from fairseq.dataclass import FairseqDataclass

from .gradinit import GradInitError

# No `from __future__ import annotations` here: fairseq reads the field types themselves.

WIDTHS = ("embed_dim", "ffn_embed_dim", "input_dim", "output_dim")
HEADS = "attention_heads"
SIDES = ("encoder", "decoder")


@dataclass
class SparseConfig(FairseqDataclass):
    """Flags of `fairseq_gradinit.sparse`."""

    sparse_like_width: Optional[int] = field(  # noqa: UP045
        default=None,
        metadata={
            "help": "SC-SDC: mask this model so that each weight matrix has as many active weights "
            "as that of the dense model of width D (its feed-forward width in proportion), drawn "
            "as that model's; compare with the dense run of that width and the same --seed"
        },
    )
    sparsity: float = field(
        default=0.0,
        metadata={
            "help": "mask this fraction of each weight matrix, at random and for good; one model "
            "alone, which is no SC-SDC"
        },
    )
    mask_seed: Optional[int] = field(  # noqa: UP045
        default=None, metadata={"help": "where the masks are (default: the run's --seed)"}
    )


def masks_wanted(flags: Any) -> bool:
    """Is the model to be masked?"""
    return flags.sparse_like_width is not None or flags.sparsity != 0


def mask_flag(flags: Any) -> str:
    """The flag that asks for masks, for messages."""
    return "--sparsity" if flags.sparse_like_width is None else "--sparse-like-width"


def mask_seed(flags: Any, run: Any) -> int:
    """Where the masks are."""
    return int(run.common.seed if flags.mask_seed is None else flags.mask_seed)


def check_masks(flags: Any, run: Any) -> None:
    """Refuses what cannot be masked. Raises: GradInitError."""
    if flags.sparse_like_width is not None and flags.sparsity != 0:
        raise GradInitError(
            "--sparsity: --sparse-like-width sets each layer's density itself; give one of the two"
        )
    if not 0 <= flags.sparsity < 1:
        raise GradInitError(
            f"--sparsity: found {flags.sparsity:g}; give the masked fraction, from 0 to below 1"
        )
    if run.distributed_training.ddp_backend == "fully_sharded":
        raise GradInitError(
            f"{mask_flag(flags)}: --ddp-backend fully_sharded shards the weights that are masked; "
            "use --ddp-backend legacy_ddp"
        )


def narrowed(model_config: Any, width: int) -> Any:
    """A copy of a fairseq Transformer's configuration with its embedding width `width` and every
    other width in proportion; depth, heads and vocabulary stay.

    Raises:
        GradInitError: `width` is not below the model's, or does not go into whole numbers.
    """
    flag = f"--sparse-like-width {width}"
    narrow = copy.deepcopy(model_config)
    wide = next(filter(None, (_get(narrow, side, WIDTHS[0]) for side in SIDES)), None)
    if wide is None:
        raise GradInitError(
            f"{flag}: this architecture has no --encoder-embed-dim or --decoder-embed-dim; use "
            "--sparsity, or a Transformer"
        )
    if not 0 < width < wide:
        raise GradInitError(f"{flag}: give a width between 0 and the model's own, {wide}")
    for side in SIDES:
        for kind in WIDTHS:
            found = _get(narrow, side, kind)
            if found is None:
                continue
            name = f"--{side}-{kind}".replace("_", "-")
            if found * width % wide:
                raise GradInitError(
                    f"{flag}: {name} {found} in proportion is {found * width / wide:g}; give "
                    "widths that go into whole numbers"
                )
            _set(narrow, side, kind, found * width // wide)
        heads, embed = _get(narrow, side, HEADS), _get(narrow, side, WIDTHS[0])
        if heads and embed and embed % heads:
            raise GradInitError(
                f"{flag}: --{side}-attention-heads {heads} does not divide the dense width "
                f"{embed}; give fewer heads or another width"
            )
        if _get(narrow, side, "embed_path"):
            _set(narrow, side, "embed_path", None)  # of the wide model
    return narrow


def _get(config: Any, side: str, kind: str) -> Any:
    nested = getattr(config, side, None)
    return (
        getattr(config, f"{side}_{kind}", None) if nested is None else getattr(nested, kind, None)
    )


def _set(config: Any, side: str, kind: str, value: Any) -> None:
    nested = getattr(config, side, None)
    if nested is None:
        setattr(config, f"{side}_{kind}", value)
    else:
        setattr(nested, kind, value)
