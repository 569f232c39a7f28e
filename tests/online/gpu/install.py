"""The driver alone, as deploy.py installs it."""

from pyinfra.context import host

from fleet.engine.driver import DriverProbe, install
from fleet.spec.nvidia import Nvidia

nvidia = Nvidia(driver="debian")
install(nvidia, host.get_fact(DriverProbe, nvidia))
