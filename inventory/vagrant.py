"""The machines that `vagrant up` made (Vagrantfile), reached as `vagrant ssh-config` says. web1 and web2 are in the group web."""

from pathlib import Path

from fleet.inventory import vagrant
from fleet.spec import secrets
from lab.machines import groups, vagrant_address

_root = Path(__file__).resolve().parent.parent
try:
    _machines = vagrant.machines(_root)
except vagrant.VagrantError as _error:
    raise SystemExit(str(_error)) from None
_secrets = vagrant.state_folder(_root) / "secrets.env"
secrets.ensure(_secrets)

_same = {"ssh_strict_host_key_checking": "accept-new", "secrets_file": str(_secrets)}
globals().update(
    groups({_host: {**_reach, **_same, "lan_address": vagrant_address(_host)} for _host, _reach in _machines.items()})
)
