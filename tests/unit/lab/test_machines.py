"""The machines that `--hosts` asks for, and the mistakes in it."""

import pytest

from lab.errors import LabError
from lab.machines import check_lab_name, default_machines, parse_hosts


def test_default_lab_has_a_broker_and_a_worker_of_each_kind() -> None:
    assert [(m.name, m.roles, m.memory_mb, m.address) for m in default_machines()] == [
        ("broker1", ("broker",), 1024, "10.77.0.11"),
        ("web1", ("web",), 1024, "10.77.0.12"),
        ("batch1", ("batch",), 1024, "10.77.0.13"),
        ("gpu1", ("gpu",), 1024, "10.77.0.14"),
    ]


def test_memory_is_set_behind_an_equals_sign() -> None:
    assert [m.memory_mb for m in parse_hosts("broker1, web1=1536")] == [1024, 1536]


def test_known_machines_keep_address_and_memory_and_new_ones_get_the_next() -> None:
    known = parse_hosts("broker1 web1=2048")
    again = parse_hosts("web2 web1 web3", known)
    assert [(m.name, m.memory_mb, m.address) for m in again] == [
        ("web2", 1024, "10.77.0.13"),
        ("web1", 2048, "10.77.0.12"),
        ("web3", 1024, "10.77.0.14"),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("web", "role and a number"),
        ("../x1", "role and a number"),
        ("Web1", "role and a number"),
        ("web1=lots", "not a number of MB"),
        ("web1=64", "from 256"),
        ("web1 web1", "twice"),
        (" ", "no hosts"),
    ],
)
def test_a_bad_host_is_named_with_what_to_write(text: str, message: str) -> None:
    with pytest.raises(LabError, match=message):
        parse_hosts(text)


def test_memory_of_a_known_machine_cannot_change() -> None:
    with pytest.raises(LabError, match="web1 has 1024 MB"):
        parse_hosts("web1=2048", parse_hosts("web1"))


def test_a_lab_has_an_end() -> None:
    with pytest.raises(LabError, match="at most 240"):
        parse_hosts(" ".join(f"web{n}" for n in range(1, 300)))


@pytest.mark.parametrize("name", ["", "..", "a/b", "Lab", "-x", "x" * 40])
def test_a_lab_name_is_a_plain_directory_name(name: str) -> None:
    with pytest.raises(LabError, match="lab name"):
        check_lab_name(name)
