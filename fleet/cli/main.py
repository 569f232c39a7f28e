"""`fleet …`: the commands, assembled, and how an error ends them."""

from __future__ import annotations

import signal
import sys

import typer

from fleet.cli import (
    balance,
    bench,
    certificates,
    connect,
    drill,
    history,
    k8s,
    lint,
    load,
    parked,
    plan,
    queues,
    record,
    report,
    retire,
    secrets,
    status,
    urls,
)
from fleet.cli.top import command as top
from fleet.errors import FleetError
from lab.cli import app as lab_app

app = typer.Typer(
    help="Run Celery on plain machines. Deploying is pyinfra's: pyinfra inventory/prod.py deploy.py",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)
app.command("lint")(lint.lint_fleet)
app.command("secrets")(secrets.make_secrets)
app.command("certificates")(certificates.make_certificates)
app.command("load")(load.show_load)
app.command("queues")(queues.show_queues)
app.command("status")(status.show_status)
app.command("plan")(plan.plan_workers)
app.command("bench")(bench.bench_fleet)
app.command("balance")(balance.balance_fleet)
app.command("k8s")(k8s.write_manifests)
app.command("record")(record.record_fleet)
app.command("report")(report.report_fleet)
app.command("top")(top.show_top)
app.command("urls")(urls.show_urls)
app.command("connect", context_settings={"ignore_unknown_options": True})(connect.run_connected)
app.command("history")(history.show_history)
app.command("unlock")(history.unlock)
app.command("retire")(retire.retire_host)
app.add_typer(parked.app, name="parked")
app.add_typer(drill.app, name="drill")
app.add_typer(lab_app, name="lab")


def main() -> None:
    """The entry point. A user's mistake is a line on stderr and an exit code, never a traceback."""
    # An exception: with it a tunnel is closed on the way out.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        app()
    except FleetError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(error.exit_code)
    except OSError as error:  # a path that does not exist, a folder that cannot be written to
        sys.stderr.write(f"{error.filename or ''}: {error.strerror or error}\n".lstrip(": "))
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
