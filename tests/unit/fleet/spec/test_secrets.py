from datetime import UTC, datetime
from pathlib import Path

import pytest

from fleet.spec.secrets import GENERATED, SecretsError, accepted, ensure, finish, read, require, rotate, since, unfinished


def test_the_brokers_passwords_are_generated_once(tmp_path: Path) -> None:
    path = tmp_path / "secrets" / "prod.env"
    assert ensure(path) == list(GENERATED)
    first = read(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert len(set(first.values())) == len(GENERATED)
    assert ensure(path) == []
    assert read(path) == first


def test_existing_secrets_stay(tmp_path: Path) -> None:
    path = tmp_path / "prod.env"
    path.touch(mode=0o600)
    path.write_text("# ours\nDATABASE_URL=postgresql://u:p=w@db/x\nBROKER_WORKER_PASSWORD=mine")  # and no end of the line
    assert ensure(path) == ["BROKER_MONITOR_PASSWORD", "BROKER_ADMIN_PASSWORD", "BROKER_ERLANG_COOKIE"]
    assert read(path)["DATABASE_URL"] == "postgresql://u:p=w@db/x"
    assert read(path)["BROKER_WORKER_PASSWORD"] == "mine"


def secrets_file(folder: Path, text: str) -> Path:
    path = folder / "prod.env"
    path.touch(mode=0o600)
    path.write_text(text)
    return path


def test_a_rotation_keeps_the_value_before_and_everything_else(tmp_path: Path) -> None:
    path = secrets_file(tmp_path, "# ours\nBROKER_WORKER_PASSWORD=first\nDATABASE_URL=postgresql://u:p=w@db/x\nLAST=1")
    rotate(path, "BROKER_WORKER_PASSWORD", now=datetime(2026, 11, 30, 4, 5, 6, tzinfo=UTC))
    values = read(path)
    new = values["BROKER_WORKER_PASSWORD"]
    assert path.read_text().splitlines() == [
        "# ours",
        f"BROKER_WORKER_PASSWORD={new}",
        "BROKER_WORKER_PASSWORD_BEFORE=first",
        "BROKER_WORKER_PASSWORD_SINCE=2026-11-30T04:05:06Z",
        "DATABASE_URL=postgresql://u:p=w@db/x",
        "LAST=1",
    ]
    assert path.stat().st_mode & 0o777 == 0o600
    assert len(new) >= 24
    assert accepted(values, "BROKER_WORKER_PASSWORD") == [new, "first"]
    assert unfinished(values) == {
        "BROKER_WORKER_PASSWORD": "the value before is accepted as well since 2026-11-30; end that with: fleet secrets INVENTORY "
        "--finish BROKER_WORKER_PASSWORD"
    }
    assert since(values, "BROKER_WORKER_PASSWORD") == datetime(2026, 11, 30, 4, 5, 6, tzinfo=UTC)
    with pytest.raises(SecretsError, match="from a rotation that is not finished; deploy, and then: fleet secrets"):
        rotate(path, "BROKER_WORKER_PASSWORD")
    assert read(path) == values
    finish(path, "BROKER_WORKER_PASSWORD")
    assert read(path) == {"BROKER_WORKER_PASSWORD": new, "DATABASE_URL": values["DATABASE_URL"], "LAST": "1"}
    assert accepted(read(path), "BROKER_WORKER_PASSWORD") == [new]
    with pytest.raises(SecretsError, match="no rotation of BROKER_WORKER_PASSWORD is under way"):
        finish(path, "BROKER_WORKER_PASSWORD")


def test_a_secret_of_the_users_own_gets_the_value_that_is_given(tmp_path: Path) -> None:
    path = secrets_file(tmp_path, "DATABASE_URL=postgresql://u:old@db/x\n")
    rotate(path, "DATABASE_URL", "postgresql://u:new@db/x\n")
    assert read(path)["DATABASE_URL"] == "postgresql://u:new@db/x"
    assert read(path)["DATABASE_URL_BEFORE"] == "postgresql://u:old@db/x"


@pytest.mark.parametrize(
    ("name", "value", "complaint"),
    [
        ("BROKER_WORKER_PASSWORD", None, "has no BROKER_WORKER_PASSWORD; it has A"),
        ("A", "1", "the new value is the present one"),
        ("A", " ", "no new value came"),
        ("A", "two\nlines", "has to be one line of text"),
        ("BROKER_ERLANG_COOKIE", None, "cannot change while they run"),
        ("A_BEFORE", "2", "write the name without the ending _BEFORE"),
        ("A_SINCE", "2", "write the name without the ending _SINCE"),
    ],
)
def test_what_cannot_be_rotated_leaves_the_file_as_it_is(tmp_path: Path, name: str, value: str | None, complaint: str) -> None:
    path = secrets_file(tmp_path, "A=1\n")
    with pytest.raises(SecretsError, match=complaint):
        rotate(path, name, value)
    assert path.read_text() == "A=1\n"
    assert [file.name for file in tmp_path.iterdir()] == ["prod.env"]


def test_a_time_that_nobody_can_read_is_not_known() -> None:
    assert since({}, "A") is None
    assert since({"A_SINCE": "yesterday"}, "A") is None


def test_a_missing_file_is_answered_with_how_to_make_it(tmp_path: Path) -> None:
    with pytest.raises(SecretsError, match=r"no such file; make one with: fleet secrets .*prod\.env"):
        read(tmp_path / "prod.env")


def test_a_byte_that_is_no_utf8_is_named_by_its_place(tmp_path: Path) -> None:
    path = tmp_path / "secrets.env"
    path.write_bytes(b"A=1\nB=\xff\n")
    path.chmod(0o600)
    with pytest.raises(SecretsError, match=r"secrets\.env, line 2: the byte 0xff is not UTF-8"):
        read(path)


def test_a_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "prod.env"
    path.touch(mode=0o644)
    with pytest.raises(SecretsError, match=r"others can read it \(mode 0644\); run: chmod 600"):
        read(path)


def test_a_wrong_line_is_named_by_its_number_without_its_text(tmp_path: Path) -> None:
    path = tmp_path / "prod.env"
    path.touch(mode=0o600)
    path.write_text("A=1\nhunter2\n")
    with pytest.raises(SecretsError, match=r"line 2: write NAME=value") as caught:
        read(path)
    assert "hunter2" not in str(caught.value)


def test_a_missing_secret_says_where_to_put_it(tmp_path: Path) -> None:
    path = tmp_path / "prod.env"
    with pytest.raises(SecretsError) as caught:
        require(path, {"A": "1", "C": ""}, ["A", "B", "C"])
    assert str(caught.value).splitlines() == [
        f"{path}: B is missing; add the line B=…",
        f"{path}: C is missing; add the line C=…",
    ]


def test_printing_secrets_does_not_show_their_values(tmp_path: Path) -> None:
    path = tmp_path / "prod.env"
    ensure(path)
    secrets = read(path)
    shown = f"{secrets} {secrets!r} {[secrets]}"
    assert "BROKER_WORKER_PASSWORD" in shown
    assert not [value for value in secrets.values() if value in shown]
