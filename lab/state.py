"""A lab on disk: .lab/<name>/lab.json and the files beside it."""

import json
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from lab.errors import LabError
from lab.machines import Machine, check_lab_name, parse_host


class Host(BaseModel):
    """One machine as others reach it. Memory in MiB; `console` is the path of its serial console's log."""

    model_config = ConfigDict(frozen=True)
    ssh_hostname: str
    ssh_port: int
    lan_address: str
    memory_mb: int
    console: str


class Lab(BaseModel):
    """lab.json: `hosts` in the order of their addresses; `multicast` ("group:port") is the LAN between them."""

    model_config = ConfigDict(frozen=True)
    name: str
    user: str
    key: str
    known_hosts: str
    multicast: str
    image: str
    hosts: dict[str, Host]

    @property
    def directory(self) -> Path:
        """The lab's own directory."""
        return Path(self.key).parent

    def machines(self) -> list[Machine]:
        """The machines of this lab."""
        return [Machine(name, (parse_host(name)[1],), host.memory_mb, host.lan_address) for name, host in self.hosts.items()]

    def file(self, host: str, suffix: str) -> Path:
        """A file of one machine in the lab's directory: `file("web1", "qcow2")`."""
        return self.directory / f"{host}.{suffix}"


def labs_root(start: Path | None = None) -> Path:
    """`.lab` of the repository around `start` (default: the working directory), or of `start` itself outside one."""
    here = (start or Path.cwd()).resolve()
    for directory in (here, *here.parents):
        if (directory / "pyproject.toml").is_file():
            return directory / ".lab"
    return here / ".lab"


def lab_directory(name: str) -> Path:
    """The folder of the lab called `name`, which need not exist. Raises `LabError` for an invalid name."""
    return labs_root() / check_lab_name(name)


def read(name: str) -> Lab | None:
    """The lab called `name`, or None if there is none. Raises `LabError` if its lab.json is invalid."""
    path = lab_directory(name) / "lab.json"
    try:
        return Lab.model_validate(json.loads(path.read_text()))
    except FileNotFoundError:
        return None
    except (ValidationError, ValueError) as error:
        raise LabError(f"{path} is not a lab's record: `down` removes it ({str(error).splitlines()[0]})") from error


def write(lab: Lab) -> None:
    """Write lab.json atomically: a reader never sees half of it."""
    path = lab.directory / "lab.json"
    part = path.with_suffix(".json.part")
    part.write_text(json.dumps(lab.model_dump(), indent=2) + "\n")
    part.replace(path)
