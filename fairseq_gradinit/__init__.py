"""GradInit for fairseq: `fairseq-train DATA --user-dir fairseq_gradinit --gradinit …`.

Where fairseq is loaded, as it is for every --user-dir, importing this package registers its parts.
Elsewhere it registers nothing, so that `fairseq_gradinit.gradinit`, the method in plain torch, and
`fairseq_gradinit.files` load no fairseq.
"""

import sys

if "fairseq" in sys.modules:
    from . import plugin  # noqa: F401
