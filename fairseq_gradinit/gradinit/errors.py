"""The one exception that a user is meant to read."""


class GradInitError(ValueError):
    """Bad input or a run that cannot go on; the message is one line that names the remedy."""
