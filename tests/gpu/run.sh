#!/bin/sh
# Check GPU workers on a machine with a real device, with the files from beside.sh. See README.md.
set -eu
cd "$(dirname "$0")/../.."
beside=$PWD/tests/gpu/beside
command -v nvidia-smi >/dev/null || { echo "no nvidia-smi: this needs a machine with an NVIDIA device and its driver" >&2; exit 2; }
[ -e "$beside/unit" ] || { echo "no $beside/unit: run tests/gpu/beside.sh on the control machine, and bring the folder" >&2; exit 2; }
here=$(mktemp -d)
trap 'rm -rf "$here"' EXIT
python3 -m pip install --quiet --no-index --no-deps --no-compile --target "$here/site" "$beside"/wheels/*.whl
if ! command -v redis-server >/dev/null; then
    for package in "$beside"/debs/*.deb; do dpkg -x "$package" "$here/root"; done
    PATH=$here/root/usr/bin:$PATH
    LD_LIBRARY_PATH=$(find "$here/root" -name '*.so*' -exec dirname {} + | sort -u | paste -sd:)${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
    export PATH LD_LIBRARY_PATH
fi
PYTHONPATH=$here/site:$PWD python3 tests/gpu/check.py "$beside/unit" "$here"
