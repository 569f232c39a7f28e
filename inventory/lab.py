"""The local lab that `fleet lab up` started (FLEET_LAB names a lab other than `lab`). web1 and web2 are in the group web."""

import json
import os
from pathlib import Path

from fleet.spec import secrets
from lab.machines import groups

_name = os.environ.get("FLEET_LAB", "lab")
_folder = Path(__file__).parent.parent / ".lab" / _name
if not (_folder / "lab.json").exists():
    raise SystemExit(f"no lab {_name!r} is running; start it with: fleet lab up" + (f" --name {_name}" if _name != "lab" else ""))
_lab = json.loads((_folder / "lab.json").read_text())
# A lab's passwords are removed with the lab.
secrets.ensure(_folder / "secrets.env")
_same = {
    "ssh_user": _lab["user"],
    "ssh_key": _lab["key"],
    "ssh_known_hosts_file": _lab["known_hosts"],
    "secrets_file": str(_folder / "secrets.env"),
}
_own = ("ssh_hostname", "ssh_port", "lan_address")
globals().update(groups({_host: {name: _own_data[name] for name in _own} | _same for _host, _own_data in _lab["hosts"].items()}))
