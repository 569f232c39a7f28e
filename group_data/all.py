"""Settings of the whole fleet. What is commented out shows the default; `fleet/spec/` has each with its reason.

group_data/<group>.py of a group with <group>_worker makes that group a worker role: a new role is a new file and no code.
pyinfra replaces values whole and merges no dicts: what a group sets goes before what is here.
"""

# The app: what follows `celery -A`, and where its code is on this machine (a path from here, or an absolute one).
celery_app = "shop.app"
app_source = "examples/shop"

# Its pinned requirements, relative to app_source. What a pool needs besides (gevent, eventlet) is added when it is chosen.
# app_requirements = "requirements.txt"

# Names in app_source that are not shipped (shell patterns).
# app_exclude = [".git", ".venv", "__pycache__", "*.pyc", ".*_cache", "node_modules", ".env*", "secrets", ".lab"]

# Passwords, as NAME=value lines that never leave this machine for git: `fleet secrets secrets/prod.env` makes the file.
# secrets_file = "secrets/prod.env"

# Environment of every worker. No secrets: name those in a role's `secrets`, and their values go in the secrets file.
# environment = {}

# Memory of each machine that fleet.slice leaves to the system: "10%", or "512M". None: a tenth, at least 192M.
# machine_reserve = None

# Releases kept on each machine, to go back to.
# releases_kept = 5

# Seconds after which Redis hands an unacknowledged task to another worker. "auto": what the roles need; "app": as the app has it.
# visibility_timeout = "auto"

# Celery's settings that workers have as the app sets them, e.g. ["task_acks_late"]; the others of these the fleet sets.
# left_to_app = []

# Tasks that are acknowledged as they say, since they must never run twice (and may be lost): names, or patterns.
# at_most_once = []

# Connections that the app's database accepts: given, `fleet lint` counts the processes against it.
# database_max_connections = None

# Rules of `fleet lint` to be silent about, each with the reason: {"single-consumer": "one device is all we have"}.
# lint_ignore = {}

# pyinfra's: log in as any user that may sudo without a password. How: ssh_user, ssh_key, ssh_port, here or for a host.
_sudo = True
