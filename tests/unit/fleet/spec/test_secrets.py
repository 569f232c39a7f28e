from pathlib import Path

import pytest

from fleet.spec.secrets import BROKER_NAMES, GENERATED, SecretsError, ensure, read, require, rotate


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
    path.write_text("# ours\nDATABASE_URL=postgresql://u:p=w@db/x\nBROKER_WORKER_PASSWORD=mine\n")
    assert ensure(path) == ["BROKER_MONITOR_PASSWORD", "BROKER_ERLANG_COOKIE"]
    assert read(path)["DATABASE_URL"] == "postgresql://u:p=w@db/x"
    assert read(path)["BROKER_WORKER_PASSWORD"] == "mine"


def test_a_rotation_keeps_the_passwords_before_and_everything_else(tmp_path: Path) -> None:
    path = tmp_path / "prod.env"
    path.touch(mode=0o600)
    path.write_text("# ours\nBROKER_WORKER_PASSWORD=first\nDATABASE_URL=postgresql://u:p=w@db/x\nBROKER_MONITOR_PASSWORD=other\n")
    assert rotate(path) == list(BROKER_NAMES)
    values = read(path)
    assert path.read_text().startswith("# ours\nDATABASE_URL=postgresql://u:p=w@db/x\n")
    assert (values["BROKER_WORKER_PASSWORD_BEFORE"], values["BROKER_MONITOR_PASSWORD_BEFORE"]) == ("first", "other")
    assert not {values[name] for name in BROKER_NAMES} & {"first", "other"}
    with pytest.raises(SecretsError, match="is there from the last rotation; delete it, deploy"):
        rotate(path)
    assert read(path) == values


def test_passwords_that_are_not_there_are_not_rotated(tmp_path: Path) -> None:
    path = tmp_path / "prod.env"
    path.touch(mode=0o600)
    with pytest.raises(SecretsError, match="BROKER_WORKER_PASSWORD is missing"):
        rotate(path)
    assert path.read_text() == ""


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
