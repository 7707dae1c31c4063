"""One colour for an init, in every chart of every grid."""

from __future__ import annotations

import hashlib
import re

# Okabe and Ito's palette for the colour-blind (2008), without yellow, which white paper swallows,
# and further hues of a similar weight.
KNOWN = {
    "none": "#D55E00",
    "gradinit": "#0072B2",
    "default": "#0072B2",  # GradInit's default
    "warmup": "#009E73",
    "preln": "#CC79A7",
    "start": "#56B4E9",
    "paper": "#E69F00",
    "admin": "#7F3C8D",
    "tfixup": "#8C564B",
    "deepnorm": "#4B6A00",
    "rezero": "#B8A200",
    "small": "#E6308A",
    "all": "#000000",  # a grid without inits
}
OTHERS = ["#5F6B6D", "#3A3A98", "#11A579", "#A11D21", "#C56A9B", "#2E7F8E", "#9A7B4F", "#6F5CC4"]


def colours_of(inits: list[str]) -> dict[str, str]:
    """The colour of each init by its name, in the order given.

    A known name (case, - and _ aside) has its own. Any other has the one of OTHERS that its hash
    picks, or the next that is free where two of a grid pick the same. With more names than
    colours, colours repeat.
    """
    found: dict[str, str] = {}
    for init in sorted(inits):
        known = KNOWN.get(re.sub("[-_]", "", init.lower()))
        if known and known not in found.values():  # gradinit beside default
            found[init] = known
    for init in sorted(set(inits) - set(found)):
        found[init] = _free(init, set(found.values()))
    return {init: found[init] for init in inits}


def _free(init: str, taken: set[str]) -> str:
    first = int.from_bytes(hashlib.sha256(init.encode()).digest()[:4], "big")
    order = [OTHERS[(first + step) % len(OTHERS)] for step in range(len(OTHERS))]
    return next((colour for colour in order if colour not in taken), order[0])
