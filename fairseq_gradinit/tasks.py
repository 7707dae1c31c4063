"""`translation_gradinit`, `language_modeling_gradinit`, and `translation` itself.

fairseq's tasks with the flags of GradInit; without --gradinit they do what the stock tasks do. A
task of one's own gets both in the same way:

    @dataclass
    class MyConfig(TranslationConfig, GradInitFlags): ...

    @register_task("my_task", dataclass=MyConfig)
    class MyTask(GradInitMixin, TranslationTask): ...
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
class GradInitFlags(InitConfig, GradInitConfig, SparseConfig, ActivationConfig, ProbesConfig):
    """All flags of this package, for the configuration of a task that has `GradInitMixin`."""


class GradInitMixin(
    ProbingHook, MaskingHook, GradInitHook, ActivatingHook, CheckedData, FirstUpdate
):
    """All that this package does around a fairseq task, before the task in the bases.

    It extends `build_model`, `build_criterion`, `load_dataset`, `get_batch_iterator`,
    `train_step` and `valid_step`; a task that overrides one of these calls `super()`'s.
    """


@dataclass
class TranslationGradInitConfig(TranslationConfig, GradInitFlags):
    """fairseq's translation with the flags of GradInit."""


@register_task("translation_gradinit", dataclass=TranslationGradInitConfig)
class TranslationGradInitTask(GradInitMixin, TranslationTask):
    """fairseq's translation task with GradInit before the first update."""


# So that --gradinit works with no --task. Checkpoints still say `translation`, and decode
# where this package is not installed.
del TASK_REGISTRY["translation"], TASK_DATACLASS_REGISTRY["translation"]


@register_task("translation", dataclass=TranslationGradInitConfig)
class DefaultTranslationTask(TranslationGradInitTask):
    """`translation_gradinit` under the stock name."""


@dataclass
class LanguageModelingGradInitConfig(LanguageModelingConfig, GradInitFlags):
    """fairseq's language modelling with the flags of GradInit."""


@register_task("language_modeling_gradinit", dataclass=LanguageModelingGradInitConfig)
class LanguageModelingGradInitTask(GradInitMixin, LanguageModelingTask):
    """fairseq's language modelling task with GradInit before the first update."""
