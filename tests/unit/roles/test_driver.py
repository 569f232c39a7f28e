"""NVIDIA's driver: from which mirror, for which kernel, and with whose key."""

import base64
from pathlib import Path

import pytest

from fleet.spec import openpgp
from fleet.spec.nvidia import Nvidia
from fleet.state.desired import State
from fleet.state.driver import DriverError, ObservedDriver, Target, parse
from roles import driver

KEYRING = Path("/usr/share/keyrings/debian-archive-bookworm-automatic.gpg")
BOOKWORM = "B8B80B5B623EAB6AD8775C45B7C5D7D6350947F8"
"""As Debian publishes it (ftp-master.debian.org/keys.html)."""
MIRROR = "http://mirror.example.com/debian/"
MAIN = Target(MIRROR, "bookworm", "main", "Debian", "", "/etc/apt/sources.list")
KERNEL = "6.1.0-56-cloud-amd64"
DEBIAN = Nvidia(driver="debian")
OUTPUT = f"""kernel\t{KERNEL}\tyes
target\t{MIRROR}\tbookworm\tmain\tDebian\t$(SIGNED_BY)|/etc/apt/sources.list:1
target\thttps://vendor.example.com/\tstable\tmain\tVendor\t/etc/apt/keyrings/v.gpg|/etc/apt/sources.list.d/v.list:1
headers\tyes
package\tnvidia-smi\tinstalled
memory\t1024
cores\t2
end""".splitlines()


def sources(state: State) -> str:
    return "".join(file.content.decode() for file in state.files if file.path == driver.SOURCES)


def observed(*targets: Target, headers: bool = True, kernel: str = KERNEL) -> ObservedDriver:
    return ObservedDriver(parse(OUTPUT).machine, kernel, booted=True, headers=headers, targets=targets)


def test_what_the_probe_says() -> None:
    probed = parse(OUTPUT)
    assert (probed.kernel, probed.booted, probed.headers, probed.works) == (KERNEL, True, True, False)
    vendor = Target(
        "https://vendor.example.com/", "stable", "main", "Vendor", "/etc/apt/keyrings/v.gpg", "/etc/apt/sources.list.d/v.list"
    )
    assert probed.targets == (MAIN, vendor)
    assert probed.machine.packages == {"nvidia-smi"}


def test_the_mirror_that_is_used_gets_the_components_that_it_leaves_out() -> None:
    state = driver.sources(DEBIAN, parse(OUTPUT))
    assert sources(state) == f"Types: deb\nURIs: {MIRROR}\nSuites: bookworm\nComponents: contrib non-free non-free-firmware\n"


def test_its_own_file_is_not_what_it_goes_by() -> None:
    ours = [Target(MIRROR, "bookworm", name, "Debian", "", driver.SOURCES) for name in driver.NON_FREE]
    assert driver.sources(DEBIAN, observed(MAIN, *ours)) == driver.sources(DEBIAN, observed(MAIN))
    firmware = Target(MIRROR, "bookworm", "non-free-firmware", "Debian", "", "/etc/apt/sources.list")
    assert "Components: contrib non-free\n" in sources(driver.sources(DEBIAN, observed(MAIN, firmware)))


def test_a_machine_that_has_them_all_gets_no_file() -> None:
    own = [Target(MIRROR, "bookworm", name, "Debian", "", "/etc/apt/sources.list") for name in driver.NON_FREE]
    state = driver.sources(DEBIAN, observed(MAIN, *own))
    assert sources(state) == ""
    assert driver.SOURCES in state.only


def test_a_machine_without_a_mirror_is_refused() -> None:
    with pytest.raises(DriverError, match="apt reads no mirror of Debian's on this machine"):
        driver.sources(DEBIAN, observed())


@pytest.mark.parametrize(
    ("kernel", "flavour"),
    [
        ("6.1.0-56-cloud-amd64", "cloud-amd64"),
        ("6.1.0-42-amd64", "amd64"),
        ("6.1.0-42-rt-amd64", "rt-amd64"),
        ("6.12.9+bpo-cloud-amd64", ""),  # its meta-package is the backports'
        ("6.12.48+deb13-amd64", "amd64"),
        ("6.12.48+deb13-cloud-amd64", "cloud-amd64"),
        ("6.18.36", ""),
    ],
)
def test_the_headers_of_the_kernel_and_of_those_that_come(kernel: str, flavour: str) -> None:
    packages = driver.packages(DEBIAN, observed(MAIN, kernel=kernel)).packages
    headers = [f"linux-headers-{kernel}", *([f"linux-headers-{flavour}"] if flavour else [])]
    assert list(packages) == [*headers, "nvidia-kernel-dkms", "nvidia-smi", "libcuda1", "nvidia-persistenced"]


def test_a_kernel_whose_headers_are_gone_is_refused() -> None:
    with pytest.raises(DriverError, match=f"the mirror has no linux-headers-{KERNEL} any more"):
        driver.packages(DEBIAN, observed(MAIN, headers=False))


def test_the_toolkit_comes_when_it_is_asked_for() -> None:
    assert "nvidia-cuda-toolkit" in driver.packages(Nvidia(driver="debian", cuda_toolkit="debian"), observed(MAIN)).packages


def vendor(key: Path, fingerprint: str = BOOKWORM) -> Nvidia:
    repository = {"uri": "https://vendor.example.com/", "suite": "./", "key": str(key), "fingerprint": fingerprint}
    return Nvidia.model_validate({"driver": "debian", "repository": repository, "packages": ["vendor-driver"]})


def test_a_vendors_repository_is_signed_by_the_key_that_was_meant() -> None:
    state = driver.sources(vendor(KEYRING), observed(MAIN))
    assert sources(state) == f"Types: deb\nURIs: https://vendor.example.com/\nSuites: ./\nSigned-By: {driver.KEY}\n"
    assert [file.content for file in state.files if file.path == driver.KEY] == [KEYRING.read_bytes()]
    with pytest.raises(DriverError, match=f"fingerprint: {'0' * 40}, and {KEYRING} has {BOOKWORM}"):
        driver.sources(vendor(KEYRING, "0" * 40), observed(MAIN))


def test_the_fingerprint_of_a_key_armored_or_not(tmp_path: Path) -> None:
    data = KEYRING.read_bytes()
    body = base64.encodebytes(data).decode()
    armored = f"-----BEGIN PGP PUBLIC KEY BLOCK-----\nVersion: 1\n\n{body}=abcd\n-----END PGP PUBLIC KEY BLOCK-----\n"
    assert openpgp.fingerprint(armored.encode()) == openpgp.fingerprint(data) == BOOKWORM


@pytest.mark.parametrize("data", [b"", b"no key", b"\x99\x01\x0d\x04", b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n%%%\n"])
def test_what_is_no_key_is_refused(data: bytes, tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_bytes(data)
    with pytest.raises(DriverError, match=r"nvidia\.repository\.key"):
        driver.sources(vendor(file), observed(MAIN))
    with pytest.raises(DriverError, match="No such file"):
        driver.sources(vendor(tmp_path / "none"), observed(MAIN))
