"""The driver alone, as deploy.py installs it."""

from pyinfra.context import host

from fleet.engine.driver import DriverProbe, install, watched_by
from fleet.spec.nvidia import Nvidia
from roles import driver

nvidia = Nvidia(driver="debian")
install(driver, nvidia, host.get_fact(DriverProbe, watched_by(driver, nvidia)))
