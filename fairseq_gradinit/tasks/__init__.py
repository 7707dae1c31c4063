"""fairseq tasks that run GradInit before the first update."""

from . import language_modeling, translation  # noqa: F401
