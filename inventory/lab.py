"""The local lab that `fleet lab up` started (FLEET_LAB names another than `lab`). web1 and web2 are in the group web."""

import json
import os
import re
from pathlib import Path

from fleet import secrets

_name = os.environ.get("FLEET_LAB", "lab")
_folder = Path(__file__).parent.parent / ".lab" / _name
if not (_folder / "lab.json").exists():
    raise SystemExit(f"no lab {_name!r} is running; start it with: fleet lab up" + (f" --name {_name}" if _name != "lab" else ""))
_lab = json.loads((_folder / "lab.json").read_text())
# A lab's passwords live and end with it.
secrets.ensure(_folder / "secrets.env")

all = []
for _host, _at in _lab["hosts"].items():
    _data = {
        "ssh_hostname": _at["ssh_hostname"],
        "ssh_port": _at["ssh_port"],
        "ssh_user": _lab["user"],
        "ssh_key": _lab["key"],
        "ssh_known_hosts_file": _lab["known_hosts"],
        "lan_address": _at["lan_address"],
        "secrets_file": str(_folder / "secrets.env"),
    }
    if _host.startswith("gpu"):
        # A stand-in: there is no device in a virtual machine, and the demo's GPU task computes without.
        _data |= {"gpus": 1, "nvidia": {"driver": "none"}}
    all.append((_host, _data))
    globals().setdefault(re.sub(r"\d+$", "", _host), []).append(_host)
