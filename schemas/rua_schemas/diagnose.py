"""What is wrong between this process and Kafka, each with its cure. Asked before an agent or a worker starts.

Clients do not tell: librdkafka has one text for an unknown authority, an expired certificate and a wrong host name;
aiokafka says only that it cannot bootstrap; Faust runs on in silence when a topic or group is denied or unknown. So
two questions are put first: *reach* looks at name, port and TLS; *rights* asks the broker what this user may do.
"""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Iterator, Sequence

from confluent_kafka import KafkaError, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import AclOperation, AdminClient, OffsetSpec
from rua_common.kafka import KafkaOptions

TIMEOUT_SECONDS = 10.0
DOUBT_SECONDS = 1.5
"""A broker that is silent for so long to a client without TLS is asked whether it wants TLS."""
CURES = {
    "address": "not host:port: correct kafka.bootstrap",
    "resolve": "host name unknown: check kafka.bootstrap and DNS",
    "down": "nothing listens there: the broker is down, the port is wrong, or a firewall is between",
    "not_tls": "the port does not speak TLS: use the broker's TLS port, or another security_protocol",
    "tls": "the port wants TLS: set security_protocol to SSL, or to SASL_SSL with a user name",
    "files": "TLS cannot begin: {why}: see ca_file, certificate_file and key_file",
    "unknown_ca": "the broker's certificate comes from an authority unknown here: set ca_file to the cluster's CA",
    "expired": "the broker's certificate has expired, or a clock is wrong: renew it at the broker",
    "hostname": "the broker's certificate is for another name: use a name that it lists, or reissue it with this one",
    "client_cert": "the broker refused the client certificate (certificate_file): missing, expired, or from another CA",
    "login": "user name, password, token or mechanism refused (the broker does not say which): see username, "
    "password_file, mechanism, oauth_…",
    "silent": "the port is open but Kafka does not answer: wrong port, or the broker wants TLS (see security_protocol)",
    "topic_denied": "not permitted (or unknown, and this user may not know): grant {operation} to this user",
    "group_denied": "not permitted: grant READ on the consumer group to this user",
    "no_topic": "does not exist: run `rua topics apply`",
}
_BY_CODE = {
    KafkaError._RESOLVE: "resolve",
    KafkaError._AUTHENTICATION: "login",
    KafkaError.SASL_AUTHENTICATION_FAILED: "login",
    KafkaError.TOPIC_AUTHORIZATION_FAILED: "topic_denied",
    KafkaError.GROUP_AUTHORIZATION_FAILED: "group_denied",
    KafkaError.UNKNOWN_TOPIC_OR_PART: "no_topic",
    KafkaError._UNKNOWN_TOPIC: "no_topic",
    KafkaError._TIMED_OUT: "silent",
    KafkaError._TRANSPORT: "silent",
    KafkaError._ALL_BROKERS_DOWN: "silent",
    KafkaError.NOT_COORDINATOR: "silent",
    KafkaError.COORDINATOR_NOT_AVAILABLE: "silent",
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS: "silent",
}
# a group's coordinator is being chosen, or reads its log: soon after a broker's start that is no fault
_ON_ITS_WAY = {
    KafkaError.NOT_COORDINATOR,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
}
# OpenSSL's verify codes: expired; self-signed or unknown issuer; wrong host name or address
_BY_VERIFY = {10: "expired", 18: "unknown_ca", 19: "unknown_ca", 20: "unknown_ca", 62: "hostname", 64: "hostname"}


def diagnose(
    options: KafkaOptions, *, reads: Sequence[str] = (), writes: Sequence[str] = (), groups: Sequence[str] = ()
) -> list[str]:
    """Problems with their cures; empty when all is well. Takes a few seconds at worst.

    Args:
        options: how this process connects.
        reads: topics that it reads.
        writes: topics that it writes.
        groups: consumer groups that it joins.

    Raises:
        BadConfiguration: the file with the password cannot be read.
    """
    try:
        context = _tls(options)
    except OSError as why:
        return [f"Kafka at {options.bootstrap}: {_of_files(why)}"]
    addresses = options.bootstrap.split(",")
    problems = list(_unreachable(addresses, context))
    if len(problems) == len(addresses):  # one good address is enough to go on and ask
        return problems
    return problems + list(_rights(options, reads, writes, groups))


def unreachable(options: KafkaOptions) -> list[str]:
    """What is wrong with name, port and TLS of each address, without asking Kafka anything: for who is in trouble."""
    try:
        context = _tls(options)
    except OSError as why:
        return [f"Kafka at {options.bootstrap}: {_of_files(why)}"]
    addresses = options.bootstrap.split(",")
    return list(_unreachable(addresses, context)) or ([] if context else list(_wanting_tls(addresses)))


def newest_ms(options: KafkaOptions, topic: str) -> int | None:
    """The broker's stamp of a topic's newest message, milliseconds; None if there is none or nobody tells."""
    admin = AdminClient(options.librdkafka() | {"log_level": 0})
    try:
        partitions = admin.list_topics(topic, TIMEOUT_SECONDS).topics[topic].partitions
        newest = OffsetSpec.max_timestamp()  # type: ignore[no-untyped-call]  # it has no types
        wanted = {TopicPartition(topic, partition): newest for partition in partitions}
        answers = admin.list_offsets(wanted, request_timeout=TIMEOUT_SECONDS)
        return max((stamp for one in answers.values() if (stamp := one.result().timestamp) > 0), default=None)
    except KafkaException:
        return None


def reach(host: str, port: int, tls: ssl.SSLContext | None, timeout: float = 5.0) -> str | None:
    """Looks at name, port and TLS; a key of `CURES`, or None when they are fine."""
    try:
        raw = socket.create_connection((host, port), timeout)
    except socket.gaierror:
        return "resolve"
    except OSError:
        return "down"
    with raw:
        return None if tls is None else _handshake(raw, host, tls)


def explain(error: BaseException | KafkaError) -> str | None:
    """The key of `CURES` for an error of confluent-kafka or of a connection, None when it is another one."""
    if isinstance(error, KafkaException):
        error = error.args[0]
    if isinstance(error, KafkaError):
        return _BY_CODE.get(error.code())
    if isinstance(error, ssl.SSLCertVerificationError):
        return _BY_VERIFY.get(error.verify_code, "unknown_ca")
    if isinstance(error, socket.gaierror):
        return "resolve"
    return "down" if isinstance(error, ConnectionRefusedError) else None


def _tls(options: KafkaOptions) -> ssl.SSLContext | None:
    if not options.uses_tls:
        return None
    context = ssl.create_default_context(cafile=options.ca_file)
    if options.certificate_file is not None:
        context.load_cert_chain(options.certificate_file, options.key_file)
    return context


def _of_files(why: OSError) -> str:
    return CURES["files"].format(why=f"{why.filename}: {why.strerror}" if why.filename else why.strerror or why)


def _unreachable(addresses: Sequence[str], context: ssl.SSLContext | None) -> Iterator[str]:
    for address in addresses:
        key = _reach_address(address, context)
        if key is not None:
            yield f"Kafka at {address.strip()}: {CURES[key]}"


def _wanting_tls(addresses: Sequence[str]) -> Iterator[str]:
    """Brokers that answer TLS though the client is set to plaintext; one without TLS would only note a bad request."""
    curious = ssl.create_default_context()
    curious.check_hostname, curious.verify_mode = False, ssl.CERT_NONE
    for address in addresses:
        if _reach_address(address, curious) in (None, "client_cert"):
            yield f"Kafka at {address.strip()}: {CURES['tls']}"


def _reach_address(address: str, context: ssl.SSLContext | None) -> str | None:
    host, _, port = address.strip().rpartition(":")
    return reach(host.strip("[]"), int(port), context) if host and port.isdecimal() else "address"


def _handshake(raw: socket.socket, host: str, tls: ssl.SSLContext) -> str | None:
    try:
        with tls.wrap_socket(raw, server_hostname=host) as secured:
            secured.settimeout(0.5)
            try:  # by TLS 1.3 a refused client certificate shows only at the first read
                return "client_cert" if secured.recv(1) == b"" else None
            except TimeoutError:
                return None
    except ssl.SSLCertVerificationError as why:
        return explain(why)
    except ssl.SSLError as why:
        return "client_cert" if "ALERT" in str(why.reason) else "not_tls"
    except OSError:
        return "not_tls"


def _rights(options: KafkaOptions, reads: Sequence[str], writes: Sequence[str], groups: Sequence[str]) -> Iterator[str]:
    refused: list[KafkaError] = []
    try:
        admin = AdminClient(options.librdkafka() | {"error_cb": refused.append, "log_level": 0})
    except KafkaException as why:  # no token could be had
        yield f"Kafka at {options.bootstrap}: {_words(why)}"
        return
    cluster = admin.describe_cluster(request_timeout=TIMEOUT_SECONDS)
    doubt_at = time.monotonic() + DOUBT_SECONDS
    while not cluster.done():
        admin.poll(0.02)  # a refused login would be retried until the deadline: the callback knows it at once
        if any(explain(error) == "login" for error in refused):
            yield f"Kafka at {options.bootstrap}: {CURES['login']}"
            return
        if not options.uses_tls and time.monotonic() > doubt_at:
            doubt_at = float("inf")
            wanting = list(_wanting_tls(options.bootstrap.split(",")))
            if wanting:
                yield from wanting
                return
    failure = cluster.exception()
    if failure is not None:
        yield f"Kafka at {options.bootstrap}: {_words(failure)}"
        return
    yield from _topics(admin, [(t, AclOperation.READ) for t in reads] + [(t, AclOperation.WRITE) for t in writes])
    yield from _groups(admin, groups)


def _topics(admin: AdminClient, wanted: Sequence[tuple[str, AclOperation]]) -> Iterator[str]:
    if not wanted:
        return
    names = TopicCollection(sorted({name for name, _ in wanted}))
    answers = admin.describe_topics(names, include_authorized_operations=True, request_timeout=TIMEOUT_SECONDS)
    told: set[str] = set()
    for name, operation in wanted:
        failure = answers[name].exception()
        if failure is not None:
            problem = f"topic {name}: {_words(failure, operation)}"
        elif operation not in (answers[name].result().authorized_operations or ()):
            problem = f"topic {name}: {CURES['topic_denied'].format(operation=operation.name)}"
        else:
            continue
        if problem not in told:
            told.add(problem)
            yield problem


def _groups(admin: AdminClient, groups: Sequence[str]) -> Iterator[str]:
    if not groups:
        return
    end = time.monotonic() + TIMEOUT_SECONDS
    while True:
        answers = admin.describe_consumer_groups(
            list(groups), include_authorized_operations=True, request_timeout=TIMEOUT_SECONDS
        )
        if time.monotonic() > end or not any(_on_its_way(answer.exception()) for answer in answers.values()):
            break
        time.sleep(0.2)
    for group, answer in answers.items():
        failure = answer.exception()
        if failure is not None:
            yield f"group {group}: {_words(failure)}"
        elif AclOperation.READ not in (answer.result().authorized_operations or ()):
            yield f"group {group}: {CURES['group_denied']}"


def _on_its_way(error: BaseException | None) -> bool:
    return isinstance(error, KafkaException) and error.args[0].code() in _ON_ITS_WAY


def _words(error: BaseException, operation: AclOperation = AclOperation.READ) -> str:
    key = explain(error)
    return CURES[key].format(operation=operation.name) if key else str(error)
