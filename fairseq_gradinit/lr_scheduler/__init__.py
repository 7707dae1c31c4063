"""Learning-rate schedules; importing this registers them."""

from . import catapult, inverse_sqrt_nowarmup  # noqa: F401
