#!/bin/sh
# Fill tests/gpu/beside/ for run.sh: wheels, Redis, and the flags of a deployed GPU worker.
set -eu
cd "$(dirname "$0")/../.."
python=${1:-3.12} # of the machine with the device
scripts/install
beside=tests/gpu/beside
rm -rf "$beside" && mkdir -p "$beside/wheels" "$beside/debs"
.venv/bin/python - "$beside/unit" <<'END'
import sys
from pathlib import Path

from fleet.inventory.read import read_inventory
from fleet.spec.load import load_fleet
from tests.render.conftest import content, state_of

fleet = load_fleet(read_inventory(Path("inventory/prod.py")))
host = next(name for name, settings in fleet.hosts.items() if "gpu" in settings.workers)
Path(sys.argv[1]).write_text(content(state_of(fleet, host), "/etc/systemd/system/celery-gpu@1.service"))
END
grep -E '^(celery|kombu|redis|billiard|vine|amqp|click|click-didyoumean|click-plugins|click-repl|packaging|prompt-toolkit|python-dateutil|six|tzdata|tzlocal|wcwidth)==' \
    requirements/dev.txt | cut -d' ' -f1 >"$beside/requirements"
.venv/bin/python -m pip download --quiet --no-deps --only-binary=:all: --python-version "$python" --dest "$beside/wheels" -r "$beside/requirements"
(cd "$beside/debs" && apt-get download -q redis-server redis-tools libjemalloc2 liblzf1 libatomic1 liblua5.1-0 lua-bitop lua-cjson >/dev/null)
echo "in $beside: $(ls "$beside/wheels" | wc -l) wheels, $(ls "$beside/debs" | wc -l) packages, and a unit"
