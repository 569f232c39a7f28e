"""sh that brings the passwords of Redis' users to a running server. Nobody is disconnected, as a restart or ACL LOAD would.

First Redis accepts the new passwords as well, and last, when everybody has them, the new ones alone. The server is told before
its file is written, so that a run that was cut off leaves a file that differs, and the next one goes on.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256

from fleet.spec.secrets import BROKER_ADMIN, BROKER_MONITOR, BROKER_WORKER, accepted
from fleet.state.render import render

ADMIN = "admin"
"""The user that may change users, and nothing else."""
PASSWORDS = {ADMIN: BROKER_ADMIN, "worker": BROKER_WORKER, "monitor": BROKER_MONITOR}
"""User → the name of its password."""


@dataclass(frozen=True)
class Users:
    """The users of a Redis. path: its ACL file. content: what the file should be, with digests of passwords. port: on loopback.
    authorities: a file, if the port is one of TLS. passwords: of ADMIN, the present one first. owner: USER:GROUP of the file."""

    path: str
    content: bytes = field(repr=False)
    port: int
    passwords: tuple[str, ...] = field(repr=False)
    authorities: str = ""
    owner: str = "redis:redis"

    @property
    def input(self) -> str:
        """The stdin of the commands below: a line for each of two passwords, and the file."""
        present, before = (*self.passwords, "", "")[:2]
        return f"{present}\n{before}\n{self.content.decode()}"

    def accept(self, live: bool = True) -> str:
        """Accept the passwords of the file besides those that are accepted now. live: whether the server is asked to; if it is
        about to be restarted, the file is enough."""
        asked = f"log_in || {{ write; refuse; }}\n{_APPLY.format(removes=0)}" if live else ""
        return f"{self._begin()}{_MERGE}{asked}write\n"

    def settle(self) -> str:
        """Accept the passwords of the file, and no others."""
        return f"{self._begin()}log_in || refuse\n{_APPLY.format(removes=1)}write\n"

    def _begin(self) -> str:
        tls = f" --tls --cacert {shlex.quote(self.authorities)}" if self.authorities else ""
        return _BEGIN.format(path=shlex.quote(self.path), port=f"{self.port}{tls}", owner=shlex.quote(self.owner), user=ADMIN)


def acl(secrets: Mapping[str, str]) -> bytes:
    """Redis' ACL file, with the digests of all passwords that are accepted."""
    return _rendered({user: digests(accepted(secrets, name)) for user, name in PASSWORDS.items()})


def rights() -> bytes:
    """The same without passwords."""
    return _rendered(dict.fromkeys(PASSWORDS, ()))


def digests(passwords: Iterable[str]) -> list[str]:
    """The passwords of a user as Redis' ACL file has them, in an order that does not depend on which is the present one."""
    return sorted(sha256(password.encode()).hexdigest() for password in passwords)


def _rendered(passwords: Mapping[str, Iterable[str]]) -> bytes:
    return render("etc/redis/users.acl.j2", **passwords)


_BEGIN = """set -u
umask 077
file={path}
IFS= read -r present
IFS= read -r before
users=$(cat)
ask() {{ timeout 30 redis-cli -h 127.0.0.1 -p {port} --user {user} --no-auth-warning "$@" 2>&1; }}
log_in() {{
  for password in "$present" "$before"; do
    [ -n "$password" ] || continue
    export REDISCLI_AUTH="$password"
    answer=$(ask acl whoami </dev/null)
    [ "$answer" != {user} ] || return 0
  done
  return 1
}}
refuse() {{
  case $answer in
    *WRONGPASS* | *NOAUTH*) echo "Redis does not know BROKER_ADMIN_PASSWORD: restart it once (systemctl restart redis-server;" \\
      "clients connect again by themselves), and deploy again" >&2 ;;
    *) echo "Redis was not asked to accept the passwords: $answer" >&2 ;;
  esac
  exit 1
}}
digests() {{ awk '$1 == "user" {{ for (i = 3; i <= NF; i++) if ($i ~ /^#/) print $2, $i }}'; }}
write() {{
  printf '%s\\n' "$users" >"$file.new" && chown {owner} "$file.new" && chmod 640 "$file.new" && mv "$file.new" "$file" || exit 1
}}
"""
_MERGE = """users=$(printf '%s\\n' "$users" | awk -v file="$file" '
  BEGIN {
    while ((getline line < file) > 0) {
      fields = split(line, field, " ")
      for (i = 3; i <= fields; i++) if (field[i] ~ /^#/) known[field[2]] = known[field[2]] " " field[i]
    }
  }
  {
    more = ""
    count = split(known[$2], digest, " ")
    for (i = 1; i <= count; i++) if (index($0 " ", " " digest[i] " ") == 0) more = more " " digest[i]
    if (more != "") sub(/ on /, " on" more " ")
    print
  }')
"""
_APPLY = """changes=$(
  {{
    ask acl list </dev/null | digests | sed 's/^/has /'
    printf '%s\\n' "$users" | digests | sed 's/^/gets /'
  }} | awk -v removes={removes} '
    $1 == "has" {{ has[$2 " " $3] }}
    $1 == "gets" {{ gets[$2 " " $3]; user[$2] }}
    END {{
      for (pair in gets) if (!(pair in has)) {{ split(pair, part, " "); change[part[1]] = change[part[1]] " " part[2] }}
      for (pair in has) if (removes && !(pair in gets)) {{
        split(pair, part, " ")
        if (part[1] in user) change[part[1]] = change[part[1]] " !" substr(part[2], 2)
      }}
      for (name in change) print "acl setuser " name change[name]
    }}'
)
[ -z "$changes" ] || {{
  # On stdin: other users of the machine can read arguments. A change of a user is made as a whole or not at all.
  answer=$(printf '%s\\n' "$changes" | ask)
  [ "$(printf '%s\\n' "$answer" | grep -cx OK)" = "$(printf '%s\\n' "$changes" | wc -l)" ] || refuse
  printf '%s\\n' "$changes" | while read -r _ _ name digests; do
    case " $digests" in *' #'*) echo "accepts a new password of $name" ;; esac
    case " $digests" in *' !'*) echo "no longer accepts a password before of $name" ;; esac
  done
}}
"""
