"""GradInit for fairseq: `fairseq-train DATA --user-dir "$(python -m fairseq_gradinit)" --gradinit`.

Where fairseq is loaded, as it is for every --user-dir, importing this package registers its parts.
Elsewhere it registers nothing, so that `fairseq_gradinit.gradinit`, the method in plain torch, and
`fairseq_gradinit.files` load no fairseq. A program that imports those first and runs fairseq's
commands in itself afterwards says `import fairseq_gradinit.plugin`, since fairseq does not load a
--user-dir a second time.
"""

import sys

__version__ = "0.1.0"  # here alone: setup.py and the docs read it

if "fairseq" in sys.modules:
    from . import plugin  # noqa: F401
