"""The Redis broker. Commented out: the defaults."""

broker = {
    # "port": 6379,
    # Of the machine's memory. Redis then refuses to take more; it never evicts a task.
    # "maxmemory": "40%",
    # Of the machine's memory, for the service as a whole: an AOF rewrite needs up to as much again. None: 85%, and no more
    # than machine_reserve leaves.
    # "memory_max": None,
    # "maxclients": 10000,
    # Of those, for producers, monitoring and you.
    # "other_clients": 200,
    # Anything but noeviction throws tasks away, and without the append-only file a restart forgets them: `fleet lint` objects.
    # "maxmemory_policy": "noeviction",
    # "appendonly": True,
}
