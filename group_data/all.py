"""Settings of the whole fleet. Lines that are commented out show the defaults; docs/settings.md has the reason for each.

A file group_data/<group>.py with <group>_worker makes that group a worker role: a new role is a new file, and no code.
pyinfra replaces a value as a whole and does not merge dicts: a value in a group's file replaces the value in this file.
"""

# The app, as `celery -A` takes it, and the folder of its code on this machine: a path from here, or an absolute path.
celery_app = "shop.app"
app_source = "examples/shop"

# Its pinned requirements, relative to app_source: requirements.txt, uv.lock, poetry.lock or pylock.toml. The packages of a pool
# (gevent, eventlet) are added if a role uses that pool.
# app_requirements = "requirements.txt"

# Names in app_source that are not shipped; shell patterns.
# app_exclude = [".git", ".venv", "__pycache__", "*.pyc", ".*_cache", "node_modules", ".env*", "secrets", ".lab"]

# File on this machine with passwords, as NAME=value lines. It stays out of git. `fleet secrets secrets/prod.env` creates it.
# secrets_file = "secrets/prod.env"

# Environment variables of every worker. Do not put secrets here: name them in a role's `secrets`; secrets_file has the values.
# environment = {}

# Memory of each machine that fleet.slice leaves to the system, e.g. "10%" or "512M". None: 10%, at least 192M.
# machine_reserve = None

# Releases that stay on each machine. A rollback goes to one of them.
# releases_kept = 5

# Seconds after which the tasks of a worker without a sign of life go to other workers, 15 to 3600. None: no lease.
# lease = 60

# Seconds after which an unacknowledged task of a consumer without a lease comes back. "auto": as the roles need; "app": as the
# app sets it.
# visibility_timeout = "auto"

# Where results go: "broker" (of a Redis), "app" (as the app sets it), "none", or a secret with a URL such as "@RESULT_URL".
# result_backend = "broker"

# The host that keeps the lock and the history. None: the broker's host; the first of the inventory if the broker is not ours.
# records_host = None

# Celery settings that workers take from the app, e.g. ["task_acks_late"]. The fleet sets those that you do not name.
# left_to_app = []

# Tasks that must never run twice, and may be lost: names, or patterns. They keep their own acks_late setting.
# at_most_once = []

# Connections that the app's database accepts. If it is set, `fleet lint` counts the processes against it.
# database_max_connections = None

# Seconds that a task may wait, by queue, e.g. {"default": 10, "reports": 600}. Alerts and `fleet top` compare with it.
# slo = {}

# Your own commands before_rollout, after_rollout and on_failure: {"before_rollout": {"command": "python -m shop.migrate"}}.
# hooks = {}

# Rules of `fleet lint` to silence, each with the reason: {"single-consumer": "one device is all we have"}.
# lint_ignore = {}

# For pyinfra: log in as any user that may use sudo without a password. ssh_user, ssh_key and ssh_port work here or for a host.
_sudo = True
