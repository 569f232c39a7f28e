# The same few commands here and in CI. `make` alone lists them.
.DEFAULT_GOAL := help
BIN := .venv/bin

.PHONY: help install demo test check unit long matrix matrix-old tls valkey render online slow vagrant-test vagrant-changed lab-down docs format

help:  ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "make %-15s %s\n", $$1, $$2}'

install:  ## Make .venv, with the fleet command in it
	@scripts/install

demo:  ## A fleet of four virtual machines, deployed and at work
	@scripts/demo

test: packages check unit long matrix-old render online vagrant-changed  ## What CI runs: checks, unit, an old Celery, rendering, and a lab of its own

check: install  ## Format, lint, types, imports, the example fleet (seconds)
	@$(BIN)/ruff format --check --quiet . || { echo "make format mends it"; exit 1; }
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy
	@PYTHONPATH=. $(BIN)/lint-imports --no-cache | tail -n 4
	@found=$$($(BIN)/fleet lint inventory/prod.py --assume cores=8,memory=16G,gpus=1 --no-app --strict -v) || { echo "$$found"; exit 1; }
	@! command -v ruby >/dev/null || ruby -c Vagrantfile >/dev/null
	@! command -v vagrant >/dev/null || VAGRANT_DOTFILE_PATH=.vagrant/check vagrant validate --ignore-provider >/dev/null

unit: install  ## Tests of decisions and of the demo app (seconds; needs redis-server and prometheus)
	@$(BIN)/pytest -q -n 6 --dist worksteal -m "not slow and not long" tests/unit

long: install  ## More unit tests, with more workers and waits (some minutes)
	@$(BIN)/pytest -q -n 8 --dist worksteal -m "long and not slow" tests/unit

matrix: install  ## Every promise of delivery with every Celery from 5.3 on and every pool (half an hour)
	@scripts/matrix

matrix-old: install  ## The matrix of one old Celery, with prefork and gevent, and with TLS (two minutes)
	@scripts/matrix --only 5.5 --pool prefork --pool gevent --tls -n 4

tls: install  ## The tests of workers and of what is asked about them, with a Redis behind TLS (some minutes)
	@FLEET_TEST_TLS=1 $(BIN)/pytest -q -n 6 --dist worksteal -m "not slow" tests/unit/fleet_balancer tests/unit/fleet_node tests/unit/fleet/observe tests/unit/fleet/drill

valkey: install  ## The tests of workers and of brokers of others, with Debian 13's Valkey in place of Redis (some minutes)
	@scripts/valkey

render: install  ## Tests of the files that a deploy writes, on fake machines (seconds)
	@$(BIN)/pytest -q -n 4 -m "not slow" tests/render

online: install  ## Tests on real machines: boots a lab of its own and ends it
	@$(BIN)/pytest -q -m "not slow" tests/online

slow: tls valkey  ## What make test leaves out: TLS, Valkey, defects without their guards, other pools and apps, every drill of a fault
	@$(BIN)/pytest -q -m slow tests/unit tests/render tests/online

vagrant-test: install  ## The Vagrantfile, for real: four machines in namespaces of their own (root; half an hour)
	@scripts/vagrant-test

vagrant-changed: install  ## make vagrant-test, if a file that it tests has changed since it last passed
	@scripts/vagrant-test --if-changed

lab-down: install  ## End the lab
	@$(BIN)/fleet lab down

docs: install  ## Make docs/settings.md from the model
	@$(BIN)/python -m fleet.cli.settings_page >docs/settings.md

format: install  ## Format the code
	@$(BIN)/ruff format --quiet .
	@$(BIN)/ruff check --quiet --fix .

.PHONY: packages
packages:
	@scripts/packages
