"""read_inventory reads the same values as pyinfra's own reader."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from fleet.inventory.read import read_inventory
from fleet.spec.fleet import Inventory
from fleet.spec.mistakes import SpecError

ROOT = Path(__file__).parents[4]

AS_PYINFRA = """
import json, sys
from pyinfra.context import ctx_state
from pyinfra.api import State
from pyinfra_cli.inventory import make_inventory
from fleet.engine.inventory import gather
ctx_state.set(State())
inventory = gather(make_inventory(sys.argv[1], cwd=sys.argv[2]))
print(json.dumps([dict(inventory.hosts), inventory.groups, sorted(inventory.group_data)]))
"""


def as_pyinfra(path: Path, cwd: Path) -> Inventory:
    """Read by pyinfra itself, in a process of its own (it patches what it imports)."""
    done = subprocess.run(
        [sys.executable, "-c", AS_PYINFRA, str(path), str(cwd)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    hosts, groups, data = json.loads(done.stdout.splitlines()[-1])
    return Inventory(hosts, {name: tuple(members) for name, members in groups.items()}, frozenset(data))


def assert_same(path: Path, cwd: Path, monkeypatch: pytest.MonkeyPatch) -> Inventory:
    monkeypatch.chdir(cwd)
    local, expected = read_inventory(path), as_pyinfra(path, cwd)
    assert local.hosts == expected.hosts
    assert dict(local.groups) == dict(expected.groups)
    assert local.group_data == expected.group_data
    return local


def test_the_example_is_read_as_pyinfra_reads_it(monkeypatch: pytest.MonkeyPatch) -> None:
    example = assert_same(ROOT / "inventory" / "prod.py", ROOT, monkeypatch)
    assert {name: len(hosts) for name, hosts in example.groups.items()} == {
        "broker": 1,
        "monitor": 1,
        "web": 3,
        "batch": 2,
        "gpu": 2,
    }


def test_precedence_is_pyinfras(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "inventory").mkdir()
    (tmp_path / "group_data").mkdir()
    (tmp_path / "group_data" / "all.py").write_text(
        "import os\nfrom os import environ as e\nfrom pathlib import Path\na = 'all'\nb = 'all'\nc = 'all'\n_sudo = True\n"
    )
    (tmp_path / "group_data" / "web.py").write_text("b = 'web'\nc = 'web'\nd = {'x': 1}\n")
    (tmp_path / "group_data" / "batch.py").write_text("b = 'batch'\nd = {'y': 2}\n")
    (tmp_path / "group_data" / "prod.py").write_text("e = 'the file group comes last'\nc = 'prod'\n")
    inventory = tmp_path / "inventory" / "prod.py"
    inventory.write_text(
        "_hidden = ['no']\nweb = (['w1', ('w2', {'c': 'host'})], {'f': 'inline'})\nbatch = ['w1', 'b1']\nnumber = 3\n"
    )
    merged = assert_same(inventory, tmp_path, monkeypatch)
    assert merged.hosts["w2"]["c"] == "host"
    assert merged.hosts["w1"]["b"] == "batch"


@pytest.mark.parametrize("value", ['"web1"', '("web1", "web2")', '{"web1": {}}', 'f"web{1}"'])
def test_a_group_that_is_no_list(tmp_path: Path, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "group_data").mkdir()
    (tmp_path / "group_data" / "web.py").write_text("a = 1\n")
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "prod.py"
    path.write_text(f'domain = "example.com"\nbatch = ["b1"]\nweb = {value}\n')
    expected = 'prod.py, line 3: web: no list in the inventory, so that no host is in the group; write web = ["host", …]'
    try:
        mistakes = read_inventory(path).mistakes
    except SpecError as error:  # of a tuple pyinfra would make a group of its letters
        mistakes = tuple(error.mistakes)
    assert mistakes == (expected,)
    for legitimate in ("web = (['w1'], {})\n", "web = 'w1 w2'\nweb = web.split()\n"):
        path.write_text(legitimate)
        assert read_inventory(path).mistakes == ()
    path.write_text("web = (['w1', 'w2', ('w1', {'lan_address': '10.0.0.1'})], {})\n")
    assert read_inventory(path).mistakes == ("prod.py, line 1: web: w1 is in the list twice",)


def test_no_such_file() -> None:
    with pytest.raises(SpecError, match=r"nowhere\.py: no such inventory file"):
        read_inventory(Path("nowhere.py"))


def test_an_inventory_that_does_not_run(tmp_path: Path) -> None:
    path = tmp_path / "prod.py"
    path.write_text("web = [\n")
    with pytest.raises(SpecError, match=r"prod\.py, line 1: SyntaxError: '\[' was never closed"):
        read_inventory(path)
