"""A deploy with one more role: what deploy.py would say of it."""

from fleet.engine import apply, lock
from fleet.engine.start import start
from roles import machine
from tests.render import exporter

run = start(machine, exporter)
lock.acquire(name="Take the lock", run=run, script="exporter_deploy.py")
apply.bring_roles(run, machine, exporter)
