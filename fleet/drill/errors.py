"""Why a drill ends early."""


class DrillError(Exception):
    """The drill cannot go on. str() is what the user reads."""
