"""The local lab that `fleet lab up` started. FLEET_LAB names another than `lab`."""

import json
import os
import re
from pathlib import Path

from fleet import secrets

_name = os.environ.get("FLEET_LAB", "lab")
_folder = Path(__file__).parent.parent / ".lab" / _name
_state = json.loads((_folder / "lab.json").read_text()) if (_folder / "lab.json").exists() else {"hosts": {}}
_secrets = _folder / "secrets.env"
if _state["hosts"]:
    secrets.ensure(_secrets)

all = []
for _host, _at in _state["hosts"].items():
    _data = {
        "ssh_hostname": _at["ssh_hostname"],
        "ssh_port": _at["ssh_port"],
        "ssh_user": _state["user"],
        "ssh_key": _state["key"],
        "ssh_known_hosts_file": _state["known_hosts"],
        "lan_address": _at["lan_address"],
        "secrets_file": str(_secrets),
    }
    all.append((_host, _data))
    # web1 and web2 are in the group web.
    globals().setdefault(re.sub(r"\d+$", "", _host), []).append(_host)
