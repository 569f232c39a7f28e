"""Names in our own RabbitMQ: its virtual host, its nodes, and its users."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass, field
from hashlib import sha256

VHOST = "fleet"
"""The virtual host with all queues of the fleet."""
UNIT = "rabbitmq-server.service"
MANAGEMENT_PORT = 15672
"""Of the management plugin, on loopback alone."""


@dataclass(frozen=True)
class Account:
    """A user with its password."""

    name: str
    password: str = field(repr=False)

    @property
    def password_hash(self) -> str:
        """The password as RabbitMQ keeps it (rabbit_password_hashing_sha256). The salt is made of name and password, so that the
        hash is the same in each deploy."""
        salt = sha256(f"{self.name}\0{self.password}".encode()).digest()[:4]
        return b64encode(salt + sha256(salt + self.password.encode()).digest()).decode()


def account(role: str, password: str) -> Account:
    """The user of a role ("worker" or "monitor") with this password.

    RabbitMQ's users have one password each. While a password changes, the one before is valid as well: so each has a user of its
    own, named after it, and clients of either password are let in.
    """
    return Account(f"{role}-{sha256(f'{role}:{password}'.encode()).hexdigest()[:6]}", password)


def node(address: str) -> str:
    """The name of the node at an address. Names of machines may change, and are not known to each other everywhere."""
    return f"rabbit@{address}"
