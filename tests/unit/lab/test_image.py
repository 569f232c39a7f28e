"""The image and the seed: their files, and what changes an image's name."""

import io
import tarfile

from lab import apt_sources, guest_files, recipe, seed

DEB822 = """\
Types: deb
# a comment
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main contrib

Types: deb-src
URIs: http://mirror.example/sources
Suites: bookworm
Components: main

Enabled: no
Types: deb
URIs: http://off.example/debian
Suites: bookworm
Components: main
"""
ONE_LINE = """\
# deb http://old.example/debian bookworm main
deb [arch=amd64 signed-by=/k.gpg] http://mirror.example/security bookworm-security main
deb http://tools.example/apt tools-bookworm main
"""


def test_sources_come_from_both_formats_and_only_debians_own() -> None:
    assert apt_sources.parse([("debian.sources", DEB822), ("more.list", ONE_LINE)], "bookworm", "bookworm") == [
        "deb http://mirror.example/debian bookworm main",
        "deb http://mirror.example/debian bookworm-updates main",
        "deb http://mirror.example/security bookworm-security main",
    ]


def test_another_release_of_debian_lends_its_mirror() -> None:
    text = "deb http://mirror.example/debian trixie main\n"
    assert apt_sources.parse([("a.list", text)], "trixie", "bookworm") == ["deb http://mirror.example/debian bookworm main"]


def members(data: bytes) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return {info.name: info for info in tar}


def test_extra_certificates_are_in_the_image_and_in_its_name() -> None:
    plain, extra = guest_files.files_tar({}), guest_files.files_tar({"x.crt": b"PEM"})
    assert "usr/local/share/ca-certificates/x.crt" in members(extra)
    names = {recipe.digest(files, ["deb a b main"], "2030-W01") for files in (plain, extra)}
    names |= {recipe.digest(plain, ["deb c b main"], "2030-W01"), recipe.digest(plain, ["deb a b main"], "2030-W02")}
    assert len(names) == 4
    assert recipe.digest(plain, ["deb a b main"], "2030-W01") in names


def test_nothing_wakes_up_by_itself() -> None:
    assert members(guest_files.files_tar({}))["etc/systemd/system/apt-daily.timer"].linkname == "/dev/null"


def test_a_seed_is_a_disk_with_private_keys_private() -> None:
    data = seed.seed_tar("web1", {"web1": "10.77.0.12", "broker1": "10.77.0.11"}, "ssh-ed25519 A", "PRIVATE")
    assert len(data) % 512 == 0
    files = members(data)
    assert files["etc/ssh/ssh_host_ed25519_key"].mode == 0o600
    assert files["home/debian/.ssh/authorized_keys"].uid == 1000
    assert b"10.77.0.11 broker1\n" in data
    assert b"Address=10.77.0.12/24" in data
    assert b"RequiredForOnline=no" in data
