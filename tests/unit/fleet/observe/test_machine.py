"""What a machine says, and what that means."""

import subprocess

import pytest

from fleet.observe import machine
from fleet.observe.machine import Unit
from fleet.spec.urls import Endpoint

OUTPUT = """\
memory\t2000000
cores\t2
hostname\tweb1
uptime\t1000.50
load\t0.42
available\t1000
oom-kills\t3
pressure\tcpu\t1.50
pressure\tio\t0.00
broker\tno
unit\tId\tcelery-web@1.service
unit\tLoadState\tloaded
unit\tActiveState\tactive
unit\tSubState\trunning
unit\tResult\tsuccess
unit\tProcess\tT
unit\tRevision\tv1
unit\tRelease\tr1
unit\tStatusText\t2/4 busy · 1,204 done · queues default
unit\tMemoryCurrent\t1048576
unit\tMemoryMax\tinfinity
unit\tNRestarts\t3
unit\tActiveEnterTimestampMonotonic\t990000000
unit\tNeedDaemonReload\tyes
unit\tWatchdogTimestampMonotonic\t998500000
unit\tOomKills\t2
unit-end
unit\tId\tcelery-web@2.service
unit\tLoadState\tnot-found
unit-end
unit\tId\tcelery-batch@1.service
unit\tLoadState\tloaded
unit\tActiveState\tfailed
unit\tResult\toom-kill
unit\tMemoryCurrent\t[not set]
unit\tMemoryMax\t18446744073709551615
unit\tActiveEnterTimestampMonotonic\t0
unit-end
unit-end
end
"""


def test_units_of_an_answer() -> None:
    parsed = machine.parse(OUTPUT.splitlines())
    assert (parsed.hostname, parsed.facts.cores, parsed.available, parsed.load, parsed.reaches_broker) == (
        "web1",
        2,
        1024000,
        0.42,
        False,
    )
    assert (parsed.oom_kills, parsed.pressure) == (3, {"cpu": 1.5, "io": 0.0})
    assert parsed.units == {
        "celery-web@1.service": Unit(
            active="active",
            sub="running",
            result="success",
            process="T",
            status="2/4 busy · 1,204 done · queues default",
            memory=1 << 20,
            restarts=3,
            up=10.5,
            signalled=2.0,
            stale=True,
            revision="v1",
            release="r1",
            oom_kills=2,
        ),
        "celery-batch@1.service": Unit("failed", result="oom-kill"),
    }
    assert parsed.units["celery-web@1.service"].busy == 2


def test_an_answer_that_is_cut_short_is_none() -> None:
    with pytest.raises(ValueError, match="cut short"):
        machine.parse(OUTPUT.splitlines()[:-1])


def test_this_machine_answers() -> None:
    """Without systemd, and without a broker."""
    command = machine.command(Endpoint("redis", "127.0.0.1", 9))
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False, timeout=30)
    parsed = machine.parse(done.stdout.splitlines())
    assert parsed.facts.cores > 0
    assert parsed.reaches_broker is False
    assert parsed.available > 0
    assert done.stderr == ""
