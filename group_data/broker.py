"""The Redis broker. Lines that are commented out show the defaults. A RabbitMQ has other settings: docs/settings.md."""

broker = {
    # What the fleet runs; "rabbitmq" on one host, or on three that keep all tasks together (docs/brokers.md).
    # "kind": "redis",
    # "port": 6379,
    # Memory for data. Above it Redis refuses writes; Redis never evicts a task.
    # "maxmemory": "40%",
    # Memory of the whole service: a rewrite of the append-only file can need as much again. None: 85%, at most what
    # machine_reserve leaves.
    # "memory_max": None,
    # "maxclients": 10000,
    # Of those, the connections reserved for producers, monitoring and you.
    # "other_clients": 200,
    # Every policy but noeviction throws tasks away. Without the append-only file a restart loses them. `fleet lint` refuses both.
    # "maxmemory_policy": "noeviction",
    # "appendonly": True,
    # Whether connections are encrypted: True, or "both" as long as some producers are not. First: fleet certificates INVENTORY.
    # "tls": False,
    # "tls_port": 6380,
}
