"""Commands of the user's own around a rollout: `hooks = {…}` in `group_data/all.py`."""

from __future__ import annotations

from fleet.spec.fields import Model, setting
from fleet.spec.sources import OURS
from fleet.spec.values import Command, Seconds


class Hook(Model):
    """One command, and how long it may take."""

    command: Command = setting("A command, as a shell takes it.", why="Most hooks are one line.", source=OURS)
    timeout: Seconds = setting(
        "Seconds after which the command is killed, and the hook has failed.",
        why="A deploy that waits for a lock of the database should not wait for ever.",
        source=OURS,
        default=600,
        unit="seconds",
    )


class Hooks(Model):
    """When commands run."""

    before_rollout: Hook | None = setting(
        "Before the first step of a deploy, once, on one machine with workers: migrations.",
        why="It has the new release and the environment of the workers. If it fails, nothing goes down.",
        source=OURS,
        default=None,
    )
    after_rollout: Hook | None = setting(
        "After the last step of a deploy that went well, on the same machine.",
        why="All workers run the new release by then. If it fails, the deploy has failed; the workers stay as they are.",
        source=OURS,
        default=None,
    )
    on_failure: Hook | None = setting(
        "On the control machine, if a deploy, a rollback or a restart has failed or was interrupted: a notification.",
        why="It gets FLEET_SCRIPT, FLEET_INVENTORY, FLEET_OUTCOME and FLEET_ERRORS (a line each) as environment variables.",
        source=OURS,
        default=None,
    )
