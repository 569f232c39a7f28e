"""Certificates of connections to the broker: PEM files on the control machine.

Those of our own broker are in a folder next to the secrets file. `fleet certificates` makes them; a user's own may lie there too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from fleet.errors import FleetError
from fleet.spec.broker import External
from fleet.spec.files import write_whole
from fleet.spec.fleet import Fleet
from fleet.spec.text import count

AUTHORITIES, AUTHORITY_KEY = "ca.pem", "ca.key"
SERVER, SERVER_KEY = "broker.pem", "broker.key"
AUTHORITY_DAYS, SERVER_DAYS = 3650, 730
SOON = timedelta(days=30)
"""A certificate that ends within this time is named by every deploy, and renewed by `fleet certificates`."""
OWNERS = 0o600
"""The mode of a file that only its owner can read."""
_EARLIER = timedelta(hours=1)
"""A new certificate is valid from so long ago: clocks differ."""


class CertificateError(FleetError):
    """A certificate is missing or of no use. str() has a line for each, with the file."""


@dataclass(frozen=True)
class Certificates:
    """PEM texts. authorities: whom clients trust; empty for those of the machine's distribution. certificate, key: of the server
    if it is ours, else what clients show; empty for none."""

    authorities: bytes = b""
    certificate: bytes = b""
    key: bytes = field(default=b"", repr=False)


def folders_beside(secrets_file: str) -> tuple[Path, Path]:
    """The folders with private keys: secrets/prod-tls, of our own broker, and secrets/prod-k8s for secrets/prod.env."""
    path = Path(secrets_file)
    return path.with_name(f"{path.stem}-tls"), path.with_name(f"{path.stem}-k8s")


def folder_of(fleet: Fleet) -> Path:
    """Where the certificates of our own broker are."""
    return folders_beside(fleet.settings.secrets_file)[0]


def folder_of_exporter(fleet: Fleet, namespace: str) -> Path:
    """Where the certificate is that the exporter of a namespace shows to Kubernetes' API server."""
    return folders_beside(fleet.settings.secrets_file)[1] / namespace


def server_in_cluster(namespace: str) -> tuple[str, str]:
    """The files of our own broker's certificate and key on Kubernetes, where its names are others. They are in folder_of."""
    return f"k8s-{namespace}.pem", f"k8s-{namespace}.key"


def names_of(fleet: Fleet) -> list[str]:
    """The addresses by which our own broker is connected to. Through SSH, its certificate is checked for the same."""
    return [*map(fleet.address_of, fleet.broker_hosts)]


def paths_of(fleet: Fleet) -> tuple[Path | None, Path | None, Path | None]:
    """The files with the authorities, the certificate, and its key; None for those that the fleet does not use."""
    broker = fleet.broker
    if not isinstance(broker, External):
        folder = folder_of(fleet)
        return (folder / AUTHORITIES, folder / SERVER, folder / SERVER_KEY) if broker.tls else (None, None, None)
    given = (broker.ca_file, broker.certificate_file, broker.key_file)
    authorities, certificate, key = (Path(path) if path else None for path in given)
    return authorities, certificate, key


def read(fleet: Fleet, now: datetime | None = None) -> Certificates:
    """The certificates that the fleet uses. Raises CertificateError if they are missing or would be refused."""
    files = paths_of(fleet)
    mistakes: list[str] = []
    contents = [_content(path, fleet, mistakes, path == files[2]) if path else b"" for path in files]
    if not mistakes:
        mistakes += _mistakes(fleet, files, contents, now or datetime.now(UTC))
    if mistakes:
        raise CertificateError("\n".join(mistakes))
    return Certificates(*contents)


def ending_soon(fleet: Fleet, certificates: Certificates, now: datetime | None = None) -> list[str]:
    """A line for each file whose last certificate ends within SOON."""
    lines = []
    for path, content in zip(paths_of(fleet), (certificates.authorities, certificates.certificate), strict=False):
        if path and content:
            end = _end(content)
            left = end - (now or datetime.now(UTC))
            if left < SOON:
                advice = "run fleet certificates INVENTORY" if _is_made(fleet) else "put its successor there"
                lines.append(f"{path}: ends in {count(max(0, left.days), 'day')}, on {end:%Y-%m-%d}; {advice}, and deploy")
    return lines


def ends(folder: Path) -> dict[str, datetime]:
    """File → when it ends, of those that clients check in the folder of our own broker. Raises CertificateError."""
    try:
        return {name: _end((folder / name).read_bytes()) for name in (AUTHORITIES, SERVER)}
    except (OSError, ValueError) as error:
        raise CertificateError(f"{folder}: {error}") from None


def make(
    folder: Path,
    names: Sequence[str],
    renew: bool = False,
    now: datetime | None = None,
    server: tuple[str, str] = (SERVER, SERVER_KEY),
) -> list[str]:
    """Make what is missing in a folder, or ends soon, or is not for these names: an authority, and a server's certificate by it.

    renew: make a new server's certificate in any case. server: its file and its key's. Returns a line for each file that was
    written. The authorities before stay trusted. Raises CertificateError if a file cannot be read or written, or if the
    authority's key is not there.
    """
    now = now or datetime.now(UTC)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        authority, lines = _authority(folder, now)
        file = folder / server[0]
        if not renew and file.exists() and not lines and not _reason(file.read_bytes(), authority.trusted, names, now + SOON):
            return []
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = _signed(names[0], key, authority, now, now + timedelta(days=SERVER_DAYS), names)
        write_whole(folder / server[1], _private(key), OWNERS)
        write_whole(file, certificate.public_bytes(Encoding.PEM), OWNERS)
        return [*lines, f"{file}: for {', '.join(names)}, until {certificate.not_valid_after_utc:%Y-%m-%d}"]
    except (OSError, ValueError) as error:
        raise CertificateError(f"{folder}: {error}") from None


@dataclass(frozen=True)
class _Authority:
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey
    trusted: list[x509.Certificate]


def _authority(folder: Path, now: datetime) -> tuple[_Authority, list[str]]:
    """The authority of a folder, and a line if it was made now: at first, or because the one before ends before a server's
    certificate would."""
    file, key_file = folder / AUTHORITIES, folder / AUTHORITY_KEY
    known = _parsed(file.read_bytes()) if file.exists() else []
    if known and not key_file.exists():
        raise ValueError(f"has {AUTHORITIES} and no {AUTHORITY_KEY}, so its certificates are yours: put the new files there")
    if known and known[0].not_valid_after_utc > now + timedelta(days=SERVER_DAYS):
        key = load_pem_private_key(key_file.read_bytes(), None)
        if not isinstance(key, ec.EllipticCurvePrivateKey) or not _belong(known[0], key):
            raise ValueError(f"{AUTHORITY_KEY} is not the key of {AUTHORITIES}")
        return _Authority(known[0], key, known), []
    key = ec.generate_private_key(ec.SECP256R1())
    made = _signed("celery-fleet broker", key, None, now, now + timedelta(days=AUTHORITY_DAYS))
    trusted = [made, *(certificate for certificate in known if certificate.not_valid_after_utc > now)]
    write_whole(key_file, _private(key), OWNERS)
    write_whole(file, b"".join(certificate.public_bytes(Encoding.PEM) for certificate in trusted), OWNERS)
    return _Authority(made, key, trusted), [f"{file}: a new authority, until {made.not_valid_after_utc:%Y-%m-%d}"]


def _signed(
    name: str,
    key: ec.EllipticCurvePrivateKey,
    authority: _Authority | None,
    now: datetime,
    end: datetime,
    names: Iterable[str] = (),
) -> x509.Certificate:
    """A certificate; without an authority, one of an authority that signs itself."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    issuer = authority.certificate.subject if authority else subject
    issuer_key = authority.key if authority else key
    is_authority = authority is None
    usage = x509.KeyUsage(
        digital_signature=not is_authority,
        key_cert_sign=is_authority,
        crl_sign=is_authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _EARLIER)
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(ca=is_authority, path_length=0 if is_authority else None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
    )
    if not is_authority:
        builder = builder.add_extension(x509.SubjectAlternativeName([_general_name(entry) for entry in names]), critical=False)
        builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
    return builder.sign(issuer_key, hashes.SHA256())


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _content(path: Path, fleet: Fleet, mistakes: list[str], is_key: bool) -> bytes:
    try:
        if is_key and path.stat().st_mode & 0o077:
            mistakes.append(f"{path}: others can read it; run: chmod 600 {path}")
        return path.read_bytes()
    except FileNotFoundError:
        hint = "" if isinstance(fleet.broker, External) else "; make it with: fleet certificates INVENTORY"
        mistakes.append(f"{path}: no such file{hint}")
    except OSError as error:
        mistakes.append(f"{path}: {error.strerror}")
    return b""


def _mistakes(fleet: Fleet, files: Sequence[Path | None], contents: Sequence[bytes], now: datetime) -> Iterator[str]:
    authorities, certificate, key = files
    parsed: dict[Path, list[x509.Certificate]] = {}
    for path, content in zip((authorities, certificate), contents, strict=False):
        if path:
            try:
                parsed[path] = _parsed(content)
            except ValueError:
                yield f"{path}: no certificate in PEM format"
                return
    if certificate and key:
        try:
            private = load_pem_private_key(contents[2], None)
        except (ValueError, TypeError):
            yield f"{key}: no private key in PEM format without a password"
            return
        if not _belong(parsed[certificate][0], private):
            yield f"{key}: is not the key of {certificate}"
            return
    elif certificate or key:
        yield f"{certificate or key}: a certificate needs its key: set certificate_file and key_file"
    if fleet.own_broker and certificate and authorities:
        if reason := _reason(contents[1], parsed[authorities], names_of(fleet), now):
            yield f"{certificate}: {reason}; {_advice(fleet)}"
        return
    for path, given in parsed.items():
        if all(entry.not_valid_after_utc < now for entry in given):
            yield f"{path}: has ended on {given[0].not_valid_after_utc:%Y-%m-%d}"
        elif all(entry.not_valid_before_utc > now for entry in given):
            yield f"{path}: is not valid before {given[0].not_valid_before_utc:%Y-%m-%d}"


def _is_made(fleet: Fleet) -> bool:
    """Whether `fleet certificates` makes the certificates of this fleet, and not the user."""
    return fleet.own_broker is not None and (folder_of(fleet) / AUTHORITY_KEY).exists()


def _advice(fleet: Fleet) -> str:
    """How to come to a certificate that clients accept."""
    if _is_made(fleet):
        return "make a new one with: fleet certificates INVENTORY --renew"
    return f"yours has to be for {', '.join(names_of(fleet))}"


def _reason(content: bytes, trusted: Sequence[x509.Certificate], names: Iterable[str], now: datetime) -> str:
    """Why clients would refuse a server's certificate; empty if they would not."""
    server, *between = _parsed(content)
    if server.not_valid_after_utc < now:
        return f"has ended on {server.not_valid_after_utc:%Y-%m-%d}"
    try:
        verifier = PolicyBuilder().store(Store(list(trusted))).time(now)
        for name in names:
            verifier.build_server_verifier(_general_name(name)).verify(server, between)  # type: ignore[arg-type]
    except VerificationError as error:
        return f"is not valid for {name}: {error}"
    return ""


def _parsed(content: bytes) -> list[x509.Certificate]:
    """Raises ValueError if there is none."""
    return x509.load_pem_x509_certificates(content)


def _end(content: bytes) -> datetime:
    """When clients refuse a file: an authority that ended may stay beside its successor."""
    return max(certificate.not_valid_after_utc for certificate in _parsed(content))


def _belong(certificate: x509.Certificate, key: object) -> bool:
    def spki(public: object) -> bytes:
        encoded: bytes = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)  # type: ignore[attr-defined]
        return encoded

    return spki(certificate.public_key()) == spki(key.public_key())  # type: ignore[attr-defined]


def _private(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
