"""Why a step stops."""


class StepError(Exception):
    """The step cannot go on. str() says why."""


class GateError(StepError):
    """The gate did not answer. str() says why."""
