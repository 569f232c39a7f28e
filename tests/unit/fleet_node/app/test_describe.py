"""What an app is told of its versions."""

from fleet_node.app.describe import patches_of


def test_the_delivery_of_the_newest_version_that_was_tried_is_mended_and_that_of_a_later_one_is_not() -> None:
    def delivery(version: str) -> list[bool]:
        return [patch["mended"] for patch in patches_of(version, version) if patch["name"] == "delivery"]

    assert (delivery("5.7.0"), delivery("5.8.0"), delivery("6.0.0")) == ([True], [False], [False])
