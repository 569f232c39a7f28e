"""An example to edit: one broker, three web, two batch and two GPU machines, and one that watches them.

Every list is a group. If group_data/<group>.py has <group>_worker, the group is a worker role. A host may be in several groups.
"""

# One host. A RabbitMQ may have three, and goes on without one of them (docs/brokers.md).
broker = [("broker1.example.com", {"lan_address": "10.0.0.10"})]
web = ["web1.example.com", "web2.example.com", "web3.example.com"]
batch = ["batch1.example.com", "batch2.example.com"]
gpu = ["gpu1.example.com", "gpu2.example.com"]

# Celery's beat, if the app has a schedule (docs/beat.md). One of these leads at a time.
# beat = ["batch1.example.com", "batch2.example.com"]

# Prometheus and its alerts (docs/monitoring.md). Without the group there is no monitor.
monitor = ["monitor1.example.com"]
