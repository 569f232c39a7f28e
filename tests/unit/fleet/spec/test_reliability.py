from typing import get_args

from fleet.spec.reliability import RABBITMQ_RELIABILITY, RABBITMQ_TRANSPORT, RELIABILITY, TRANSPORT, Reliability


def test_left_to_app_may_name_every_setting_that_the_fleet_sets() -> None:
    assert get_args(Reliability) == (*RELIABILITY, *TRANSPORT, *RABBITMQ_RELIABILITY, *RABBITMQ_TRANSPORT)
