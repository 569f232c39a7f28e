"""The monitor's settings."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from fleet.spec.alerts import Alerts
from fleet.spec.fields import Model, setting
from fleet.spec.sizes import SizeOrShare
from fleet.spec.sources import OURS, SYSTEMD
from fleet.spec.values import Line, Variable, Whole


class Monitor(Model):
    """Prometheus, Alertmanager and the fleet's exporter: `monitor` in `group_data/monitor.py`."""

    listen: Literal["loopback", "lan"] = setting(
        "Where Prometheus and Alertmanager listen: on 127.0.0.1, or on the host's lan_address in place of it.",
        why="Neither asks for a password. From your machine: ssh -L 9090:127.0.0.1:9090 HOST.",
        source=OURS,
        default="loopback",
    )
    scrape_seconds: Annotated[Whole, Field(ge=10, le=60)] = setting(
        "Seconds between two readings of the fleet.",
        why="Workers write down what they do every ten seconds. A reading takes eight Redis commands, and two a queue.",
        source=OURS,
        unit="seconds",
        default=15,
    )
    retention_days: Whole = setting(
        "Days for which Prometheus keeps what it has read.",
        why="Two weeks show a weekday beside the same one before. Ten queues and ten workers take some 50 MB.",
        source=OURS,
        unit="days",
        default=15,
        gt=0,
        le=3650,
    )
    memory_max: SizeOrShare = setting(
        "MemoryMax of Prometheus.",
        why="Workers on the same machine must not pay for a query that reads too much.",
        source=SYSTEMD,
        unit="bytes, or a share of the machine's memory",
        default="25%",
    )
    webhook: Variable | None = setting(
        "Name of the secret that holds the URL to which Alertmanager posts alerts. None: alerts are only shown.",
        why="Most chat and paging services take such a URL, and who knows it may post.",
        source=OURS,
        default=None,
        shown="`None`",
    )
    alertmanager_file: Line | None = setting(
        "A configuration of Alertmanager's on the control machine, in place of ours.",
        why="Mail, routes and silences of your own. It may hold secrets: keep it out of git.",
        source=OURS,
        default=None,
        shown="`None` (ours)",
    )
    node_exporter: Literal["no", "monitor", "all"] = setting(
        'Machines whose CPU, disks and memory Prometheus reads: none, the monitor\'s own, or "all": then each of them needs a '
        "lan_address, on which it answers.",
        why="It asks for no password, and on other machines than its own Prometheus reaches it only if it listens on the LAN.",
        source=OURS,
        default="monitor",
    )
    grafana: bool = setting(
        "Whether the dashboard and its data source are written where a Grafana on this machine looks for them.",
        why="Debian has no Grafana: install it from its own repository.",
        source=OURS,
        default=False,
    )
    flower: bool = setting(
        "Whether Flower runs there, to look at single tasks and to act on them: behind Caddy with TLS, on port 5556 of where "
        "Prometheus listens. The user is flower; the secret FLOWER_PASSWORD is the password.",
        why="Who is logged in may revoke tasks and stop workers. It runs without task events, which cost a third of the "
        "throughput of short tasks: it shows workers, and no history of tasks.",
        source="flower 2.2.0, --enable_events; measured",
        default=False,
    )
    balance: bool = setting(
        "Whether a service moves capacity to where tasks wait longer than `slo` allows, as `fleet balance --watch --apply` does.",
        why="It has the worker's user of the broker, since it tells workers what to consume. Moves are in `fleet history`.",
        source=OURS,
        default=False,
    )
    alerts: Alerts = setting(
        "When alerts fire; see below.", why="Thresholds differ by fleet.", source=OURS, default=Alerts(), shown="see below"
    )
