#!/bin/sh
# Pin every requirement with hashes, after a change in pyproject.toml or here. Needs .venv (make install).
# A pin moves only with --upgrade: requirements/compile.sh --upgrade
set -eu
cd "$(dirname "$0")/.."
compile() { ${UV:-.venv/bin/uv} pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url "$@"; }

compile pyproject.toml --group shop --group check --group kubernetes --group build -o requirements/dev.txt "$@"
compile --group bench -o requirements/bench.txt "$@"
# What the machines get besides the app's own requirements: uv to build with, and what a pool needs when it is chosen.
for name in uv gevent eventlet; do
    echo "$name" | compile - -o "requirements/$name.txt" "$@"
done
# The exporter in a cluster, beside the app.
echo prometheus-client | compile - -o requirements/exporter.txt "$@"
# Flower on the monitor's machine, in a venv of its own.
printf 'flower\ncelery[redis]==5.7.0\n' | compile - -o requirements/flower.txt "$@"
compile examples/shop/requirements.in -o examples/shop/requirements.txt "$@"
# Schedulers of others, which tests of beat try.
printf 'celery[redis]==5.7.0\ndjango-celery-beat\ncelery-redbeat\n' | compile - -o requirements/schedulers.txt "$@"
# What the matrix tries (make matrix). The .in files name the versions of Celery, kombu and redis-py, and move by hand.
for file in requirements/matrix/*.in; do
    compile "$file" -o "${file%.in}.txt" "$@"
done
