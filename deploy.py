"""Deploy the whole fleet: pyinfra inventory/prod.py deploy.py

A contents page: which host gets what, in order. What a role wants is in roles/, the settings are in group_data/.
Run it again at any time: it changes what differs, and nothing else. See first what it would do with --dry.
"""

from fleet.engine import apply, lock, operations
from fleet.engine import beat as bring_beat
from fleet.engine import broker as bring_broker
from fleet.engine import driver as bring_driver
from fleet.engine import monitor as bring_monitor
from fleet.engine import rabbitmq as bring_rabbitmq
from fleet.engine.start import start
from roles import beat, broker, broker_client, driver, flower, gpu, machine, monitor, node_exporter, rabbitmq, worker

run = start(
    *(machine, broker_client, gpu, broker, rabbitmq, worker, beat, monitor, flower, node_exporter),
    takes=["discard_tasks", "abandon_queues", "leave_workers"],
)
lock.acquire(name="Take the lock", run=run, script="deploy.py")

# Prepare: nothing that runs is touched.
bring_driver.bring(run, driver)
apply.bring_roles(run, machine, broker_client, gpu)
apply.prepare_release(run, worker, beat)

apply.phase(name="Bring up the broker")
bring_broker.bring(run, broker)
bring_rabbitmq.bring(run, rabbitmq)

apply.phase(name="Bring up the workers")
operations.roll_out(run, worker)

apply.phase(name="Bring up beat")
bring_beat.bring(run, beat)

apply.phase(name="Bring up the monitor")
bring_monitor.bring(run, monitor, flower, node_exporter)

apply.phase(name="Settle the passwords of the broker")
bring_broker.settle(run, broker)
bring_rabbitmq.settle(run, rabbitmq)
