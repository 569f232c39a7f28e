"""The driver alone, as deploy.py installs it."""

from pyinfra.context import host

from fleet.model import Nvidia
from roles.bring_driver import DriverProbe, install

nvidia = Nvidia(driver="debian")
install(nvidia, host.get_fact(DriverProbe, nvidia))
