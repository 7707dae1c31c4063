"""The one exception a user sees."""


class PrepError(Exception):
    """Bad input or surroundings: one line that names what was found, where, and the remedy."""
