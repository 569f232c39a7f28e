"""The errors that end a lab command early."""


class LabError(Exception):
    """A mistake or a failure that the user can act on. str() is the whole message."""


class InterruptedByUserError(Exception):
    """SIGINT or SIGTERM arrived: the command ends the processes that it started."""
