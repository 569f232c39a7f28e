"""pyinfra's own settings for this project (pyinfra reads this file from the working directory)."""

from pyinfra.context import config

from fleet.engine import exits

# One host that cannot be reached, or fails a step, stops the run: a fleet half on one release is found by --limit, not by luck.
config.FAIL_PERCENT = 0

exits.install()
