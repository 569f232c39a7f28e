"""The machines that `vagrant up` made (Vagrantfile), reached as Vagrant itself says. web1 and web2 are in the group web."""

import re
from pathlib import Path

from fleet import secrets, vagrant
from lab.machines import vagrant_address

_root = Path(__file__).resolve().parent.parent
try:
    _machines = vagrant.machines(_root)
except vagrant.VagrantError as _error:
    raise SystemExit(str(_error)) from None
_secrets = vagrant.state_folder(_root) / "secrets.env"
secrets.ensure(_secrets)

all = []
for _host, _reach in _machines.items():
    _data = {
        **_reach,
        "ssh_strict_host_key_checking": "accept-new",
        "lan_address": vagrant_address(_host),
        "secrets_file": str(_secrets),
    }
    if _host.startswith("gpu"):
        # A stand-in: there is no device in a virtual machine, and the demo's GPU task computes without.
        _data |= {"gpus": 1, "nvidia": {"driver": "none"}}
    all.append((_host, _data))
    globals().setdefault(re.sub(r"\d+$", "", _host), []).append(_host)
