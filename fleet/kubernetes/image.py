"""The image of a release: the folders that a machine has, built once, without a compiler in what runs. Pure."""

from __future__ import annotations

from dataclasses import replace

from fleet.kubernetes.cluster import Cluster, ClusterError
from fleet.kubernetes.pod import APP, USER
from fleet.state import release
from fleet.state.desired import File
from fleet.state.paths import HOME

EXPORTER = release.ROOT / "fleet_exporter"
CONTAINERFILE = f"""# Written by `fleet k8s --build`. Build it here: docker build --tag IMAGE --file Containerfile .
ARG PYTHON=3.11
FROM python:${{PYTHON}}-slim-bookworm AS build
# What builds packages that have no wheel. It stays in this stage.
RUN apt-get update && apt-get install --yes --no-install-recommends gcc g++ libc6-dev pkg-config && rm -rf /var/lib/apt/lists/*
WORKDIR {APP}
COPY uv.txt requirements.txt ./
RUN python -m pip install --no-cache-dir --no-deps --require-hashes --target /opt/uv -r uv.txt
RUN UV_PYTHON_DOWNLOADS=never /opt/uv/bin/uv venv --quiet --python "$(command -v python)" {APP}/venv
RUN /opt/uv/bin/uv pip sync --quiet --no-cache --python {APP}/venv/bin/python --compile-bytecode requirements.txt
# Pins that leave out what they need would be found task by task.
RUN ! /opt/uv/bin/uv pip check --python {APP}/venv/bin/python 2>&1 | grep 'not installed'
# The exporter's own, apart from the app's: its pins are nobody else's affair.
COPY exporter.txt ./
RUN /opt/uv/bin/uv pip install --quiet --no-cache --no-deps --require-hashes --target {APP}/exporter-packages -r exporter.txt
COPY src src
COPY node node
COPY exporter exporter
# A file that does not compile is the app's own affair until it is imported.
RUN python -m compileall -q src node exporter || true

FROM python:${{PYTHON}}-slim-bookworm
RUN groupadd --gid {USER} celery && \\
    useradd --uid {USER} --gid {USER} --no-create-home --home-dir {HOME} --shell /usr/sbin/nologin celery
COPY --from=build {APP} {APP}
USER {USER}:{USER}
WORKDIR {HOME}
"""


def context(cluster: Cluster, python: str) -> tuple[File, ...]:
    """What the image is built from, with paths relative to the context: the files of a release, and the Containerfile. python:
    "3.11". Raises OSError for a source that cannot be read, and ClusterError if roles have different sources."""
    settings = {role: cluster.host(role).settings for role in cluster.roles}
    sources = {(each.app_source, each.app_requirements, tuple(each.app_exclude)) for each in settings.values()}
    if len(sources) > 1:
        raise ClusterError(
            f"app_source: {', '.join(sorted(source for source, *_ in sources))}: one image has one app; build each apart"
        )
    made = release.of(next(iter(settings.values())), cluster.plan.fleet.pools, python)
    exporter = [File(f"exporter/fleet_exporter/{path.name}", path.read_bytes()) for path in sorted(EXPORTER.glob("*.py"))]
    pins = File("exporter.txt", (release.REQUIREMENTS / "exporter.txt").read_bytes())
    text = CONTAINERFILE.replace("ARG PYTHON=3.11", f"ARG PYTHON={python}").encode()
    return (*(replace(file, path=file.path.lstrip("/")) for file in made.files), *exporter, pins, File("Containerfile", text))
