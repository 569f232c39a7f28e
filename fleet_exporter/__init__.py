"""The fleet for Prometheus: what its workers have counted and what waits in its broker, read from Redis alone.

It runs on the monitor's machine, with Debian's own python3-prometheus-client and python3-redis. Workers are not asked: they say
what they do every few seconds (protocol.SIGNS). Of the rest of the project it knows `fleet_node.protocol` alone.
"""
