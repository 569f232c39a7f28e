"""`fleet k8s`."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from fleet.cli.arguments import InventoryFile, Json, say
from fleet.errors import FleetError
from fleet.kubernetes import bundle, checks, exporter, folders, names, redis, simulated
from fleet.kubernetes import image as images
from fleet.kubernetes.cluster import MINORS, Cluster, on_kubernetes
from fleet.kubernetes.explain import ROWS
from fleet.kubernetes.pod import Object
from fleet.lint import run as linting
from fleet.spec import certificates, endpoint
from fleet.spec.app_files import is_shipped
from fleet.spec.files import read_text
from fleet.state.desired import File

NAMESPACE = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)
_PART = r"[a-z0-9]+(?:[._-]+[a-z0-9]+)*"
_VERSION = r"(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}(?:@sha256:[0-9a-f]{64})?|@sha256:[0-9a-f]{64})"
IMAGE = re.compile(rf"(?:{_PART}(?::\d+)?/)?{_PART}(?:/{_PART})*{_VERSION}", re.ASCII)
"""A name with a tag, a digest, or both."""


def write_manifests(
    file: InventoryFile,
    image: Annotated[str | None, typer.Option(help="The app's image, with its tag or digest.", metavar="IMAGE")] = None,
    output: Annotated[
        Path, typer.Option("-o", "--output", help="The folder for the files: base/ and overlays/.", metavar="FOLDER")
    ] = Path("k8s"),
    assume: Annotated[
        str | None, typer.Option(help="Do not ask the machines: size for these facts.", metavar="cores=8,memory=16G,gpus=1")
    ] = None,
    kubernetes: Annotated[
        str, typer.Option(help=f"The cluster's version: 1.{MINORS[0]} to 1.{MINORS[-1]}.", metavar="VERSION")
    ] = f"1.{MINORS[-2]}",
    namespace: Annotated[str, typer.Option(help="The namespace of all objects.", metavar="NAME")] = "default",
    secret: Annotated[
        bool, typer.Option("--secret", help="Write no file: print the Secrets that the manifests name, for kubectl apply -f -.")
    ] = False,
    build: Annotated[
        Path | None,
        typer.Option(help="Also write what the image is built from: docker build --tag IMAGE FOLDER.", metavar="FOLDER"),
    ] = None,
    python: Annotated[str, typer.Option(help="The image's Python.", metavar="VERSION")] = "3.11",
    simulate: Annotated[
        str | None,
        typer.Option(
            help="Write no file: play a load on what scales a role: burst, wave, slow-drain, or a file of lines SECOND RATE.",
            metavar="LOAD",
        ),
    ] = None,
    role: Annotated[str | None, typer.Option(help="With --simulate: the role, if several scale.", metavar="ROLE")] = None,
    task_seconds: Annotated[
        float, typer.Option(help="With --simulate: how long a task runs, on average.", metavar="SECONDS")
    ] = 5,
    chart: Annotated[Path | None, typer.Option(help="With --simulate: write an SVG of the pods.", metavar="FILE")] = None,
    explain: Annotated[
        bool,
        typer.Option("--explain", help="Write no file: print what each line of a unit is in a pod, and what has no counterpart."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Write the fleet's workers as Kubernetes manifests: a kustomize base, and an overlay for the inventory.

    Each role is a Deployment with the flags, the environment, the memory and the time to stop of its unit. Machines are asked for
    their size, or --assume says it: a pod is like an instance on the first machine of the role.

    Exit code: 0; 1 if the fleet cannot be written as manifests, 2 if a rule of fleet lint finds an error.

    Example: fleet k8s inventory/prod.py --image registry.example.com/shop:1.2 --assume cores=8,memory=16G
    """
    if explain:
        _explain(as_json)
        return
    if secret and (build or as_json):
        raise FleetError("--secret prints Secrets alone: leave out --build and --json")
    if simulate is None and (role or chart):
        raise FleetError("--role and --chart go with --simulate")
    if simulate is not None and image is None:
        image = "simulated:0"
    if image is None or not IMAGE.fullmatch(image):
        raise FleetError(
            f"--image {image or 'is missing'}: write a name with a tag or a digest, such as registry.example.com/shop:1.2"
        )
    minor = _minor(kubernetes)
    if not NAMESPACE.fullmatch(namespace):
        raise FleetError(f"--namespace {namespace}: a namespace has small letters, digits and hyphens, 63 at most")
    linted = linting.run(file, assume=assume, python=None, load_app=False, say=say)
    if errors := [finding for finding in linted.findings if finding.is_error]:
        typer.echo("\n".join(["nothing was written: fleet lint finds", *map(str, errors)]), err=True)
        raise typer.Exit(2)
    fleet = linted.plan.fleet
    cluster = Cluster(on_kubernetes(linted.plan), endpoint.broker_secrets(fleet), image, minor, namespace)
    if simulate is not None:
        _simulate(cluster, simulate, role, task_seconds, chart, as_json)
        return
    cluster, made_certificates = _certified(cluster)
    if secret:
        if sys.stdout.isatty():
            raise FleetError("--secret prints passwords: write | kubectl apply -f - after it")
        typer.echo(bundle.dump(*bundle.secrets(cluster), *_exporter_secret(cluster)), nl=False)
        return
    overlay = names.label(file.stem)
    try:
        written = _write(cluster, output, overlay, file, build, python)
    except OSError as error:
        raise FleetError(f"{error.filename or output}: {error.strerror or error}") from None
    notes = [*made_certificates, *_notes(cluster)]
    if _is_shipped(cluster, output):
        notes.append(f"{output} is inside app_source: each change of it is a new release; name it in app_exclude")
    if as_json:
        typer.echo(json.dumps({"folder": str(output), **asdict(written), "notes": notes}))
        return
    for note in notes:
        say(f"note: {note}")
    number = len(written.files)
    typer.echo(
        f"{output}: wrote {len(written.changed)} of {number} files"
        if written.changed
        else f"{output}: all {number} files are as they were"
    )
    if build:
        typer.echo(f"{build}: what the image is built from: docker build --tag {image} --file {build}/Containerfile {build}")
    given = f" --assume {assume}" if assume else ""
    given += f" --namespace {namespace}" if namespace != "default" else ""
    typer.echo("Next:")
    typer.echo(f"  fleet k8s {file} --image {image}{given} --secret | kubectl apply -f -")
    typer.echo(f"  kubectl apply -k {output}/overlays/{overlay}")
    if written.deletions:
        typer.echo("Then remove what is no longer written:")
        typer.echo("\n".join(f"  {command}" for command in written.deletions))


@dataclass(frozen=True)
class Written:
    """files: all that belong to the manifests. changed: those that were written now. removed: those of an earlier run. deletions:
    commands for what only the earlier run's manifests have."""

    files: list[str]
    changed: list[str]
    removed: list[str]
    deletions: list[str]


def _write(cluster: Cluster, output: Path, overlay: str, file: Path, build: Path | None, python: str) -> Written:
    """Write the manifests, and what an image is built from: all or, if anything is wrong, nothing. Raises OSError."""
    inventory = os.path.relpath(file.resolve(), output.resolve())
    if others := bundle.owners(output) - {f"{inventory}, in the namespace {cluster.namespace}"}:
        raise FleetError(f"{output}: has the manifests of {min(others)}; name another folder with -o")
    made = bundle.files(cluster, overlay, inventory)
    if mistakes := checks.mistakes((each for part in bundle.objects(cluster).values() for each in part), cluster.minor):
        raise FleetError("\n".join(["nothing was written, since Kubernetes would refuse it:", *mistakes]))
    image_files = _image_files(cluster, build, python) if build else ()
    written = Written([*made], bundle.difference(made, output), bundle.stale(made, output), bundle.dropped(made, output))
    folders.write(output, {path: made[path] for path in written.changed})
    for path in written.removed:
        (output / path).unlink()
    if build:
        folders.replace(build, image_files)
    return written


def _certified(cluster: Cluster) -> tuple[Cluster, list[str]]:
    """The cluster with what its certificates are known by, and a line for each file that was made, next to the secrets file.
    Raises CertificateError."""
    fleet, lines = cluster.plan.fleet, []
    if fleet.redis and fleet.redis.tls:
        folder = certificates.folder_of(fleet)
        names_of_files = certificates.server_in_cluster(cluster.namespace)
        file, key = (folder / name for name in names_of_files)
        dns = redis.names(cluster.namespace)
        if (folder / certificates.AUTHORITY_KEY).exists():
            lines += certificates.make(folder, dns, server=names_of_files)
        elif not (file.exists() and key.exists()):
            raise FleetError(f"{folder}: its certificates are yours: put {file.name} and {key.name} there, for {', '.join(dns)}")
        cluster = replace(cluster, certificate=file.read_bytes())
    if any(scale.by == "hpa" for scale in cluster.scales.values()):
        folder = certificates.folder_of_exporter(fleet, cluster.namespace)
        if _is_shipped(cluster, folder):
            raise FleetError(
                f"secrets_file: {folder}, with private keys, would be inside app_source and shipped; move secrets_file"
            )
        lines += certificates.make(folder, exporter.names(cluster.namespace))
        authority, certificate = ((folder / name).read_bytes() for name in (certificates.AUTHORITIES, certificates.SERVER))
        cluster = replace(cluster, authority=authority, exporter_certificate=certificate)
    return cluster, lines


def _exporter_secret(cluster: Cluster) -> Iterator[Object]:
    if cluster.authority:
        folder = certificates.folder_of_exporter(cluster.plan.fleet, cluster.namespace)
        certificate, key = ((folder / name).read_bytes() for name in (certificates.SERVER, certificates.SERVER_KEY))
        yield bundle.tls_secret(cluster.namespace, certificate, key)


def _simulate(cluster: Cluster, load: str, role: str | None, seconds: float, chart: Path | None, as_json: bool) -> None:
    if not 0 < seconds < 1e6:
        raise FleetError(f"--task-seconds {seconds:g}: write a number above 0")
    if role is None and len(cluster.scales) != 1:
        raise FleetError(f"--role is missing: {', '.join(cluster.scales) or 'no role'} has kubernetes.scale")
    role = role or min(cluster.scales)
    scale, slots = simulated.scale_of(cluster, role), cluster.roles[role].sized.concurrency
    file = Path(load)
    try:
        trace = simulated.trace_of(read_text(file) if file.is_file() else None, load, slots, scale.max, seconds)
        result = simulated.played(cluster, role, trace)
        if chart:
            chart.write_text(simulated.chart(role, trace, result["idle pods first"], slots, scale.max))
    except OSError as error:
        raise FleetError(f"{error.filename or load}: {error.strerror or error}") from None
    if as_json:
        typer.echo(json.dumps(simulated.as_json(result)))
        return
    tasks = len(result["idle pods first"].waits)
    typer.echo(f"{role}: {tasks:,} tasks of {seconds:g} s on {scale.min} to {scale.max} pods of {slots} slots")
    table = Table(*simulated.HEAD, box=None, pad_edge=False, header_style="")
    for row in simulated.lines(result, scale.max):
        table.add_row(*row)
    Console().print(table)


def _image_files(cluster: Cluster, folder: Path, python: str) -> Sequence[File]:
    """What the image is built from, for a folder that has nothing else. Raises OSError."""
    if not re.fullmatch(r"3\.\d+", python, re.ASCII):
        raise FleetError(f"--python {python}: write a version such as 3.11")
    folders.refuse_others(folder)
    if _is_shipped(cluster, folder):
        raise FleetError(f"--build {folder}: is inside app_source, and would be in the next image; name another folder")
    return images.context(cluster, python)


def _is_shipped(cluster: Cluster, path: Path) -> bool:
    """Whether something would be in a release."""
    all_settings = (cluster.host(role).settings for role in cluster.roles)
    return any(is_shipped(path, Path(settings.app_source), settings.app_exclude) for settings in all_settings)


def _explain(as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps([asdict(row) for row in ROWS]))
        return
    table = Table("unit", "pod", "same", "note", box=None, pad_edge=False, header_style="")
    for row in ROWS:
        table.add_row(", ".join(row.directives), row.pod or "-", row.same, row.note)
    Console().print(table)


def _minor(version: str) -> int:
    match = re.fullmatch(r"1\.(\d+)", version, re.ASCII)
    if not match or int(match[1]) not in MINORS:
        known = ", ".join(f"1.{minor}" for minor in MINORS)
        raise FleetError(f"--kubernetes {version}: manifests are written for {known}")
    return int(match[1])


def _notes(cluster: Cluster) -> Iterator[str]:
    yield from names.changed(cluster.labels)
    for role, instance in cluster.roles.items():
        if others := cluster.differing(role):
            yield f"{role}: sized as on {instance.host}; on {', '.join(others)} it is otherwise"
    for role in cluster.plan.roles.keys() - cluster.roles.keys():
        yield f"{role}: no machine has an instance of it, so that it is left out"
