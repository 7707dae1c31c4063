"""`language_modeling_gradinit`."""

from dataclasses import dataclass

from fairseq.tasks import register_task
from fairseq.tasks.language_modeling import LanguageModelingConfig, LanguageModelingTask

from ..config import GradInitConfig
from ..init import InitConfig
from .hook import GradInitHook


@dataclass
class LanguageModelingGradInitConfig(LanguageModelingConfig, InitConfig, GradInitConfig):
    """fairseq's language modelling with the flags of GradInit."""


@register_task("language_modeling_gradinit", dataclass=LanguageModelingGradInitConfig)
class LanguageModelingGradInitTask(GradInitHook, LanguageModelingTask):
    """fairseq's language modelling task; without --gradinit it does what the stock task does."""
