"""The Redis broker."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256

from fleet.plan.plan import broker_memory
from fleet.spec.fleet import Fleet
from fleet.spec.secrets import BROKER_MONITOR, BROKER_WORKER
from fleet.spec.sizes import resolve
from fleet.state.desired import Directory, File, State, Unit
from fleet.state.observed import ObservedMachine
from fleet.state.render import render

UNIT = "redis-server.service"
PACKAGES = ("redis-server",)


def refuse_others_data(configuration: str = "/etc/redis/redis.conf", data: str = "/var/lib/redis", port: int = 6379) -> str:
    """sh that fails where another Redis has data here. To be run before our configuration is written for the first time."""
    return f"""
refuse() {{
  echo "this machine has a Redis $1, which our configuration (append-only file) would not load; move it away first" >&2
  exit 1
}}
# One that does not say how many keys it has (it asks for a password, or is on another port) may have any.
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


def is_ours(seen: ObservedMachine) -> bool:
    """Whether an earlier deploy configured this machine's Redis."""
    return "/etc/redis/users.acl" in seen.paths


def desired(fleet: Fleet, secrets: Mapping[str, str], seen: ObservedMachine) -> State:
    """Redis from the distribution, with our configuration. A change in any of its files changes the revision."""
    settings = fleet.broker
    configuration = render(
        "etc/redis/redis.conf.j2",
        address=fleet.broker_address,
        port=settings.port,
        maxmemory=resolve(settings.maxmemory, seen.memory),
        maxclients=settings.maxclients,
        maxmemory_policy=settings.maxmemory_policy,
        appendonly="yes" if settings.appendonly else "no",
    )
    users = render(
        "etc/redis/users.acl.j2",
        worker=sha256(secrets[BROKER_WORKER].encode()).hexdigest(),
        monitor=sha256(secrets[BROKER_MONITOR].encode()).hexdigest(),
    )
    limits = {"memory_max": broker_memory(fleet, seen.memory), "open_files": settings.maxclients + 1024}
    override = "etc/systemd/system/redis-server.service.d/fleet.conf.j2"
    revision = sha256(b"\0".join((configuration, users, render(override, **limits, revision="")))).hexdigest()[:12]
    return State(
        packages=PACKAGES,
        directories=(Directory("/etc/systemd/system/redis-server.service.d"),),
        files=(
            File("/etc/redis/redis.conf", configuration, mode=0o640, owner="redis", group="redis"),
            File("/etc/redis/users.acl", users, mode=0o640, owner="redis", group="redis"),
            File("/" + override.removesuffix(".j2"), render(override, **limits, revision=revision)),
        ),
        units=(Unit(UNIT, revision),),
    )
