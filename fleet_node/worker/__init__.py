"""The worker's side of the fleet, loaded by `celery worker -I fleet_node.worker`."""

from fleet_node.worker import bootstrap as bootstrap
