"""Tells `fairseq-hydra-train` of this package's flags before it reads a configuration.

Hydra looks into `hydra_plugins` when it starts; a --user-dir is read too late for that. Other
programs that use Hydra have no fairseq loaded, and are left alone.
"""

import sys

if "fairseq" in sys.modules:
    import fairseq_gradinit.plugin  # noqa: F401
