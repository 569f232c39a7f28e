"""What a run refuses after a look into the broker."""

import pytest

from fleet.engine.preflight import UnknownPasswordError, refuse_unknown_passwords
from fleet.spec.endpoint import Way


def test_workers_do_not_get_a_password_that_the_broker_does_not_accept() -> None:
    ahead = Way(1, passwords={"BROKER_WORKER_PASSWORD": "the one before"})
    refuse_unknown_passwords(ahead, brings_broker=True, broker="broker1")
    refuse_unknown_passwords(Way(1), brings_broker=False, broker="broker1")
    with pytest.raises(UnknownPasswordError) as refused:
        refuse_unknown_passwords(ahead, brings_broker=False, broker="broker1")
    assert (
        str(refused.value)
        == "nothing was changed: broker1 does not accept the new BROKER_WORKER_PASSWORD yet: deploy without --limit"
    )
