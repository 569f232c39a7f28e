"""Which Debian mirror this machine uses: the image is built from the same mirror, so that none is named here."""

import os
from collections.abc import Iterable
from pathlib import Path

from lab.errors import LabError

HOPS = ("", "-updates", "-security")


def parse(texts: Iterable[tuple[str, str]], codename: str, suite: str) -> list[str]:
    """apt source files → one-line sources of Debian's main archive for `suite`.

    `texts`: (file name, content), one-line format or deb822 (`.sources`). `codename`: this machine's own release;
    only its suites count (`codename`, `-updates`, `-security`), and its name is replaced by `suite`.
    """
    sources: list[str] = []
    for name, text in texts:
        entries = _deb822(text) if name.endswith(".sources") else _one_line(text)
        for uri, suites, components in entries:
            for hop in HOPS:
                if f"{codename}{hop}" in suites and "main" in components:
                    sources.append(f"deb {uri.rstrip('/')} {suite}{hop} main")
    return sorted(set(sources))


def of_this_machine(suite: str) -> list[str]:
    """The sources for `suite`: FLEET_LAB_MIRROR (a URI) if set, else from /etc/apt. `LabError` when neither names one."""
    if mirror := os.environ.get("FLEET_LAB_MIRROR"):
        return [f"deb {mirror.rstrip('/')} {suite} main"]
    files = [Path("/etc/apt/sources.list"), *sorted(Path("/etc/apt/sources.list.d").glob("*"))]
    texts = [(f.name, f.read_text()) for f in files if f.suffix in (".list", ".sources") and f.is_file()]
    release = dict(line.split("=", 1) for line in Path("/etc/os-release").read_text().splitlines() if "=" in line)
    is_debian = release.get("ID", "").strip('"') == "debian"
    codename = release.get("VERSION_CODENAME", suite).strip('"') if is_debian else suite
    sources = parse(texts, codename, suite)
    if not sources:
        raise LabError(
            f"no Debian {codename} source with component main in /etc/apt/sources.list or sources.list.d: "
            "set FLEET_LAB_MIRROR to the URI of a Debian mirror"
        )
    return sources


def _one_line(text: str) -> list[tuple[str, list[str], list[str]]]:
    entries = []
    for line in text.splitlines():
        body = line.split("#", 1)[0].strip()
        if "[" in body:  # deb [signed-by=…] uri suite component…
            body = body.split("[", 1)[0] + body.split("]", 1)[-1]
        words = body.split()
        if len(words) >= 4 and words[0] == "deb":
            entries.append((words[1], [words[2]], words[3:]))
    return entries


def _deb822(text: str) -> list[tuple[str, list[str], list[str]]]:
    entries = []
    for stanza in text.split("\n\n"):
        fields: dict[str, str] = {}
        key = ""
        for line in stanza.splitlines():
            if line.startswith("#"):
                continue
            if line[:1].isspace():
                fields[key] = f"{fields.get(key, '')} {line.strip()}"
            elif ":" in line:
                key, value = line.split(":", 1)
                key = key.lower()
                fields[key] = value.strip()
        if "deb" in fields.get("types", "").split() and fields.get("enabled", "yes").lower() != "no":
            for uri in fields.get("uris", "").split():
                entries.append((uri, fields.get("suites", "").split(), fields.get("components", "").split()))
    return entries
