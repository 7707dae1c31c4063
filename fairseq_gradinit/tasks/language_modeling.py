"""`language_modeling_gradinit`."""

from dataclasses import dataclass

from fairseq.tasks import register_task
from fairseq.tasks.language_modeling import LanguageModelingConfig, LanguageModelingTask

from ..config import GradInitConfig
from ..probes.config import ProbesConfig
from ..sparse_config import SparseConfig
from .hook import GradInitHook
from .masking import MaskingHook
from .probing import ProbingHook


@dataclass
class LanguageModelingGradInitConfig(
    LanguageModelingConfig, GradInitConfig, SparseConfig, ProbesConfig
):
    """fairseq's language modelling with the flags of GradInit."""


@register_task("language_modeling_gradinit", dataclass=LanguageModelingGradInitConfig)
class LanguageModelingGradInitTask(ProbingHook, MaskingHook, GradInitHook, LanguageModelingTask):
    """fairseq's language modelling task; without --gradinit it does what the stock task does."""
