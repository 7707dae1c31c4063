"""`--init`: other initialisations and residual branches for fairseq's Transformer.

A variant may change the forward pass (`restructure`, each time a model is built), the initial
weights (`initialise`, a model to be trained alone) and what is measured on the first training
batch (`profile`). The name is kept in the model's configuration, and so in every checkpoint:
`fairseq-generate --user-dir fairseq_gradinit` needs no flag, and an ensemble may mix variants.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from omegaconf import OmegaConf, open_dict
from torch import nn

from ..gradinit import GradInitError
from . import (
    admin,
    admin_closed,
    deepnorm,
    peri_ln,
    rezero,
    sigma_reparam,
    small,
    tfixup,
    xavier,
)
from .flags import DEFAULT, NAMES, InitConfig
from .residual import all_layers

__all__ = ["DEFAULT", "NAMES", "VARIANTS", "InitConfig", "Variant", "apply", "profile", "variant"]

# By which the tensors of a variant's layers differ from the stock ones.
MARKS = (
    ".residual_scale",
    "_layer_norm.gate",
    ".parametrizations.",
    ".output_layer_norm.",
    ".self_attn_layer_norm.weight",
)


def _nothing(model: nn.Module) -> None:
    pass


@dataclass(frozen=True)
class Variant:
    """One value of --init.

    restructure: changes the layers of a model just built.
    initialise: fills the weights, given the model and the flags.
    profiles: it also needs `profile`, on weights that are still the initial ones.
    post_ln: its formula is one of Post-LN.
    settle: what it derives from the weights, once more after they were masked.
    folds: a trained checkpoint can be made a stock one (`python -m fairseq_gradinit.init.fold`).
    """

    restructure: Callable[[nn.Module], None] = _nothing
    initialise: Callable[[nn.Module, InitConfig], None] = lambda model, flags: None
    profiles: bool = False
    post_ln: bool = False
    settle: Callable[[nn.Module], None] = _nothing
    folds: bool = False

    @property
    def stock(self) -> bool:
        """Whether its checkpoints decode in fairseq without this package."""
        return self.restructure is _nothing


VARIANTS: dict[str, Variant] = {
    DEFAULT: Variant(),
    "xavier": Variant(initialise=lambda model, _: xavier.initialise(model)),
    "admin": Variant(
        admin.restructure,
        lambda model, _: xavier.initialise(model),
        profiles=True,
        post_ln=True,
        folds=True,
    ),
    "admin_closed": Variant(
        admin_closed.restructure,
        lambda model, _: xavier.initialise(model),
        post_ln=True,
        folds=True,
    ),
    "tfixup": Variant(tfixup.restructure, lambda model, _: tfixup.initialise(model)),
    "deepnorm": Variant(
        deepnorm.restructure,
        lambda model, flags: deepnorm.initialise(
            model, deepnorm.constants_of(model, str(flags.init_deepnorm_beta))
        ),
        post_ln=True,
        folds=True,
    ),
    "rezero": Variant(rezero.restructure),
    "small": Variant(initialise=lambda model, _: small.initialise(model)),
    "peri_ln": Variant(peri_ln.restructure),
    "sigma_reparam": Variant(
        sigma_reparam.restructure,
        lambda model, _: sigma_reparam.initialise(model),
        settle=sigma_reparam.initialise,
        folds=True,
    ),
}


def variant(flags: InitConfig, model_config: Any, from_checkpoint: bool) -> str:
    """The name of the variant to build: a checkpoint's own, or that of --init.

    To be read before fairseq builds the model, which drops what it does not know from a
    checkpoint's configuration.

    Raises:
        GradInitError: the checkpoint is of a variant that this version does not have.
    """
    if not from_checkpoint:
        return str(flags.init)
    name = str(getattr(model_config, "init", None) or DEFAULT)
    if name not in VARIANTS:
        raise GradInitError(
            f"checkpoint with --init {name}: not known to this version of fairseq_gradinit, which "
            f"has {', '.join(NAMES)}; install the version that trained it"
        )
    return name


def apply(
    model: nn.Module, name: str, flags: InitConfig, model_config: Any, from_checkpoint: bool
) -> None:
    """Makes a model just built by fairseq one of the variant `name`.

    Args:
        model: its parameters are changed in place, its layers too where the variant says so.
        name: from `variant`.
        flags: the task's.
        model_config: the one that the model was built from; the name is written into it.
        from_checkpoint: weights will be loaded, so none are drawn.

    Raises:
        GradInitError: the variant does not go with the model.
    """
    chosen = VARIANTS[name]
    if chosen.post_ln:
        _check_post_ln(model, name)
    chosen.restructure(model)
    if not from_checkpoint:
        chosen.initialise(model, flags)
        _remember(model_config, name)


def check_loaded(model: nn.Module, name: str, state: Collection[str]) -> None:
    """Are weights that are to be loaded those of the variant `name`?

    Args:
        model: what `apply` made.
        state: their names.

    Raises:
        GradInitError: one has tensors of some variant, and the other none.
    """
    made = model.state_dict().keys()
    for mark in MARKS:  # that one has at all; how many, the number of layers says too
        holding = {
            whose: next((key for key in keys if mark in key), None)
            for whose, keys in (("checkpoint", state), ("model", made))
        }
        found = [key for key in holding.values() if key]
        if len(found) == 1:
            has, lacks = sorted(holding, key=lambda whose: holding[whose] is None)
            raise GradInitError(
                f"--init {name}: the checkpoint to load is of another --init (the {has} has "
                f"{found[0]}, the {lacks} has not); give the one it was trained with, or another "
                "--save-dir"
            )


def partner(build: Callable[[Any], nn.Module], flags: InitConfig, model_config: Any) -> nn.Module:
    """A model of --init as `apply` leaves a fresh one, that no run is to train.

    Args:
        build: fairseq's, of a configuration, as if weights were to be loaded.
        flags: the task's.
        model_config: its configuration; the name is written into it.

    Raises:
        GradInitError: the variant does not go with the model.
    """
    name = str(flags.init)
    _remember(model_config, name)
    model = build(model_config)
    VARIANTS[name].initialise(model, flags)
    return model


def profile(model: nn.Module, name: str, sample: dict[str, Any]) -> None:
    """What a variant measures on the first training batch: Admin's ω; nothing for others.

    To be called once, on a model with its initial weights, before any optimizer exists.
    sample: a batch as fairseq collates it, on the model's device.
    """
    if VARIANTS[name].profiles:
        admin.profile(model, sample)


def _check_post_ln(model: nn.Module, name: str) -> None:
    if any(layer.normalize_before for layer in all_layers(model)):
        raise GradInitError(
            f"--init {name}: its formula is one of Post-LN, but the model is Pre-LN; leave out "
            "--encoder-normalize-before and --decoder-normalize-before (of language models, only "
            "--arch transformer_lm is Post-LN)"
        )


def _remember(model_config: Any, name: str) -> None:
    """Writes the name where every checkpoint keeps it. Older --arch have a Namespace here."""
    is_node = OmegaConf.is_config(model_config)
    with open_dict(model_config) if is_node else contextlib.nullcontext():
        model_config.init = name
