"""The RabbitMQ broker: one node, or three that keep every queue of the fleet together."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from typing import Any

from fleet.plan.plan import Plan, broker_memory
from fleet.spec.fleet import Host
from fleet.spec.rabbitmq import MANAGEMENT_PORT, UNIT, VHOST, account, node
from fleet.spec.secrets import BROKER_MONITOR, BROKER_WORKER, COOKIE, accepted
from fleet.spec.sizes import resolve
from fleet.state.desired import Directory, File, State, Unit, revision
from fleet.state.observed import ObservedMachine
from fleet.state.paths import UNITS as UNIT_FOLDER
from fleet.state.render import render
from fleet.state.role import RunView
from fleet_node.protocol import DEAD_LETTERS, DEAD_LETTERS_ARGUMENTS
from roles.broker import without_comments

FOLDER = "/etc/rabbitmq"
CONFIGURATION, ENVIRONMENT, PLUGINS = f"{FOLDER}/rabbitmq.conf", f"{FOLDER}/rabbitmq-env.conf", f"{FOLDER}/enabled_plugins"
DEFINITIONS = f"{FOLDER}/fleet-definitions.json"
COOKIE_FILE = "/var/lib/rabbitmq/.erlang.cookie"
DATA = "/var/lib/rabbitmq/mnesia"
TLS_FOLDER = f"{FOLDER}/tls"
TLS_FILES = tuple(f"{TLS_FOLDER}/{name}" for name in ("ca.pem", "broker.pem", "broker.key"))
OVERRIDES = tuple(f"{UNIT_FOLDER}/{unit}.d" for unit in (UNIT, "epmd.socket"))
OVERRIDE, SOCKET = (f"{folder}/fleet.conf" for folder in OVERRIDES)

PACKAGES = ("rabbitmq-server",)
PATHS = (CONFIGURATION, ENVIRONMENT, PLUGINS, DEFINITIONS, COOKIE_FILE, TLS_FOLDER, *TLS_FILES, *OVERRIDES, OVERRIDE, SOCKET)
UNITS = (UNIT,)

OPEN_FILES = 65536
PATIENCE = 600
"""Seconds for a node to be up, and for its queues to be whole."""
LOOK = 30
"""Seconds of one look whether it is up, at most."""
LARGEST_WAL = 512 << 20
"""RabbitMQ's own size of the log that quorum queues write first, in bytes."""
WAL_SHARE = 6
"""The log is in memory up to three times, of which there should be as much left for everything else."""
BACKSTOP = {
    "delivery-limit": 100,
    "dead-letter-exchange": "",
    "dead-letter-routing-key": DEAD_LETTERS,
    "dead-letter-strategy": "at-least-once",
    "overflow": "reject-publish",
}
"""For tasks whose receipt alone kills a worker. Far above max_deliveries, since it counts innocent returns as well."""
PERMISSIONS: dict[str, Mapping[str, str]] = {
    # The virtual host has nothing but the fleet's, and an app declares the queues and exchanges that it likes.
    "worker": {"configure": ".*", "write": ".*", "read": ".*"},
    # It asks workers by remote control; lengths of queues need no permission.
    "monitor": dict.fromkeys(("configure", "write", "read"), r"^.*celery\.pidbox$"),
}


def is_ours(observed: ObservedMachine) -> bool:
    """Whether an earlier deploy configured this machine's RabbitMQ."""
    return DEFINITIONS in observed.paths


def refuse_others_data(folder: str = DATA) -> str:
    """sh that fails if another RabbitMQ has data here. To be run before our configuration is written for the first time."""
    return f"""
for data in {folder}/*@*; do
  # A file a queue, of classic queues and of quorum queues: a new node has none.
  if [ -n "$(find "$data" -path '*/queues/*' -o -path '*/quorum/*/*/*' 2>/dev/null | head -n 1)" ]; then
    echo "this machine has a RabbitMQ with queues in $data, which our configuration would not load; move it away first" >&2
    exit 1
  fi
done
"""


def clear() -> str:
    """sh that stops a RabbitMQ without data that was here before, and Erlang's directory of nodes, which listens everywhere until
    it is started again with our settings."""
    return f"systemctl stop {UNIT} epmd.socket epmd.service 2>/dev/null || true"


def desired(run: RunView, host: Host) -> State:
    """RabbitMQ from the distribution, with our configuration, on each of the broker's hosts.

    A change in any file changes the revision, but for one in the definitions: a node that runs is told of those.
    """
    fleet, settings = run.fleet, run.fleet.rabbitmq
    if settings is None or host.name not in fleet.broker_hosts:
        return State()
    total, address = run.observed[host.name].memory, fleet.address_of(host.name)
    memory = resolve(settings.memory, total)
    configuration = render(
        "etc/rabbitmq/rabbitmq.conf.j2",
        address=address,
        port=settings.port if settings.port in settings.ports else 0,
        tls_port=settings.tls_port if settings.tls else 0,
        tls_files=TLS_FILES,
        management_port=MANAGEMENT_PORT,
        definitions=DEFINITIONS,
        memory=memory,
        disk_free=resolve(settings.disk_free, total),
        wal_size=min(LARGEST_WAL, memory // WAL_SHARE),
        consumer_timeout=run.plan.consumer_timeout * 1000,
        nodes=nodes(run),
    )
    environment = render("etc/rabbitmq/rabbitmq-env.conf.j2", node=node(address), address=address)
    plugins = b"[rabbitmq_management].\n"
    cookie = run.secrets[COOKIE].encode()
    limits = {"memory_max": broker_memory(fleet, host, total), "open_files": OPEN_FILES, "definitions": DEFINITIONS}
    template = f"{OVERRIDE.lstrip('/')}.j2"
    tls = _tls(run) if settings.tls else State()
    parts = (configuration, environment, plugins, cookie, render(template, **limits, revision=""))
    digest = revision(*map(without_comments, parts), *(file.content for file in tls.files))
    return (
        tls
        + _socket(run, host)
        + State(
            packages=PACKAGES,
            files=(
                File(CONFIGURATION, configuration, mode=0o640, group="rabbitmq"),
                File(ENVIRONMENT, environment),
                File(PLUGINS, plugins),
                File(COOKIE_FILE, cookie, mode=0o400, owner="rabbitmq", group="rabbitmq"),
                File(OVERRIDE, render(template, **limits, revision=digest)),
                definitions_file(run),
            ),
            units=(Unit(UNIT, digest),),
            only=TLS_FILES,
        )
    )


def first(run: RunView, host: Host) -> State:
    """What has to be there before the package is: it starts RabbitMQ as it is installed, and Erlang's directory of nodes."""
    limits = {"memory_max": broker_memory(run.fleet, host, run.observed[host.name].memory), "open_files": OPEN_FILES}
    override = render(f"{OVERRIDE.lstrip('/')}.j2", **limits, definitions=DEFINITIONS, revision="")
    return _socket(run, host) + State(files=(File(OVERRIDE, override),))


def _socket(run: RunView, host: Host) -> State:
    content = render(f"{SOCKET.lstrip('/')}.j2", address=run.fleet.address_of(host.name))
    return State(directories=tuple(map(Directory, OVERRIDES)), files=(File(SOCKET, content),))


def reach(nodes: list[str]) -> str:
    """sh that waits until this machine reaches one of these nodes. It fails if it does not: a new node that sees no other begins
    a cluster of its own, and does not join later."""
    connect = "import socket, sys; socket.create_connection((sys.argv[1], 25672), 3).close()"
    addresses = [name.partition("@")[2] for name in nodes]
    return f"""
end=$(($(date +%s) + {LOOK}))
while [ "$(date +%s)" -lt $end ]; do
  for address in {" ".join(addresses)}; do
    python3 -c {shlex.quote(connect)} "$address" 2>/dev/null && exit 0
  done
  sleep 2
done
echo "RabbitMQ is not started here, since it would be a cluster of its own: this host does not reach" \\
  "{" or ".join(addresses)} on port 25672; it needs that and 4369" >&2
exit 1
"""


def wait_until_whole(number: int) -> str:
    """sh that waits until this node has started and so many nodes are up. It fails if they do not come."""
    hint = f"journalctl -u {UNIT}"
    if number > 1:
        hint += ", and whether these hosts reach each other on ports 4369 and 25672"
    return f"""
end=$(($(date +%s) + {PATIENCE}))
while [ "$(date +%s)" -lt $end ]; do
  rabbitmqctl -q await_startup --timeout {LOOK} >/dev/null 2>&1 &&
    rabbitmqctl -q await_online_nodes {number} --timeout {LOOK} >/dev/null 2>&1 && exit 0
  sleep 2
done
echo "not {number} nodes of RabbitMQ are up: see {hint}" >&2
exit 1
"""


def spread(nodes: list[str]) -> str:
    """sh that has every quorum queue on all nodes: a queue stays on those that there were when it was declared."""
    return " && ".join(f"rabbitmq-queues -q grow {name} all >/dev/null" for name in nodes)


def wait_until_spare(nodes: list[str]) -> str:
    """sh that waits until all nodes of the cluster are up, and every queue has a majority without this one. It fails if that does
    not come."""
    whole = "import json, sys; s = json.load(sys.stdin); sys.exit(sorted(s['disk_nodes']) != sorted(s['running_nodes']))"
    return f"""
end=$(($(date +%s) + {PATIENCE}))
while [ "$(date +%s)" -lt $end ]; do
  if rabbitmqctl -q --formatter json cluster_status | python3 -c {shlex.quote(whole)} 2>/dev/null; then
    reason="its queues cannot be on all of {", ".join(nodes)}; deploy without --limit if one of them is not there yet"
    {{ {spread(nodes)}; }} &&
      reason=$(rabbitmq-diagnostics -q check_if_node_is_quorum_critical 2>&1) && exit 0
  else
    reason="a node of the cluster is down"
  fi
  sleep 2
done
echo "RabbitMQ is not stopped here: $reason" >&2
exit 1
"""


def accept() -> str:
    """sh that brings the definitions on its stdin to a node that runs, besides what it has."""
    return "rabbitmqctl -q import_definitions"


def settle(run: RunView) -> str:
    """sh that does the same, takes away users that are not among them, and keeps them in their file. Who is connected as one of
    those users is disconnected. All nodes of a cluster do so at once: a user that another node has just deleted is no error."""
    digits = "[0-9a-f]" * 6  # of `account`: users that somebody else has made stay
    kept = "|".join(shlex.quote(user.name) for users in accounts(run.secrets).values() for user in users)
    return f"""
set -e
users() {{
  listed=$(rabbitmqctl -q list_users --no-table-headers) && echo "$listed" | cut -f 1
}}
delete() {{
  error=$(rabbitmqctl -q delete_user "$1" 2>&1) && return
  left=$(users)
  ! echo "$left" | grep -qxF "$1" || {{ echo "$error" >&2; exit 1; }}
}}
new=$(mktemp {FOLDER}/.fleet-definitions.XXXXXX)
trap 'rm -f "$new"' EXIT
cat >"$new"
rabbitmqctl -q import_definitions <"$new"
there=$(users)
for user in $there; do
  case $user in
    {kept}) ;;
    worker-{digits} | monitor-{digits} | guest) delete "$user" ;;
  esac
done
chown root:rabbitmq "$new"
chmod 0640 "$new"
mv "$new" {DEFINITIONS}
"""


def nodes(run: RunView) -> list[str]:
    """The names of all nodes."""
    return [node(run.fleet.address_of(name)) for name in run.fleet.broker_hosts]


def definitions_file(run: RunView) -> File:
    """What is in RabbitMQ before any worker is. It has hashes of passwords."""
    content = json.dumps(definitions(run.plan, run.secrets), indent=1, sort_keys=True).encode() + b"\n"
    return File(DEFINITIONS, content, mode=0o640, group="rabbitmq")


def accounts(secrets: Mapping[str, str]) -> dict[str, list[Any]]:
    """Role → its users, one for each password that is accepted, in an order that does not depend on which is the present one."""
    names = {"worker": BROKER_WORKER, "monitor": BROKER_MONITOR}
    return {role: [account(role, password) for password in sorted(accepted(secrets, name))] for role, name in names.items()}


def definitions(plan: Plan, secrets: Mapping[str, str]) -> dict[str, Any]:
    """The virtual host, users with their permissions, the policy on the app's queues, and the queue of dead letters."""
    users = [(role, user) for role, accepted_users in accounts(secrets).items() for user in accepted_users]
    return {
        "vhosts": [{"name": VHOST}],
        "users": [
            {
                "name": user.name,
                "password_hash": user.password_hash,
                "hashing_algorithm": "rabbit_password_hashing_sha256",
                "tags": "monitoring" if role == "monitor" else "",
            }
            for role, user in users
        ],
        "permissions": [{"vhost": VHOST, "user": user.name, **PERMISSIONS[role]} for role, user in users],
        "policies": [
            {
                "vhost": VHOST,
                "name": "fleet",
                "pattern": f"^({'|'.join(map(re.escape, sorted(plan.consumers)))})$",
                "apply-to": "queues",
                "definition": BACKSTOP,
                "priority": 0,
            }
        ],
        "queues": [
            {
                "vhost": VHOST,
                "name": DEAD_LETTERS,
                "durable": True,
                "auto_delete": False,
                "arguments": DEAD_LETTERS_ARGUMENTS,
            }
        ],
    }


def _tls(run: RunView) -> State:
    """The authority, the server's certificate, and its key."""
    given = run.certificates
    contents = (given.authorities, given.certificate, given.key)
    files = [File(path, content, mode=0o640, group="rabbitmq") for path, content in zip(TLS_FILES, contents, strict=True)]
    return State(directories=(Directory(TLS_FOLDER, mode=0o750, group="rabbitmq"),), files=tuple(files))
