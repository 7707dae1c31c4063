"""The one exception that a user is meant to read."""


class GradInitError(ValueError):
    """Bad input or a run that cannot go on; the message is one line that names the remedy.

    Settings stand in it between backticks, as in "`eta`: found 0.0; give a number above 0", so that
    a command line can name its flags in their place.
    """
