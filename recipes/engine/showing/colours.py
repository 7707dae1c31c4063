"""One colour for an init, in every chart of every grid."""

from __future__ import annotations

import hashlib

# Okabe and Ito's palette for the colour-blind (2008), without yellow, which white paper swallows.
KNOWN = {
    "none": "#D55E00",
    "gradinit": "#0072B2",
    "default": "#0072B2",  # GradInit's default
    "warmup": "#009E73",
    "pre-ln": "#CC79A7",
    "start": "#56B4E9",
    "paper": "#E69F00",
    "all": "#000000",  # a grid without inits
}
# Further names take one of these, the same one always unless another of the grid has it.
OTHERS = ["#7F3C8D", "#8C564B", "#4B6A00", "#B8A200", "#E6308A", "#5F6B6D", "#11A579", "#3A3A98"]


def colours_of(inits: list[str]) -> dict[str, str]:
    """The colour of each init by its name, in the order given.

    A known name (case and _ for - aside) always has its own; any other name has the one that its
    hash picks, or the next that is free. With more unknown names than colours, colours repeat.
    """
    found: dict[str, str] = {}
    for init in sorted(inits):
        known = KNOWN.get(init.lower().replace("_", "-"))
        if known in found.values():  # gradinit beside default
            known = None
        found[init] = known or _free(init, set(found.values()))
    return {init: found[init] for init in inits}


def _free(init: str, taken: set[str]) -> str:
    first = int.from_bytes(hashlib.sha256(init.encode()).digest()[:4], "big")
    order = [OTHERS[(first + step) % len(OTHERS)] for step in range(len(OTHERS))]
    return next((colour for colour in order if colour not in taken), order[0])
