"""The error that a user can mend: every other error of `fleet` is a defect."""

from __future__ import annotations


class FleetError(Exception):
    """A mistake of the user's, or a machine that does not answer. str() is what the user reads: no traceback is shown.

    exit_code: with which the `fleet` command ends. Every error class for users derives from this one, so that no command can
    forget it.
    """

    exit_code = 1
