"""Every message between the control side and a machine, and between processes on a machine.

Each message is JSON, and each type stands here once. Names of files, keys in Redis and marks in output that both sides need
are constants. `fleet` imports this module and nothing else of `fleet_node`. Standard library alone.

The module is long because both sides of a message are read here, in one place.
"""

from __future__ import annotations

from typing import Any, Literal, NotRequired, TypedDict

PROTOCOL = 1
"""Counts changes of this module that the other side could not read. A release holds a file `protocol-<PROTOCOL>`."""

STEP_MARK = "fleet-step: "
"""Begins the line in which `fleet_node.step` prints its StepResult."""
TASKS_MARK = "fleet-tasks: "
"""Begins the line in which `fleet_node.app.unregistered` prints its UnregisteredTasks."""
HOOK_MARK = "fleet-hook: "
"""Before the HookResult, at the end of what a hook printed."""
APP_MARK = "fleet-app: "
"""Begins the line in which `fleet_node.app.check` prints its AppDescription."""
RETIRED_MARK = "fleet-retired: "
"""Begins the line in which `fleet_node.app.retire` prints its RetiredWorkers."""

STATE_FOLDER = "/var/lib/fleet"
"""What a machine keeps of its rollouts: a snapshot, locks, and the history on the broker's machine."""
SNAPSHOT = "snapshot.json"
"""In STATE_FOLDER: the SnapshotAbout of the last step."""
SNAPSHOT_FILES = "snapshot.tar"
"""In STATE_FOLDER: the files that the last step replaced. They may hold secrets."""
UNVERIFIED = "unverified"
"""In STATE_FOLDER: the units of a step that are not verified, one name a line. The file exists only while there are any."""
STEP_LOCK = "step.lock"
"""In STATE_FOLDER: a running step holds an flock on it."""

CONTROL_FILE = "control.json"
"""In a unit's runtime directory: the ControlFile of its worker."""
DRAIN_FILE = "drain.json"
"""In a unit's runtime directory: the DrainReport of its last drain."""
READY_FILE, CONSUMES_FILE, ALIVE_FILE = "ready", "consumes", "alive"
"""In a pod's runtime directory, for the kubelet's probes: the process has started; it takes tasks; the last sign of life."""
LOAN_FILE = "loan.json"
"""In a unit's runtime directory: what its worker is lent out for."""
EXTRA = "-extra@"
"""In the node of a worker that was started for a time: it ends at any time."""
LOAN_MOST = 900
"""Seconds for which a worker is lent out at most. Who needs it for longer asks again."""
ENDED_FILE = "ended"
"""In a unit's runtime directory: how systemd saw its last process end. The unit's ExecStopPost writes it."""

PARKED = "fleet.parked"
"""Hash in the broker's database: delivery tag → ParkedTask."""
DELIVERIES = "fleet.deliveries."
"""Prefix of hashes in the broker's database, followed by a delivery tag: how often a message was begun, and why it came back. Of
RabbitMQ, prefix of queues, followed by a task's id: it was begun, and its message had come back more often than it may."""
DEAD_LETTERS = "fleet.dead"
"""Queue of RabbitMQ with the dead letters. Each is the message as it was, with the header PARKED_HEADER if a worker has parked
it, and with x-death if RabbitMQ has."""
DEAD_LETTERS_ARGUMENTS = {"x-queue-type": "quorum", "x-delivery-limit": 1_000_000}
"""That queue's. Who reads a dead letter and gives it back counts as a delivery of it: the limit of 20 that RabbitMQ 4 has
otherwise would make it vanish."""
PARKED_HEADER = "fleet_parked"
"""Header of a dead letter in RabbitMQ: a ParkedHeader as JSON."""
SEND_AGAIN = """
if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 0 then return 0 end
redis.call('LPUSH', KEYS[2], ARGV[2])
redis.call('HDEL', KEYS[1], ARGV[1])
redis.call('DEL', KEYS[3])
return 1
"""
"""Lua: moves a parked task to its queue, once, whoever else tries. A Redis that is full refuses it whole.

KEYS: PARKED, the queue's list, the message's deliveries; ARGV: the field in PARKED, the message as JSON.
"""

WORKERS = "fleet.workers"
"""Sorted set: holder ("<node>|<boot>|<pid>|<start>|<token>") → Redis's time at which its lease ends; +inf if it has none."""
HELD = "fleet.held."
"""Prefix of the hash of each holder: delivery tag → "<Redis's time at which it was taken> <list that it came from>".

Of the time, six decimals count. The 26 digits after them are when the message was sent: two times in milliseconds, not before the
first and not after the second. Releases that know nothing of them read the time as a number, and the rest as the list."""
CONSUMED = "fleet.lists"
"""Sorted set: [queue, list] as JSON → Redis's time at which a worker last said that it consumes it."""
AGES = "fleet.ages"
"""Hash: list → ListAge. The listener writes it once a second while messages wait."""
MARKS = "fleet.marks."
"""Prefix of the list of each list's marks (`fleet_node.delivery.ages`), the next first."""

CONNECTION = "fleet:"
"""Begins the name of a worker's connection to Redis (CLIENT LIST); its node follows."""
SIGNS = "fleet.signs"
"""Hash: holder → WorkerSign, of workers that live or whose lease has just ended."""
LEFT = "fleet.left"
"""List: [holder, WorkerSign] as JSON, of workers that have ended, the last first. It goes LEFT_SECONDS after the last of them."""
LEFT_MOST, LEFT_SECONDS = 500, 600
"""Entries of LEFT, at most, and seconds that it is there: long enough for whoever adds up what workers have counted."""
SENT_AT = "fleet_sent_at"
"""Header of a message, if its producer has stamped it: seconds since 1970 at which it was sent."""
SENT_BEFORE = "fleet_sent_before"
"""Property that a worker gives a message as it takes it: Redis's time, in seconds since 1970, after which it was not sent. It was
sent a second before that at most, unless it was there before the fleet."""
OTHER = "(other)"
"""The task, queue or exception of what is counted together, since there are too many."""
OVERDUE = 30
"""Seconds after a task's hard time limit at which it should have been ended."""
COUNTS = ("received", "started", "succeeded", "retried", "revoked", "rejected")
"""Fields of TaskCounts that are numbers."""
RUNTIME_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600)
WAIT_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800)
"""Upper limits of histograms, in seconds. Those of the wait are celery-exporter's."""

PROBE_TASK = "fleet.probe"
"""The task that shows that a worker does its work."""
DRILL_TASK = "fleet.drill"
"""The task of `fleet drill`. A worker has it only while a drill is announced."""
BENCH_TASK = "fleet.bench"
"""The task of `fleet bench`. A worker has it only while a benchmark is announced, which is done as a drill is."""
OWN_TASKS = (DRILL_TASK, BENCH_TASK)
BELL = "fleet.bell."
"""Prefix of sorted sets with one token, or none, followed by a queue or "<holder>.<channel>". Workers wait for the token."""
BENCH_QUEUE = "fleet.bench."
"""Prefix of queues of benchmarks, followed by a role. Its workers consume it while a benchmark runs."""
DRILL_ANNOUNCED = "fleet.drill.announced"
"""Set in the Redis of the ledger: the ids of the drills and benchmarks that run. Each adds its id and renews the key's time."""
DRILL_TTL = 300
"""Seconds after which an announcement that nobody renews ends. Longer than the longest outage of the broker in a drill."""
DRILL_LEDGER = "fleet.drill."
"""Prefix of lists in the database of the results, followed by a drill's id: what its tasks write down."""

BEAT_LOCK = "fleet.beat.leader"
"""String that ends by itself: the beat process that leads, as a holder is written in WORKERS."""
BEAT_RUNS = "fleet.beat.runs"
"""Hash: entry of the schedule → BeatRun."""
BEAT_SIGNS = "fleet.beat.signs"
"""Hash: node of a beat process → [Redis's time, BeatSign], of those that live or were killed within a day."""
BEAT_RUN = "fleet_beat_run"
"""Header of a message that beat sends: its BeatRun, and `entry`."""
BEAT_DRILL_ENTRY = "fleet.beat.drill"
"""The entry of `fleet drill kill-beat`, its task, and the queue to which the leader sends it each second while a drill is
announced. No worker consumes it: the drill reads it."""
BEAT_DRILL = "fleet.beat.drilled"
"""String that ends by itself: the drill that is announced to the leader."""


class BeatRun(TypedDict):
    """The last run of an entry. Times are ISO 8601, by the clock of the leader that sent it."""

    last_run_at: str
    total_run_count: int
    after: str
    """The run before it; empty if that is not known."""


class BeatSign(TypedDict):
    """What a beat process says of itself."""

    node: str
    leads: bool
    since: str
    """ISO 8601."""
    release: str
    revision: str


class SurgeRequest(TypedDict):
    """A second instance, which serves the queues of a worker while that worker restarts."""

    unit: str
    """Name of its unit."""
    node: str
    """Its name among Celery's workers."""
    text: str
    """Content of its unit file."""


class UnitRequest(TypedDict):
    """A worker that a step restarts or starts."""

    role: str
    node: str
    """Its name among Celery's workers."""
    queues: list[str]
    revision: str | None
    """The FLEET_REVISION that it is to run; None if the step restarts it as it is."""
    need: int
    """Bytes of memory that a second instance takes."""
    surge: SurgeRequest


class GateSettings(TypedDict):
    """How a gate asks workers."""

    expected: int
    """How many workers should answer, in the whole fleet."""
    app: str
    """What follows `celery -A`."""
    look: float
    """Seconds that workers have to say what they consume."""
    settle: float
    """Seconds for which a worker is watched."""
    patience: float
    """Seconds that a worker has to answer, and a probe task to come back."""
    first_task: float
    """Seconds that a worker's first task may take: its processes may import the app only now, after the worker says that it is
    ready."""


class GateRequest(TypedDict):
    """The gate of one role. It holds secrets."""

    command: list[str]
    user: str
    """The user that it runs as, if the step is root's; empty for the same user."""
    folder: str
    """Its working directory."""
    base: dict[str, str]
    """The environment that its process starts with."""
    environment: dict[str, str]
    """What the role's workers have in their environment besides."""
    ask: GateSettings


class StepRequest(TypedDict):
    """What `fleet_node.step` reads on stdin: one step of a rollout on one machine. It holds secrets."""

    archive: str
    """A gzipped tar, in base64, of all files that the step writes."""
    envs: list[str]
    """Paths in the archive that come first: the environments of the roles."""
    files: list[str]
    """All other paths in the archive: unit files."""
    timeout: float
    """Seconds to wait for a step of an earlier run that is still at work."""
    units: dict[str, UnitRequest]
    """By name of unit."""
    gates: dict[str, GateRequest]
    """By role."""
    stopping: list[str]
    """Nodes that go down in this step, on all machines."""
    min_consumers: dict[str, int]
    """Queue → consumers that it has at all times."""
    canary: bool
    restart: bool
    """Whether workers restart although they run the revision that they should."""


DrainOutcome = Literal["idle", "timeout", "silent"]
"""How a drain ended: the worker holds nothing, its time was over, or it does not answer."""


class DrainReport(TypedDict):
    """How a worker's drain went (DRAIN_FILE)."""

    outcome: DrainOutcome
    seconds: float
    running: dict[str, int]
    """Task → how many of it still ran at the end."""
    reserved: int
    """Tasks that the worker held at the end and had not begun."""
    eta: int
    """Tasks that the worker held for their ETA."""
    why: NotRequired[str]
    """Why it is "silent"."""
    summary: str
    """The report in words."""


UnitState = Literal["untouched", "new", "failed", "put back", "down"]
"""What a unit is after a step. "failed" is only seen if the machine could not put it back."""


class UnitResult(TypedDict):
    """How a step went for one unit."""

    state: UnitState
    why: NotRequired[str]
    """Why the worker is not well."""
    drain: NotRequired[DrainReport | None]
    """None if the worker left no report."""
    killed: NotRequired[bool]
    """Whether systemd killed the worker when its time to stop was over."""
    surged: NotRequired[bool]
    """Whether a second instance was started first."""


class StepResult(TypedDict):
    """What `fleet_node.step` prints after STEP_MARK."""

    ok: bool
    put_back: bool
    """Whether the old files and workers are back."""
    units: dict[str, UnitResult]
    """By name of unit."""
    notes: list[str]
    """Lines for people; the reason first if the step failed."""
    seconds: dict[str, float]
    """Phase ("look", "surge", "restart", "gate") → how long it took."""


class SnapshotAbout(TypedDict):
    """What a snapshot is of (SNAPSHOT)."""

    units: list[str]
    """The units of the step."""
    created: list[str]
    """Paths, relative to the root, of which there was no file before the step."""


class GateOpening(GateSettings):
    """The first line that `fleet_node.gate` reads on stdin."""

    environment: dict[str, str]
    control: str | None
    """Path of a ControlFile, if a worker of the role has run on this machine."""
    stopping: list[str]
    """Nodes that go down in this step, on all machines."""


class GateConsumed(TypedDict):
    """What a gate answers to its opening."""

    consumed: dict[str, list[str]]
    """Node → queues that it consumes, of all workers that are up."""


class GateQuestion(TypedDict):
    """A further line that a gate reads: whether some workers are well."""

    nodes: dict[str, list[str]]
    """Node → queues that it should consume."""
    role: str
    canary: bool
    stopping: list[str]
    """Nodes that a canary is not compared with."""
    control: str
    """Path of a ControlFile."""


class GateVerdict(TypedDict):
    """What a gate answers to a question."""

    problems: dict[str, str]
    """Node → why it is not well."""
    notes: list[str]


class WorkerState(TypedDict):
    """What a worker answers to the remote control command `fleet_state`. It holds no arguments of tasks."""

    queues: list[str]
    running: dict[str, int]
    """Task → how many of it run."""
    reserved: int
    """Tasks that were fetched and have not begun."""
    eta: int
    """Tasks that wait for their ETA."""
    accepted: int
    """Tasks begun since the worker started."""
    succeeded: int
    failed: int
    unavailable: str
    """Why the worker's device is not to be used; empty if it is."""
    release: str
    revision: str


class TaskCounts(TypedDict, total=False):
    """What a worker has counted of one task from one queue since it started. Counts that are zero are left out."""

    task: str
    queue: str
    received: int
    """Those that were revoked, or had expired, are among them."""
    started: int
    succeeded: int
    failed: dict[str, int]
    """Exception → number."""
    retried: int
    revoked: int
    rejected: int
    runtime: list[float]
    """Of those that succeeded: the sum in seconds, then the number in each of RUNTIME_BUCKETS, not cumulated, and above. Zeros at
    the end are left out."""
    wait: list[float]
    """The same from when they were sent, or their ETA, to when they began (WAIT_BUCKETS). Of tasks without a stamp it is known
    to a second, and counted as the least that it can be."""


class Lent(TypedDict):
    """What a worker is lent out for."""

    queues: list[str]
    """Of other roles, which it consumes besides its own."""
    slots: int
    """Those that it has besides its own; WorkerSign.slots counts them."""
    until: float
    """Redis's time at which that ends."""


class WorkerSign(TypedDict):
    """What a worker says of itself, without being asked (a value of SIGNS) and when asked (the remote control command
    `fleet_sign`). It holds no arguments of tasks."""

    node: str
    at: float
    """Redis's time, in seconds since 1970."""
    started_at: float
    """The same of the worker's start."""
    release: str
    revision: str
    pool: str
    slots: int
    queues: list[str]
    """What it consumes."""
    running: dict[str, int]
    """Task → how many of it run."""
    begun: NotRequired[dict[str, list[int]]]
    """Task → Redis's time at which those that run began, in whole seconds, the first first; 100 of a worker at most. Earlier
    releases do not say it."""
    reserved: int
    """Tasks that were fetched and have not begun."""
    eta: int
    """Tasks that wait for their ETA."""
    held: dict[str, list[int]]
    """Queue → how many of its tasks run, are fetched and have not begun, and wait for their ETA."""
    draining: bool
    lent: NotRequired[Lent]
    """Left out if it is lent out for nothing."""
    unavailable: str
    """Why the worker's device is not to be used; empty if it is."""
    overdue: NotRequired[int]
    """Tasks that still run OVERDUE seconds after their hard time limit."""
    memory: NotRequired[int | None]
    """Bytes in the worker's cgroup; None if that is not known. memory_max: the same of its limit."""
    memory_max: NotRequired[int | None]
    oom_kills: NotRequired[int]
    """Processes in the worker's cgroup that the kernel has killed for memory."""
    tasks: list[TaskCounts]


class ControlFile(TypedDict, total=False):
    """How the workers of an app are reached (CONTROL_FILE): some settings of the app, and of its transports' options those that
    say where messages are. It holds no secret."""

    accept_content: list[str] | None
    broker_transport_options: dict[str, Any]
    broker_use_ssl: bool | dict[str, Any] | None
    control_exchange: str
    control_serializer: str
    result_accept_content: list[str] | None
    result_backend_transport_options: dict[str, Any]
    result_serializer: str
    task_serializer: str


class CelerySettings(TypedDict, total=False):
    """Celery settings that a worker gets from the fleet (FLEET_CELERY in its environment)."""

    broker_transport_options: dict[str, Any]
    result_backend_transport_options: dict[str, Any]
    settings: dict[str, Any]
    """Value by name of setting."""
    at_most_once: list[str]
    """Names of tasks, or shell patterns of names, that keep their own settings of delivery."""
    lease: int | None
    """Seconds after which what the worker holds goes to others, unless it gives a sign of life. None, and no value, if it has no
    lease."""


class TaskDescription(TypedDict):
    """A task of an app."""

    name: str
    queues: list[str]
    """Where the app's router sends it; empty if that failed."""
    time_limit: float | None
    soft_time_limit: float | None
    acks_late: bool
    reject_on_worker_lost: bool
    retry_delay: float | None
    """Seconds before its last retry."""
    route_error: NotRequired[str]
    """Why the router failed."""


class PatchDescription(TypedDict):
    """A defect of the installed Celery or kombu."""

    name: str
    mends: str
    """What goes wrong without the patch."""
    mended: bool
    """Whether the patch supports the installed versions."""
    advice: str
    """What to do if it does not."""
    pools: list[str]
    """The pools that have the defect; empty for all."""
    brokers: NotRequired[list[str]]
    """The kinds of broker with which it shows ("redis", "amqp"); empty for all. Earlier releases have it of Redis alone."""


class QueueDescription(TypedDict):
    """How an app declares a queue. RabbitMQ refuses whoever declares it otherwise."""

    name: str
    kind: str
    """"quorum", "classic", "stream"."""
    exchange: str
    """"direct", "topic", "fanout", "headers". Celery delays no task for RabbitMQ that goes through a direct one."""
    exchange_name: str
    key: str
    """What binds it to the exchange."""
    durable: bool
    priorities: bool
    """Whether it has priorities. Quorum queues before RabbitMQ 4 have none."""


class EntryDescription(TypedDict):
    """An entry of the app's schedule."""

    name: str
    task: str
    known: bool
    """Whether the app has the task."""
    queues: list[str]
    """Where its messages land."""
    route_error: NotRequired[str]
    """How the app's router failed."""


class SchedulerDescription(TypedDict):
    """The scheduler of beat."""

    name: str
    is_celerys: bool
    """Whether its entries are those of beat_schedule."""
    error: str
    """Why it does not import; empty if it does."""
    has_lock: NotRequired[bool]
    """Whether the broker can have the lock of a leader: a Redis. Left out if the app was described without the fleet's broker."""


class AppDescription(TypedDict):
    """What `fleet_node.app.check` prints after APP_MARK. It holds no secret."""

    app: str
    """What follows `celery -A`."""
    celery: str
    kombu: str
    amqp: NotRequired[str]
    tasks: list[TaskDescription]
    queues: list[str]
    """Queues that the app declares."""
    declared: NotRequired[list[QueueDescription]]
    """How it declares them, and its default queue."""
    default_queue: str
    settings: dict[str, Any]
    """Settings that differ from Celery's own."""
    broker: str | None
    """Scheme and hosts of the URL that the app fixes."""
    patches: list[PatchDescription]
    """Defects that the installed versions have."""
    schedule: NotRequired[list[str]]
    """Names in the schedule for celery beat."""
    entries: NotRequired[list[EntryDescription]]
    """The same entries."""
    scheduler: NotRequired[SchedulerDescription]
    untried: NotRequired[list[str]]
    """In words: those of the installed versions with which the fleet's promises are not tested."""


class HookResult(TypedDict):
    """How a hook of the user's ended. code: 124 if it was killed because of its time limit."""

    code: int
    seconds: float


class UnregisteredTasks(TypedDict):
    """What `fleet_node.app.unregistered` prints after TASKS_MARK."""

    unregistered: dict[str, dict[str, int]]
    """Queue, or "in flight" → task → how many of it the release does not have."""
    looked_at: int
    """Messages that were read."""
    not_looked_at: int
    """Messages that were left out when the time was over."""


class RetiredWorkers(TypedDict):
    """What `fleet_node.app.retire` prints after RETIRED_MARK."""

    given_back: dict[str, int]
    """Node → how many of the messages that it held are back in their queues."""
    alive: dict[str, float | None]
    """Node that has given a sign of life → seconds for which it still counts as alive; None if it has no lease, so that nobody
    knows. Nothing was taken from it."""
    refusal: str
    """Why Redis did not put others back; empty if it did."""


class ListAge(TypedDict):
    """How long messages wait in one list of a queue (a value of AGES). Times are Redis's, in seconds since 1970."""

    at: float
    """When this was written."""
    length: int
    """Messages in the list."""
    covered: float
    """What came later is not known yet; 0 if it is not known of what is there either."""
    earliest: float | None
    """The oldest message that is due was not sent before this; 0 if that is not known. None if no message is due."""
    latest: float | None
    """It was not sent after this. None if no message is due."""
    known: Literal["stamp", "mark", "back", "unknown", "eta", "empty"]
    """How: its producer said so; it came between two marks; it came back, and a worker knew it; it was there when the fleet came;
    all messages wait for their ETA; there is no message."""


class ParkedTask(TypedDict):
    """A dead letter: a task that no worker can run (a value of PARKED)."""

    field: str
    """Its field in PARKED: the delivery tag of its message."""
    id: str
    task: str
    args: str
    kwargs: str
    queue: str
    redelivered: int
    reason: str
    worker: str
    at: float
    """When it was parked, in seconds since 1970."""
    expires: str | None
    """As Celery writes it."""
    key: str
    """The list in Redis that its message came from."""
    message: dict[str, Any]
    """The whole message, as kombu has it in Redis."""
    unknown: NotRequired[bool]
    """Whether it is parked because the worker's release does not have it."""


class ParkedHeader(TypedDict):
    """What a worker says of a dead letter in RabbitMQ (the header PARKED_HEADER). All else is the message's own."""

    queue: str
    redelivered: int
    reason: str
    worker: str
    at: float
    """When it was parked, in seconds since 1970."""
    unknown: bool
    """Whether it is parked because the worker's release does not have it."""


class DeviceState(TypedDict):
    """NVIDIA devices of a machine, as `fleet_node.gpu_watch` sees them (/run/fleet-gpu/state.json)."""

    unavailable: dict[str, str]
    """UUID, and index as text → why the device is not to be used."""
    known: list[str]
    """UUIDs, and indices as text, of all devices that were ever listed since the machine started."""
    devices: list[tuple[int, str, str]]
    """Index, UUID, bus."""
    xids: dict[str, int]
    """Bus → the last Xid after which its device needs a reset."""
