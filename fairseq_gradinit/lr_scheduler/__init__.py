"""Learning-rate schedules; importing this registers them."""

from . import inverse_sqrt_nowarmup  # noqa: F401
