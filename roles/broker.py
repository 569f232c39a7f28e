"""The Redis broker."""

from __future__ import annotations

from fleet.plan.plan import broker_memory
from fleet.spec.fleet import Host
from fleet.spec.secrets import BROKER_ADMIN, accepted
from fleet.state import redis_configuration, redis_users
from fleet.state.desired import Directory, File, State, Unit, revision
from fleet.state.observed import ObservedMachine
from fleet.state.paths import UNITS as UNIT_FOLDER
from fleet.state.redis_users import Users
from fleet.state.render import render
from fleet.state.role import RunView

UNIT = "redis-server.service"
CONFIGURATION, USERS_FILE = redis_configuration.PATH, redis_configuration.USERS_PATH
TLS_FOLDER, TLS_FILES = redis_configuration.TLS_FOLDER, redis_configuration.TLS_PATHS
OVERRIDES = f"{UNIT_FOLDER}/{UNIT}.d"
OVERRIDE = f"{OVERRIDES}/fleet.conf"

PACKAGES = ("redis-server",)
PATHS = (CONFIGURATION, USERS_FILE, TLS_FOLDER, *TLS_FILES, OVERRIDES, OVERRIDE)
UNITS = (UNIT,)


def refuse_others_data(configuration: str = "/etc/redis/redis.conf", data: str = "/var/lib/redis", port: int = 6379) -> str:
    """sh that fails if another Redis has data here. To be run before our configuration is written for the first time."""
    return f"""
refuse() {{
  echo "this machine has a Redis $1, which our configuration (append-only file) would not load; move it away first" >&2
  exit 1
}}
# A Redis that does not report its number of keys (it asks for a password, or is on another port) may have any.
if pidof redis-server >/dev/null; then
  keys=$(redis-cli -p {port} dbsize 2>/dev/null)
  case $keys in
    0) ;;
    '' | *[!0-9]*) refuse "that does not answer here as a new one does (${{keys:-nothing on port {port}}}): it may have data" ;;
    *) refuse "with $keys keys" ;;
  esac
fi
own=$(sed -n 's/^[[:space:]]*dir[[:space:]]*//p' {configuration} 2>/dev/null | tail -n 1 | tr -d '"')
for folder in {data} "$own"; do
  [ -d "$folder" ] || continue
  for file in "$folder"/*.rdb; do
    # An empty snapshot has some 90 bytes.
    [ -d "$folder/appendonlydir" ] || [ "$(stat -c %s "$file" 2>/dev/null || echo 0)" -le 200 ] || refuse "with data in $file"
  done
  # What Redis 6 and earlier wrote.
  [ ! -s "$folder/appendonly.aof" ] || refuse "with data in $folder/appendonly.aof"
done
"""


def is_ours(observed: ObservedMachine) -> bool:
    """Whether an earlier deploy configured this machine's Redis."""
    return USERS_FILE in observed.paths


def desired(run: RunView, host: Host) -> State:
    """Redis from the distribution, with our configuration, on the broker's host.

    A change in any file changes the revision, unless it is one of comments, or of passwords alone: those are brought to the
    server as it runs.
    """
    fleet, secrets, settings = run.fleet, run.secrets, run.fleet.redis
    if host.name != fleet.broker_host or settings is None:
        return State()
    memory = run.observed[host.name].memory
    configuration = redis_configuration.configuration(settings, fleet.broker_address, memory)
    limits = {"memory_max": broker_memory(fleet, host, memory), "open_files": settings.maxclients + 1024}
    template = f"{OVERRIDE.lstrip('/')}.j2"
    tls = _tls(run) if settings.tls else State()
    contents = (
        configuration,
        redis_users.rights(),
        render(template, **limits, revision=""),
        *(file.content for file in tls.files),
    )
    digest = revision(*map(without_comments, contents))
    return tls + State(
        packages=PACKAGES,
        directories=(Directory(OVERRIDES),),
        files=(
            File(CONFIGURATION, configuration, mode=0o640, owner="redis", group="redis"),
            File(USERS_FILE, redis_users.acl(secrets), mode=0o640, owner="redis", group="redis"),
            File(OVERRIDE, render(template, **limits, revision=digest)),
        ),
        units=(Unit(UNIT, digest),),
        only=TLS_FILES,
    )


def users(run: RunView, host: Host) -> Users | None:
    """The users of the Redis on a host, which change while it runs; None if there is none."""
    file = next((file for file in desired(run, host).files if file.path == USERS_FILE), None)
    settings = run.fleet.redis
    if file is None or settings is None:
        return None
    authorities = "" if settings.port in settings.ports else TLS_FILES[0]
    port = settings.tls_port if authorities else settings.port
    return Users(file.path, file.content, port, tuple(accepted(run.secrets, BROKER_ADMIN)), authorities)


def _tls(run: RunView) -> State:
    """The authority, the server's certificate, and its key."""
    given = run.certificates
    contents = (given.authorities, given.certificate, given.key)
    files = [File(path, content, mode=0o640, group="redis") for path, content in zip(TLS_FILES, contents, strict=True)]
    return State(directories=(Directory(TLS_FOLDER, mode=0o750, group="redis"),), files=tuple(files))


def without_comments(configuration: bytes) -> bytes:
    """A configuration as Redis reads it: a comment that changes is no reason to restart it."""
    return b"\n".join(line for line in configuration.splitlines() if line and not line.startswith(b"#"))
