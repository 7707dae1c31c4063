"""`language_modeling_gradinit`."""

from dataclasses import dataclass

from fairseq.tasks import register_task
from fairseq.tasks.language_modeling import LanguageModelingConfig, LanguageModelingTask

from ..activations import ActivationConfig
from ..config import GradInitConfig
from ..probes.config import ProbesConfig
from ..sparse_config import SparseConfig
from .activating import ActivatingHook
from .hook import GradInitHook
from .masking import MaskingHook
from .probing import ProbingHook


@dataclass
class LanguageModelingGradInitConfig(
    LanguageModelingConfig, GradInitConfig, SparseConfig, ActivationConfig, ProbesConfig
):
    """fairseq's language modelling with the flags of GradInit."""


@register_task("language_modeling_gradinit", dataclass=LanguageModelingGradInitConfig)
class LanguageModelingGradInitTask(
    ProbingHook, MaskingHook, GradInitHook, ActivatingHook, LanguageModelingTask
):
    """fairseq's language modelling task; without --gradinit it does what the stock task does."""
