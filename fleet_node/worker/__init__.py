"""What a worker loads of us, by `celery worker -I fleet_node.worker`."""

from fleet_node.worker import bootstrap as bootstrap
