"""Kubernetes' audit log in three spellings."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st
from rua_agents.collectors import Draft
from rua_agents.collectors.kubernetes_audit import MAX_GRANTEES
from rua_agents.collectors.seen import Seen
from rua_agents.pseudonyms import KeyRing
from rua_agents.settings import collector_of, options_of
from rua_agents.tally import Tally
from rua_common.errors import BadConfiguration

from tests.agent_rig import KEY, START_MS, origin, parse, sample_of

NAMES = KeyRing(KEY, "lazada").at(START_MS)
POD = {"resource": "pods", "namespace": "shop", "name": "api-7c9d4f8b7f-k2x9q", "subresource": "exec"}
SECRET = {"resource": "secrets", "namespace": "shop", "name": "db"}
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(1 << 70), 1 << 70), st.floats(), st.text(max_size=9)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=9), inner, max_size=3)),
    max_leaves=9,
)


def who(name: str) -> str:
    """The pseudonym of a user."""
    return NAMES.pseudonym("actor", name)


def event(verb: str = "get", ref: Any = None, code: int = 200, **fields: Any) -> dict[str, Any]:
    """One audit event."""
    record: dict[str, Any] = {"kind": "Event", "auditID": "a-1", "stage": "ResponseComplete", "verb": verb}
    record |= {"requestURI": "/api", "user": {"username": "ana"}, "sourceIPs": ["10.1.0.7"], "userAgent": "kubectl/v1"}
    record |= {"objectRef": SECRET if ref is None else ref, "responseStatus": {"code": code}}
    record |= {"requestReceivedTimestamp": "2026-03-02T10:00:00.104233Z"}
    return record | fields


def binding(body: Any, verb: str = "create") -> dict[str, Any]:
    """A change of who has which rights."""
    return event(verb, {"resource": "clusterrolebindings", "name": "x"}, requestObject=body)


def exec_of(*command: str, **fields: Any) -> dict[str, Any]:
    """A command in a container."""
    return event("create", POD, 101, requestURI="/exec?" + "&".join(f"command={c}" for c in command), **fields)


def read(*records: dict[str, Any], **options: Any) -> list[Draft]:
    """The events of these records."""
    return parse("kubernetes-audit", lines(*records), **options)[0]


def told(*records: dict[str, Any]) -> Tally:
    """The account of these records."""
    return parse("kubernetes-audit", lines(*records))[1]


def lines(*records: dict[str, Any]) -> bytes:
    """As the server writes them."""
    return b"".join(json.dumps(record, ensure_ascii=False).encode() + b"\n" for record in records)


def labels(made: Draft) -> dict[str, str]:
    """Its labels."""
    return {label.key: label.value for label in made.labels}


def test_a_session_is_one_event_when_it_begins_and_none_when_it_ends() -> None:
    """An open shell must not hide until it is closed."""
    stages = ("RequestReceived", "ResponseStarted", "ResponseComplete")
    made, tally = parse("kubernetes-audit", lines(*(exec_of("sh", stage=stage) for stage in stages)))
    assert [(one.kind, one.outcome) for one in made] == [("privileged_access", "ok")]
    assert dict(tally.ignored) == {"request_received": 1, "told_before": 1}


def test_a_policy_that_omits_the_start_of_a_session_loses_nothing() -> None:
    """Then its end is the first that tells."""
    assert len(read(exec_of("sh", stage="ResponseComplete"))) == 1


def test_nobody_hides_behind_an_audit_id_of_his_choice() -> None:
    """A client may send the header Audit-ID: what else tells two requests apart is the server's."""
    made = read(
        event(),
        exec_of("pg_dump"),
        event(requestReceivedTimestamp="2026-03-02T10:00:00.104234Z"),
        event(user={"username": "eve"}),
        event(),
    )
    assert [one.kind for one in made] == ["data_access", "privileged_access", "data_access", "data_access"]


@pytest.mark.parametrize(
    ("verb", "ref", "kind", "action"),
    [
        ("get", SECRET, "data_access", "read"),
        ("list", SECRET, "data_access", "query"),
        ("watch", {"resource": "configmaps"}, "data_access", "query"),
        ("patch", SECRET, "data_change", "alter"),
        ("deletecollection", SECRET, "data_change", "delete"),
        ("get", POD, "privileged_access", "unknown"),
        ("create", POD | {"subresource": "portforward"}, "privileged_access", "unknown"),
        ("get", {"resource": "nodes", "name": "n", "subresource": "proxy"}, "privileged_access", "unknown"),
        ("get", POD | {"subresource": "log"}, "data_access", "read"),
        ("update", {"resource": "clusterroles", "name": "x"}, "privilege_change", "alter"),
        ("delete", {"resource": "rolebindings", "name": "x"}, "administration", "alter"),
        ("create", {"resource": "serviceaccounts", "name": "web", "subresource": "token"}, "authentication", "unknown"),
    ],
)
def test_a_request_is_the_event_that_its_resource_and_verb_say(
    verb: str, ref: dict[str, str], kind: str, action: str
) -> None:
    """New clients open exec with GET, old ones with POST: the verb does not matter there."""
    made = read(event(verb, ref))[0]
    assert (made.kind, made.action, made.channel, made.rows_quality) == (kind, action, "cluster", "unknown")


@pytest.mark.parametrize(
    ("verb", "ref"),
    [("get", POD | {"subresource": ""}), ("create", {"resource": "deployments"}), ("get", {"resource": "roles"})],
)
def test_what_touches_neither_data_nor_rights_is_no_event(verb: str, ref: dict[str, str]) -> None:
    """A cluster writes thousands of such lines a minute."""
    assert read(event(verb, ref)) == []


@pytest.mark.parametrize(
    ("command", "action", "program"),
    [
        (("pg_dump", "shop"), "export", "pg_dump"),
        (("sh", "-c", "mysqldump+shop"), "export", "mysqldump"),
        (("tar", "cf", "-", "/exports/ana.csv"), "export", "tar"),
        (("tar", "-xmf", "-", "-C", "/in"), "unknown", "tar"),
        (("tar", "--create", "."), "export", "tar"),
        (("tar", "--extract", "-f", "-"), "unknown", "tar"),
        (("ls",), "unknown", "ls"),
    ],
)
def test_what_takes_data_out_of_a_container_is_an_export(command: tuple[str, ...], action: str, program: str) -> None:
    """`kubectl cp` packs with tar on the way out and unpacks on the way in."""
    made = read(exec_of(*command))[0]
    assert (made.kind, made.action, labels(made)["command"]) == ("privileged_access", action, program)
    assert made.destination == ("client:10.1.0.0/24" if action == "export" else None)
    assert "ana" not in repr(made)


def test_each_who_gets_rights_is_an_actor_and_who_gave_them_is_told() -> None:
    """A service account is named as when it comes itself."""
    subjects = [{"kind": "User", "name": "eve"}, {"kind": "ServiceAccount", "name": "web", "namespace": "shop"}]
    made = read(binding({"subjects": subjects, "roleRef": {"name": "cluster-admin"}}))
    assert [one.actor for one in made] == [who("eve"), who("system:serviceaccount:shop:web")]
    assert {(one.kind, one.privilege, labels(one)["by"]) for one in made} == {
        ("privilege_change", "superuser", who("ana"))
    }


def test_a_binding_without_its_body_is_of_who_changed_it() -> None:
    """The policy's level is Metadata."""
    made = read(event("create", {"resource": "rolebindings", "namespace": "shop"}))
    assert [(one.kind, one.actor, one.privilege) for one in made] == [("privilege_change", who("ana"), "unknown")]


def test_a_patch_names_who_is_added() -> None:
    """A JSON patch is a list of steps; a merge patch looks like the binding."""
    step = {"op": "add", "path": "/subjects/-", "value": {"kind": "User", "name": "eve"}}
    other = {"op": "add", "path": "/metadata/labels", "value": {"name": "no-user"}}
    assert [one.actor for one in read(binding([step, other], "patch"))] == [who("eve")]


def test_a_binding_of_very_many_is_one_event_that_says_so() -> None:
    """One record must not become thousands of events."""
    few, many = ([{"kind": "User", "name": f"u{n}"} for n in range(size)] for size in (MAX_GRANTEES, MAX_GRANTEES + 1))
    assert len(read(binding({"subjects": few}))) == MAX_GRANTEES
    assert [(one.actor, one.truncated) for one in read(binding({"subjects": many}))] == [(who("ana"), True)]


def test_who_impersonates_is_the_actor_and_whom_is_told() -> None:
    """Not the other way round: the rights are borrowed, the deed is not."""
    made = read(event(impersonatedUser={"username": "system:admin", "groups": ["system:masters"]}))[0]
    assert (made.actor, labels(made)["as"], made.privilege) == (who("ana"), who("system:admin"), "superuser")


@pytest.mark.parametrize(
    ("user", "actor_type"),
    [("ana", "interactive"), ("system:serviceaccount:shop:web", "service"), ("system:anonymous", "network")],
)
def test_who_a_user_is_shows_in_its_name(user: str, actor_type: str) -> None:
    """Nobody is logged in as anonymous: the address is the actor."""
    made = read(event(user={"username": user}))[0]
    assert made.actor_type == actor_type
    assert (made.actor == made.source_ip) is (actor_type == "network")


def test_the_address_is_what_the_server_saw_and_not_what_the_client_claims() -> None:
    """All of sourceIPs but the last can be forged; with a proxy before the server, all but the last but one."""
    record = event(sourceIPs=["8.8.8.8", "203.0.113.7", "10.9.9.9"])
    assert read(record)[0].source_network == "10.9.9.0/24"
    assert read(record, proxies=1)[0].source_network == "203.0.113.0/24"
    assert read(event(sourceIPs=["203.0.113.7"]), proxies=3)[0].source_network == "203.0.113.0/24"
    assert read(event(sourceIPs=[]))[0].source_network is None


@pytest.mark.parametrize(
    ("code", "outcome"),
    [(200, "ok"), (101, "ok"), (403, "denied"), (404, "failed"), (500, "failed"), (None, "unknown")],
)
def test_the_status_tells_the_outcome(code: int, outcome: str) -> None:
    """Forbidden is denied, and is an event."""
    assert read(event(code=code))[0].outcome == outcome


def test_a_login_that_failed_is_an_event_on_whatever_it_was_tried() -> None:
    """Also on what is not watched else."""
    made = read(event("get", {"resource": "pods"}, 401))
    assert [(one.kind, one.outcome) for one in made] == [("authentication", "denied")]


def test_the_control_plane_reads_in_silence_unless_it_is_asked_for() -> None:
    """Kubelets watch the secrets of their pods all day; a stolen node credential does too."""
    record = event("watch", user={"username": "system:node:worker-1"})
    assert read(record) == []
    assert len(read(record, ignore_readers=[])) == 1
    assert len(read(exec_of("sh", user={"username": "system:node:worker-1"}))) == 1


def test_a_pods_name_is_without_what_its_controller_appended() -> None:
    """A dataset that is new with every roll-out would say nothing."""
    names = {
        "api-7c9d4f8b7f-k2x9q": "api",
        "nightly-28471-x7v2b": "nightly-{n}",
        "db-0": "db-0",
        "my-redis": "my-redis",
    }
    for name, shown in names.items():
        assert read(event("get", POD | {"name": name}))[0].dataset == f"shop/pods/{shown}"


def aks(inner: dict[str, Any], cut: int | None = None) -> dict[str, Any]:
    """As Azure writes it."""
    return {"time": "2026-03-02T10:00:05Z", "properties": {"log": (json.dumps(inner) + "\n")[:cut]}}


def test_an_event_in_a_string_is_the_event() -> None:
    """AKS; a string that the platform cut is still one, and says so."""
    body = event()
    plain, nested, cut = read(body)[0], read(aks(body))[0], read(aks(body, -60))[0]
    assert (nested.kind, nested.actor, nested.occurred_at) == (plain.kind, plain.actor, plain.occurred_at)
    assert (nested.truncated, cut.truncated, cut.actor) == (False, True, plain.actor)


def eks(*inner: Any) -> dict[str, Any]:
    """As a subscription to CloudWatch hands it over."""
    told = [{"id": str(n), "timestamp": 1_772_445_600_000 + n, "message": one} for n, one in enumerate(inner)]
    return {"messageType": "DATA_MESSAGE", "logGroup": "/aws/eks/shop/cluster", "logEvents": told}


def test_many_events_of_one_record_are_events_each_at_a_place_of_its_own() -> None:
    """EKS: what is not watched among them costs the others nothing."""
    other = json.dumps(event("get", {"resource": "nodes"}))
    subjects = [{"kind": "User", "name": name} for name in ("eve", "som")]
    grant = json.dumps(binding({"subjects": subjects}) | {"auditID": "b"})
    made, tally = parse("kubernetes-audit", lines(eks(grant, other, json.dumps(event()))))
    assert [one.kind for one in made] == ["privilege_change", "privilege_change", "data_access"]
    assert [one.source_position - made[0].source_position for one in made] == [0, 1, 2]
    assert (tally.events, tally.split, any(one.truncated for one in made)) == (1, 2, False)


def test_a_list_as_a_webhook_gets_it_is_its_events() -> None:
    """And the first of them names the file."""
    batch = {"kind": "EventList", "items": [event(), event(auditID="b"), event(auditID="c", verb="list")]}
    assert [one.action for one in read(batch)] == ["read", "read", "query"]
    source = origin("kubernetes-audit")
    first = source.splitter(0, 1 << 20).feed(lines(batch))[0]
    assert source.time_ms(first, START_MS) == read(batch)[0].occurred_at


def test_one_that_cannot_be_read_is_told_by_the_others() -> None:
    """And if none can, the record fails; if none is watched, it is ignored."""
    made = read(eks(json.dumps(event()), "not json"))
    assert [(one.kind, one.truncated) for one in made] == [("data_access", True)]
    assert dict(told(eks(json.dumps(event("get", {"resource": "nodes"})), "x")).failed) == {"not_json": 1}
    assert dict(told(eks(json.dumps(event("get", {"resource": "nodes"})))).ignored) == {"not_watched": 1}
    assert dict(told(eks()).ignored) == {"no_entry": 1}


def test_very_many_events_of_one_record_are_bounded_and_say_so() -> None:
    """A record has 1,024 places."""
    each = (json.dumps(event(auditID=str(n))) for n in range(1_030))
    made, tally = parse("kubernetes-audit", lines(eks(*each)))
    assert (len(made), tally.split, made[0].truncated) == (1_024, 1_023, True)


def test_a_time_before_the_event_is_no_part_of_it() -> None:
    """As CloudWatch exports into files; anything else before it is damage."""
    data = lines(event())
    assert [one.kind for one in parse("kubernetes-audit", b"2026-03-02T10:00:01.123Z " + data)[0]] == ["data_access"]
    assert dict(parse("kubernetes-audit", b"x " + data)[1].failed) == {"not_json": 1}


def gke(method: str, where: str, code: int = 0, **operation: Any) -> dict[str, Any]:
    """As Cloud Logging writes it."""
    payload = {"methodName": method, "resourceName": where, "authenticationInfo": {"principalEmail": "ana"}}
    payload |= {"requestMetadata": {"callerIp": "10.1.0.7"}, "status": {"code": code}}
    insert_id = str(operation)  # the platform's own, of each entry another
    return {"insertId": insert_id, "timestamp": "2026-03-02T10:00:00Z", "operation": operation, "protoPayload": payload}


def test_an_entry_of_cloud_logging_is_the_event() -> None:
    """GKE: the method names verb and resource, the path the rest."""
    denied = read(gke("io.k8s.core.v1.secrets.get", "core/v1/namespaces/shop/secrets/db", 7))[0]
    assert (denied.kind, denied.action, denied.dataset, denied.outcome) == (
        "data_access",
        "read",
        "shop/secrets/db",
        "denied",
    )
    wide = read(gke("io.k8s.authorization.rbac.v1.clusterroles.update", "rbac.authorization.k8s.io/v1/clusterroles/x"))
    assert [(one.kind, one.dataset, one.actor) for one in wide] == [("privilege_change", "clusterroles/x", who("ana"))]


def test_of_a_session_in_cloud_logging_the_first_entry_counts() -> None:
    """It has two, marked by the platform."""
    method, where = "io.k8s.core.v1.pods.exec.create", "core/v1/namespaces/shop/pods/api/exec"
    made, tally = parse("kubernetes-audit", lines(gke(method, where, first=True), gke(method, where, last=True)))
    assert [one.kind for one in made] == ["privileged_access"]
    assert dict(tally.ignored) == {"told_before": 1}
    whole = gke(method, where, first=True, last=True)
    assert len(read(whole, whole)) == 1


def test_other_entries_of_cloud_logging_fail() -> None:
    """A pattern that finds too many files is seen."""
    made, tally = parse("kubernetes-audit", lines(gke("storage.objects.get", "x")))
    assert (made, dict(tally.failed)) == ([], {"not_of_kubernetes": 1})


def test_a_record_cut_before_its_time_has_the_time_of_the_one_before() -> None:
    """Its time stands behind the body, which anybody can make long."""
    long = exec_of("pg_dump", requestObject={"x": "y" * 3_000})
    stamp = long.pop("requestReceivedTimestamp")
    long["requestReceivedTimestamp"] = stamp
    made, tally = parse("kubernetes-audit", lines(event(), long), limit_bytes=1_500)
    assert [(one.kind, one.truncated) for one in made] == [("data_access", False), ("privileged_access", True)]
    assert made[1].occurred_at == made[0].occurred_at
    alone, tally = parse("kubernetes-audit", lines(long), limit_bytes=1_500)
    assert (alone, dict(tally.failed)) == ([], {"no_time": 1})


def test_what_the_api_server_itself_wrote_is_read_to_the_last_line() -> None:
    """Its sessions have two stages each, a failed login has one, and one client chose the same Audit-ID twice."""
    data = b"".join(sample_of("kubernetes-audit").splitlines(keepends=True)[:29])
    made, tally = parse("kubernetes-audit", data)
    assert dict(tally.ignored) == {"control_plane": 3, "told_before": 5}
    assert (tally.events, tally.split, tally.failed.total(), tally.replaced) == (21, 1, 0, 0)
    assert [(one.dataset, one.outcome) for one in made[-2:]] == [
        ("shop/configmaps/settings", "denied"),
        ("shop/secrets/payments-key", "ok"),
    ]
    assert [one.action for one in made if one.kind == "privileged_access"] == ["export", "export", "unknown", "unknown"]


def test_nothing_of_the_sample_that_names_somebody_leaves() -> None:
    """Names, addresses, arguments."""
    told = repr(parse("kubernetes-audit", sample_of("kubernetes-audit"))[0])
    for secret in ("ana@", "eve@", "somchai", "10.1.0.7", "-h db", "/exports/"):
        assert secret not in told


def test_what_was_seen_is_remembered_in_bounded_memory() -> None:
    """The oldest is forgotten first; parts cannot imitate each other."""
    seen = Seen(2)
    assert [seen.add("a"), seen.add("a"), seen.add("b"), seen.add("c"), seen.add("a")] == [
        True,
        False,
        True,
        True,
        True,
    ]
    assert Seen(2).add("ab", "c") is Seen(2).add("a", "bc") is True
    assert seen.add("a", "") is True


def test_a_wrong_option_is_named() -> None:
    """At the start."""
    with pytest.raises(BadConfiguration, match="proxies: 0 to 9"):
        options_of(collector_of("kubernetes-audit"), {"proxies": -1})


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from([*event(), "requestObject", "impersonatedUser", "properties"]), JSON), JSON)
def test_any_json_is_read_or_counted(fields: dict[str, Any], odd: Any) -> None:
    """A value of any type, wherever it stands."""
    strange = gke("io.k8s.a.b.secrets.get", "x") | {"protoPayload": odd}
    records = [event(**fields), strange, binding({"subjects": odd, "roleRef": odd}), event(ref=odd), aks(fields)]
    records += [eks(odd, json.dumps(fields)), eks() | {"logEvents": odd}, {"kind": "EventList", "items": [odd, fields]}]
    _, tally = parse("kubernetes-audit", lines(*records))
    assert (tally.records, tally.open) == (8, 0)


@pytest.mark.parametrize("field", ["userAgent", "requestURI"])
def test_whoever_sends_a_long_header_does_not_hide_a_session(field: str) -> None:
    """The API server takes a megabyte of headers, and writes `<` as six characters: the rest of the record is cut."""
    whole = exec_of("pg_dump") | {"requestURI": "/api/v1/namespaces/shop/pods/api/exec?command=pg_dump"}
    keys = ["kind", "auditID", "stage", "requestURI", "verb", "user", "sourceIPs", "userAgent", "objectRef"]
    long = {key: whole[key] for key in [*keys, *whole]} | {"auditID": "b"}
    long[field] += "&x=" + "<" * 40_000
    made, tally = parse("kubernetes-audit", lines(whole, long), limit_bytes=20_000)
    assert [(e.kind, e.action, e.dataset, e.truncated) for e in made] == [
        ("privileged_access", "export", "shop/pods/api", False),
        ("privileged_access", "export", "shop/pods/api", True),
    ]
    assert (tally.ignored.total(), tally.failed.total()) == (0, 0)


def test_a_verb_behind_the_cut_is_unknown_and_the_request_is_not_hidden() -> None:
    """Of what is watched; other requests stay ignored."""
    uri = "/api/v1/namespaces/shop/{}/db?" + "<" * 40_000
    for resource, kinds in (("secrets", ["unknown"]), ("services", [])):
        cut = {"kind": "Event", "stage": "ResponseComplete", "requestURI": uri.format(resource), "verb": "get"}
        made, _ = parse("kubernetes-audit", lines(exec_of("id"), cut), limit_bytes=20_000)
        assert [one.kind for one in made[1:]] == kinds
