"""The lab's two ways to end early."""


class LabError(Exception):
    """A mistake or a failure that the user can act on; its text is the whole message."""


class InterruptedByUserError(Exception):
    """SIGINT or SIGTERM arrived; what this call started is to be ended."""
