"""`translation_gradinit`, and `translation` itself once the user-dir is loaded."""

from dataclasses import dataclass

from fairseq.tasks import TASK_DATACLASS_REGISTRY, TASK_REGISTRY, register_task
from fairseq.tasks.translation import TranslationConfig, TranslationTask

from ..activations import ActivationConfig
from ..config import GradInitConfig
from ..probes.config import ProbesConfig
from ..sparse_config import SparseConfig
from .activating import ActivatingHook
from .hook import GradInitHook
from .masking import MaskingHook
from .probing import ProbingHook


@dataclass
class TranslationGradInitConfig(
    TranslationConfig, GradInitConfig, SparseConfig, ActivationConfig, ProbesConfig
):
    """fairseq's translation with the flags of GradInit."""


@register_task("translation_gradinit", dataclass=TranslationGradInitConfig)
class TranslationGradInitTask(
    ProbingHook, MaskingHook, GradInitHook, ActivatingHook, TranslationTask
):
    """fairseq's translation task; without --gradinit it does what the stock task does."""


# So that --gradinit works with no --task. Checkpoints still say `translation`, and decode
# where this package is not installed.
del TASK_REGISTRY["translation"], TASK_DATACLASS_REGISTRY["translation"]


@register_task("translation", dataclass=TranslationGradInitConfig)
class DefaultTranslationTask(TranslationGradInitTask):
    """`translation_gradinit` under the stock name."""
