"""Prometheus, Alertmanager and the fleet's exporter, on the host in the group monitor. Commented lines show the defaults."""

monitor = {
    # Where Prometheus and Alertmanager listen: "loopback" or "lan". Neither asks for a password.
    # "listen": "loopback",
    # "scrape_seconds": 15,
    # "retention_days": 15,
    # "memory_max": "25%",
    # Name of the secret that holds the URL to which alerts are posted; None: they are only shown.
    # "webhook": None,
    # A configuration of Alertmanager's on this machine, in place of ours.
    # "alertmanager_file": None,
    # Machines whose CPU, disks and memory are read: "no", "monitor", or "all" (each needs a lan_address).
    # "node_exporter": "monitor",
    # Whether our dashboard is written where a Grafana on that machine looks for it.
    # "grafana": False,
    # Whether Flower runs there, behind TLS and a password (FLOWER_PASSWORD in the secrets file).
    # "flower": False,
    # Whether a service moves capacity to where tasks wait longer than the setting slo allows.
    # "balance": False,
    # When alerts fire: docs/settings.md.
    # "alerts": {},
}
