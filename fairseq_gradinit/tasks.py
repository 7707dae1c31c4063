"""`translation_gradinit`, `language_modeling_gradinit`, and `translation` itself.

fairseq's tasks with the flags of GradInit; without --gradinit they do what the stock tasks do.
"""

from dataclasses import dataclass

from fairseq.tasks import TASK_DATACLASS_REGISTRY, TASK_REGISTRY, register_task
from fairseq.tasks.language_modeling import LanguageModelingConfig, LanguageModelingTask
from fairseq.tasks.translation import TranslationConfig, TranslationTask

from .activating import ActivatingHook
from .activations import ActivationConfig
from .checked_data import CheckedData
from .first_update import FirstUpdate
from .flags import GradInitConfig
from .hook import GradInitHook
from .init import InitConfig
from .masking import MaskingHook
from .probes.config import ProbesConfig
from .probing import ProbingHook
from .sparse_config import SparseConfig


@dataclass
class TranslationGradInitConfig(
    TranslationConfig, InitConfig, GradInitConfig, SparseConfig, ActivationConfig, ProbesConfig
):
    """fairseq's translation with the flags of GradInit."""


@register_task("translation_gradinit", dataclass=TranslationGradInitConfig)
class TranslationGradInitTask(
    ProbingHook,
    MaskingHook,
    GradInitHook,
    ActivatingHook,
    CheckedData,
    FirstUpdate,
    TranslationTask,
):
    """fairseq's translation task with GradInit before the first update."""


# So that --gradinit works with no --task. Checkpoints still say `translation`, and decode
# where this package is not installed.
del TASK_REGISTRY["translation"], TASK_DATACLASS_REGISTRY["translation"]


@register_task("translation", dataclass=TranslationGradInitConfig)
class DefaultTranslationTask(TranslationGradInitTask):
    """`translation_gradinit` under the stock name."""


@dataclass
class LanguageModelingGradInitConfig(
    LanguageModelingConfig, InitConfig, GradInitConfig, SparseConfig, ActivationConfig, ProbesConfig
):
    """fairseq's language modelling with the flags of GradInit."""


@register_task("language_modeling_gradinit", dataclass=LanguageModelingGradInitConfig)
class LanguageModelingGradInitTask(
    ProbingHook,
    MaskingHook,
    GradInitHook,
    ActivatingHook,
    CheckedData,
    FirstUpdate,
    LanguageModelingTask,
):
    """fairseq's language modelling task with GradInit before the first update."""
