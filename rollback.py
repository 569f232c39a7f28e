"""Go back to the last good release, in steps: pyinfra inventory/prod.py rollback.py

Or to one by name: --data release=<id> (fleet history has them). Settings stay as they are; --dry shows the steps.
"""

from fleet.engine import apply, lock, operations, target
from fleet.engine import beat as bring_beat
from fleet.engine import broker as bring_broker
from fleet.engine import rabbitmq as bring_rabbitmq
from fleet.engine.start import start
from roles import beat, broker, gpu, machine, rabbitmq, worker

run = start(machine, gpu, broker, rabbitmq, worker, beat, takes=["release", "discard_tasks", "abandon_queues", "leave_workers"])
target.select_rollback(run)
lock.acquire(name="Take the lock", run=run, script="rollback.py")

# Prepare: the release is there already, and has to fit what waits in the queues.
apply.prepare_release(run, worker, beat)
bring_broker.accept(run, broker)
bring_rabbitmq.accept(run, rabbitmq)

apply.phase(name="Bring the workers back")
operations.roll_out(run, worker)

apply.phase(name="Bring beat back")
bring_beat.bring(run, beat)
