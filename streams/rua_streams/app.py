"""Builds a worker and runs it: the only place that knows settings, Kafka, Faust and the sinks at once."""

from __future__ import annotations

import asyncio
import io
import logging
import os
import signal
import ssl
import subprocess
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Literal

import faust
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from faust.types import TP
from rua_common import logging as rua_logging
from rua_common.errors import BadConfiguration
from rua_common.kafka import KafkaOptions
from rua_common.metrics import Metrics
from rua_common.protocols import AlertSink, EventSink
from rua_schemas import topics
from rua_schemas.codec import decode
from rua_schemas.diagnose import diagnose
from rua_schemas.events import Alert, DeadLetter, Heartbeat

from rua_streams.checkpoint import Restore
from rua_streams.detect import DetectShell
from rua_streams.detectors import DETECTORS
from rua_streams.engine import Engine
from rua_streams.health import Http
from rua_streams.kafka_log import KafkaLog
from rua_streams.outbox import Outbox
from rua_streams.platforms import Scan, Topics, follow, stateless
from rua_streams.settings import WorkerSettings
from rua_streams.shell import BaseShell
from rua_streams.store import Keeper, StoreShell, Table
from rua_streams.tables import EventTable, Graveyard, RecordTable
from rua_streams.transport import BatchApp, BatchSchema

LOG = logging.getLogger(__name__)
Role = Literal["detect", "store"]
HTTP_PORT = "RUA_WORKER_HTTP_PORT"
TICK_SECONDS, ALERT_TICK_SECONDS, STATUS_SECONDS, WATCH_SECONDS = 0.1, 0.05, 0.5, 1.0
REACH_SECONDS = 20.0
COMMIT_SECONDS = 1.0


def run(
    settings: WorkerSettings, role: Role, event_sink: EventSink | None = None, alert_sink: AlertSink | None = None
) -> int:
    """Runs one role until SIGTERM or SIGINT, then drains: finishes the batch, makes everything safe, commits.

    Returns:
        The process's exit status: 0 after a drain.

    Raises:
        BadConfiguration: no broker, no topics, or a sink is missing.
    """
    rua_logging.configure(settings.log_level, as_json=settings.log_json)
    tame(logging.getLogger())
    names = subscribed(settings, role)
    app = faust_app(settings, role)
    metrics = Metrics()
    shell: DetectShell | StoreShell
    ticks: list[tuple[float, Callable[[], Awaitable[None]]]]
    if role == "detect":
        shell = detect_shell(app, settings, metrics)
        ticks = [(TICK_SECONDS, shell.tick)]
    else:
        if event_sink is None or alert_sink is None:
            raise BadConfiguration("the store role needs a sink: set it to the address", key="RUA_CLICKHOUSE_URL")
        shell = store_shell(app, settings, metrics, event_sink=event_sink, alert_sink=alert_sink)
        ticks = [(ALERT_TICK_SECONDS, partial(shell.flush, keeper)) for keeper in shell.keepers]
    app.shell = shell
    if not settings.platforms and settings.platform_scan_seconds > 0:
        scan = Scan(names, partial(existing, AdminClient(settings.kafka.librdkafka())), partial(newcomer, shell))
        ticks.append((settings.platform_scan_seconds, partial(follow, shell, scan)))
    wire(app, shell, names, ticks)
    LOG.info("role %s reads %s", role, ", ".join(names))
    worker = faust.Worker(app, override_logging=False, redirect_stdouts=False, quiet=True, stdout=io.StringIO())
    try:
        worker.execute_from_commandline()
    except SystemExit as end:
        return int(end.code or 0)


def subscribed(settings: WorkerSettings, role: Role) -> list[str]:
    """The topics to begin with; `platforms.py` looks for those that come later.

    Asks for everything that Faust would miss in silence: topics, and the rights to them and to the group.

    Raises:
        BadConfiguration: the brokers do not answer, a topic is missing, or something is not permitted; with the cure.
    """
    kafka = settings.kafka
    try:
        found = AdminClient(kafka.librdkafka()).list_topics(timeout=REACH_SECONDS).topics
    except KafkaException as why:
        problems = diagnose(kafka) or [f"no answer within {REACH_SECONDS:.0f} s: {why.args[0]}"]
        raise BadConfiguration("; ".join(problems), key="RUA_KAFKA_BOOTSTRAP") from why
    asked = [topics.events_topic(p.strip()) for p in settings.platforms.split(",") if p.strip()]
    events = asked or sorted(name for name in found if name.startswith(topics.EVENTS))
    if not events:
        raise BadConfiguration(
            f"no topic {topics.EVENTS}<platform>: run `rua topics apply`", key="RUA_WORKER_PLATFORMS"
        )
    states = [state_topic(name) for name in events]
    if role == "detect":
        reads, writes = [*events, *states], [*states, topics.ALERTS, topics.DLQ]
    else:
        reads, writes = [*events, topics.ALERTS, topics.HEARTBEATS, topics.DLQ], [topics.DLQ]
    problems = diagnose(kafka, reads=reads, writes=writes, groups=[f"{settings.group}-{role}"])
    if refused := refusals(problems):
        raise BadConfiguration("; ".join(refused), key="RUA_WORKER_PLATFORMS")
    return events if role == "detect" else reads


def existing(admin: AdminClient) -> dict[str, int]:
    """Every topic that can be read now, and its number of partitions.

    Raises:
        KafkaException: the brokers do not answer.
    """
    found = admin.list_topics(timeout=REACH_SECONDS).topics.items()
    return {name: len(topic.partitions) for name, topic in found if topic.error is None and topic.partitions}


def newcomer(shell: BaseShell, name: str, found: Topics) -> str:
    """Why the topic of a new platform cannot be read yet, with the cure; "" if it can. Blocks."""
    kafka, state = shell.settings.kafka, state_topic(name)
    if not isinstance(shell, DetectShell):
        return "; ".join(refusals(diagnose(kafka, reads=[name])))
    if problem := stateless(name, found):
        return problem
    if refused := refusals(diagnose(kafka, reads=[name, state], writes=[state])):
        return "; ".join(refused)
    asked = (shell.restore.refusal(TP(name, number)) for number in range(found[name]))
    return next((refusal for refusal in asked if refusal), "")


def refusals(problems: Sequence[str]) -> list[str]:
    """Of the problems those that concern rights and topics: another address answered."""
    return [problem for problem in problems if not problem.startswith("Kafka at ")]


def faust_app(settings: WorkerSettings, role: Role) -> BatchApp:
    """The Faust app of a role, with everything that Faust would do by itself switched off."""
    kafka, session = settings.kafka, settings.kafka.session_timeout_seconds
    app = BatchApp(
        f"{settings.group}-{role}",
        broker=[f"batchkafka://{address.strip()}" for address in kafka.bootstrap.split(",")],
        broker_credentials=credentials(kafka),
        broker_session_timeout=session,
        broker_rebalance_timeout=max(session, settings.drain_seconds + 5),
        broker_heartbeat_interval=session / 6,
        broker_request_timeout=max(40.0, session + 1),
        broker_commit_interval=COMMIT_SECONDS,
        consumer_auto_offset_reset="earliest",
        consumer_group_instance_id=settings.instance_id or None,
        store="memory://",
        stream_wait_empty=True,
        stream_buffer_maxsize=4_096,  # never full: the transport hands over only what there is room for
        table_standby_replicas=0,
        topic_allow_declare=False,
        topic_disable_leader=True,
        web_enabled=False,
    )
    app.max_batch_records = settings.max_batch_records
    return app


def credentials(kafka: KafkaOptions) -> faust.SASLCredentials | faust.SSLCredentials | None:
    """Faust's form of the login.

    Raises:
        BadConfiguration: the options do not fit together, or the login is one that only agents have.
    """
    kafka.check()
    if kafka.logs_in and kafka.mechanism == "OAUTHBEARER":
        others = ["SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN"]
        raise BadConfiguration("workers cannot log in with OAUTHBEARER yet", key="RUA_KAFKA_MECHANISM", allowed=others)
    context: ssl.SSLContext | None = None
    if kafka.security_protocol.endswith("SSL"):
        context = ssl.create_default_context(cafile=kafka.ca_file)
        if kafka.certificate_file is not None:
            context.load_cert_chain(kafka.certificate_file, kafka.key_file)
    if kafka.security_protocol.startswith("SASL"):
        return faust.SASLCredentials(
            username=kafka.username, password=kafka.password(), mechanism=kafka.mechanism, ssl_context=context
        )
    return faust.SSLCredentials(context) if context is not None else None


def detect_shell(app: BatchApp, settings: WorkerSettings, metrics: Metrics) -> DetectShell:
    """The detect role's shell, with its state in Kafka."""
    options, group = settings.kafka.librdkafka(), f"{settings.group}-detect"
    log = KafkaLog(options, group, state_topic, settings.transaction_timeout_seconds)
    restore = Restore(log, group, state_topic, settings.foreign_transaction_wait_seconds)
    return DetectShell(app, settings, metrics, engine=Engine(DETECTORS), restore=restore, outbox=Outbox(options))


def store_shell(
    app: BatchApp,
    settings: WorkerSettings,
    metrics: Metrics,
    *,
    event_sink: EventSink,
    alert_sink: AlertSink,
) -> StoreShell:
    """The store role's shell: alerts at once and on a path of their own, the rest by the second."""
    options, group = settings.kafka.librdkafka(), f"{settings.group}-store"
    graveyard = Graveyard(Outbox(options), metrics)
    events = EventTable(event_sink, graveyard)
    alerts = RecordTable("alerts", partial(decode, kind=Alert), alert_sink.write_alerts, graveyard)
    beats = RecordTable("heartbeats", partial(decode, kind=Heartbeat), alert_sink.write_heartbeats, graveyard)
    letters = RecordTable("dead_letters", partial(decode, kind=DeadLetter), alert_sink.write_dead_letters, graveyard)
    urgent: dict[str, Table] = {topics.ALERTS: alerts}
    small: dict[str, Table] = {topics.HEARTBEATS: beats, topics.DLQ: letters}
    keepers = (
        Keeper("alerts", urgent, settings.store_rows, settings.alert_linger_seconds),
        Keeper("small", small, settings.store_rows, settings.store_linger_seconds),
        Keeper("events", {}, settings.store_rows, settings.store_linger_seconds, events),
    )
    return StoreShell(app, settings, metrics, log=KafkaLog(options, group, state_topic), keepers=keepers)


def state_topic(events: str) -> str:
    """The state topic of an events topic."""
    return topics.state_topic(topics.platform_of(events))


def wire(
    app: BatchApp, shell: BaseShell, names: Sequence[str], ticks: Sequence[tuple[float, Callable[[], Awaitable[None]]]]
) -> None:
    """Connects the shell to Faust's life cycle."""

    @app.agent(app.topic(*names, schema=BatchSchema()), name=f"{shell.role}-processor")
    async def processor(stream: Any) -> None:
        async for event in stream.noack().events():
            tp = event.message.tp
            shell.consumer.taken(tp)
            await shell.receive(tp, event.value, event.message.checksum)
            await asyncio.sleep(0)  # while batches wait, nothing else would ever run: heartbeats, commits, status

    async def own(*_: Any, **__: Any) -> None:
        await shell.own()

    app.on_rebalance_complete.connect(own, weak=False)

    async def watch() -> None:
        shell.watch()

    async def status() -> None:
        shell.write_status()

    for seconds, tick in (*ticks, (WATCH_SECONDS, watch), (STATUS_SECONDS, status)):
        every(app, seconds, partial(shell.guarded, tick))
    if shell.settings.http_port is not None:
        http = Http(shell, shell.settings.http_port)
        app.task(http.start)


def every(app: BatchApp, seconds: float, call: Callable[[], Awaitable[None]]) -> None:
    """Calls it again and again, never twice at once."""

    async def loop() -> None:
        while not app.should_stop:
            await call()
            await asyncio.sleep(seconds)

    app.task(loop)


class Repeated(logging.Filter):
    """Lets a logger say each kind of thing once in so many seconds: aiokafka writes up to 1,200 lines an outage."""

    def __init__(self, seconds: float = 10.0) -> None:
        super().__init__()
        self.seconds, self.last = seconds, dict[tuple[str, str], float]()

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether this line is shown."""
        key = (record.name, str(record.msg))
        if record.created - self.last.get(key, 0.0) < self.seconds:
            return False
        self.last[key] = record.created
        return True


def tame(root: logging.Logger) -> None:
    """Quiets what is not ours."""
    # Faust's services log under the module of their class, and ours of `transport.py` are Faust's
    for name in ("aiokafka", "faust", "mode", "kafka", "rua_streams.transport"):
        logging.getLogger(name).setLevel(logging.WARNING)
    repeated = Repeated()
    for handler in root.handlers:
        handler.addFilter(lambda record: record.name.startswith("rua") or repeated.filter(record))


def supervise(commands: Sequence[Sequence[str]]) -> int:
    """Runs several workers as child processes: the role `all`. One that fails takes the others with it, drained.

    Each serves HTTP on a port of its own: the given one, the next, and so on.

    Returns:
        The first exit status that is not 0, else 0.
    """
    port = os.environ.get(HTTP_PORT)
    ports = [{} if port is None else {HTTP_PORT: str(int(port) + number)} for number in range(len(commands))]
    children = [subprocess.Popen(c, env={**os.environ, **own}) for c, own in zip(commands, ports, strict=True)]

    def stop(*_: Any) -> None:
        for child in children:
            child.terminate()

    previous = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        while all(child.poll() is None for child in children):
            time.sleep(0.2)
        failed = [child.returncode for child in children if child.poll()]
        stop()
        codes = failed + [child.wait() for child in children]
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
    return next((code if code > 0 else 128 - code for code in codes if code), 0)
