"""CloudTrail's files."""

from __future__ import annotations

import json
import random
import time
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings, strategies as st
from rua_agents.collectors import Draft
from rua_agents.collectors.cloudtrail import MAX_TARGETS
from rua_agents.collectors.cloudtrail_calls import CALLS
from rua_agents.pseudonyms import KeyRing
from rua_agents.settings import collector_of, options_of
from rua_agents.tally import Tally
from rua_common.errors import BadConfiguration

from tests.agent_rig import KEY, START_MS, parse, sample_of
from tests.canaries import FREE, Searcher, planted

NAMES = KeyRing(KEY, "lazada").at(START_MS)
SEARCHER = Searcher()
OWN, OTHER = "111122223333", "444455556666"
BUCKET = f"s3:{NAMES.pseudonym('destination', 'drop')}"
ANA = f"arn:aws:iam::{OWN}:user/ana"
JSON = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(1 << 70), 1 << 70),
        st.floats(allow_nan=False, allow_infinity=False),
        st.text(max_size=9),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=9), inner, max_size=3)),
    max_leaves=9,
)


def who(arn: str) -> str:
    """The pseudonym of an ARN."""
    return NAMES.pseudonym("actor", arn)


def call(service: str, name: str, asked: Any = None, **fields: Any) -> dict[str, Any]:
    """One record."""
    record: dict[str, Any] = {"userIdentity": {"type": "IAMUser", "arn": ANA, "accountId": OWN}}
    record |= {"eventTime": "2026-03-02T10:00:00Z", "eventSource": f"{service}.amazonaws.com", "eventName": name}
    record |= {"sourceIPAddress": "203.0.113.7", "userAgent": "[aws-cli/2.15]", "requestParameters": asked}
    return record | {"recipientAccountId": OWN} | fields


def get(**fields: Any) -> dict[str, Any]:
    """A download."""
    more = {"bytesTransferredOut": 52_428_801}
    return (
        call("s3", "GetObject", {"bucketName": "exports", "key": "a/ana@b.cc.csv"}, additionalEventData=more) | fields
    )


def role(session: str, **context: Any) -> dict[str, Any]:
    """Somebody in a role."""
    issuer = {"type": "Role", "arn": f"arn:aws:iam::{OWN}:role/etl"}
    arn = f"arn:aws:sts::{OWN}:assumed-role/etl/{session}"
    return {"type": "AssumedRole", "arn": arn, "accountId": OWN, "sessionContext": {"sessionIssuer": issuer, **context}}


def file_of(*records: dict[str, Any]) -> bytes:
    """As it stands in the bucket."""
    return json.dumps({"Records": list(records)}).encode()


def told(*records: dict[str, Any], **options: Any) -> tuple[list[Draft], Tally]:
    """The events of these records, and the account."""
    return parse("cloudtrail", file_of(*records), **options)


def labels(made: Draft) -> dict[str, str]:
    """Its labels."""
    return {label.key: label.value for label in made.labels}


def test_a_download_is_an_export_with_its_bytes_and_no_name_in_it() -> None:
    """Data events tell them exactly."""
    made = told(get())[0][0]
    assert (made.kind, made.action, made.bytes, made.bytes_quality) == ("data_export", "export", 52_428_801, "exact")
    assert (made.dataset, made.destination) == ("s3:exports/a/{email}", "client:203.0.113.0/24")
    assert (made.actor, made.channel, made.tool) == (who(ANA), "cloud", "aws-cli")


def test_a_refused_download_sent_nothing() -> None:
    """The bytes are those of the error's text."""
    made = told(get(errorCode="AccessDenied"), get(errorCode="NoSuchKey"))[0]
    assert [(one.outcome, one.bytes) for one in made] == [("denied", None), ("failed", None)]


def test_what_a_service_reads_for_somebody_has_not_left_yet() -> None:
    """Athena reads objects in the name of who asked."""
    made = told(get(sourceIPAddress="athena.amazonaws.com"))[0][0]
    assert (made.kind, made.action, made.destination, made.source_ip) == ("data_access", "read", None, None)


def test_a_presigned_link_is_its_signers_and_says_so() -> None:
    """Whoever uses it may be anybody: the browser is not the signer's."""
    more = {"AuthenticationMethod": "QueryString", "bytesTransferredOut": 5}
    plain, signed = told(get(userAgent="Mozilla/5.0"), get(userAgent="Mozilla/5.0", additionalEventData=more))[0]
    assert (labels(signed)["presigned"], signed.actor_type, signed.actor) == ("yes", "unknown", who(ANA))
    assert ("presigned" in labels(plain), plain.actor_type) == (False, "interactive")


def test_an_anonymous_download_is_of_its_address() -> None:
    """Of a public bucket."""
    made = told(get(userIdentity={"type": "AWSAccount", "principalId": "", "accountId": "anonymous"}))[0][0]
    assert (made.actor, made.actor_type) == (made.source_ip, "network")


def test_whom_aws_does_not_know_is_an_address_too() -> None:
    """As of a login under a name that there is not; who is named is none."""
    made = told(get(userIdentity={"type": "Unknown"}), get())[0]
    assert [(one.actor == one.source_ip, one.actor_type) for one in made] == [(True, "network"), (False, "unknown")]


def test_a_session_is_the_actor_and_its_role_is_told() -> None:
    """A made-up session name would be a new actor each time: then it is the role."""
    own, made_up = told(get(userIdentity=role("ana")), get(userIdentity=role("botocore-session-1772445600")))[0]
    arn = f"arn:aws:iam::{OWN}:role/etl"
    assert own.actor == who(f"arn:aws:sts::{OWN}:assumed-role/etl/ana")
    assert made_up.actor == labels(own)["role"] == labels(made_up)["role"] == who(arn)


def test_a_session_cannot_name_itself_a_service() -> None:
    """Only what AWS says decides: the role of an instance, or that a service calls."""
    forged, instance = told(
        get(userIdentity=role("i-0123456789abcdef0")), get(userIdentity=role("i-0", ec2RoleDelivery="2.0"))
    )[0]
    assert (forged.actor_type, instance.actor_type) == ("unknown", "service")
    by_service = get(userIdentity={"type": "AWSService", "invokedBy": "rds.amazonaws.com"})
    assert told(by_service)[0][0].actor_type == "service"


def test_root_is_superuser_and_nobody_else_is() -> None:
    """Whatever it does."""
    root = {"type": "Root", "arn": f"arn:aws:iam::{OWN}:root", "accountId": OWN}
    assert [one.privilege for one in told(get(userIdentity=root), get())[0]] == ["superuser", "unknown"]


def policy(*principals: Any, effect: str = "Allow") -> dict[str, Any]:
    """A bucket's new policy."""
    statements = [{"Effect": effect, "Principal": one} for one in principals]
    return call("s3", "PutBucketPolicy", {"bucketName": "exports", "bucketPolicy": {"Statement": statements}})


def test_a_policy_that_lets_others_in_is_a_transfer_to_each_of_them() -> None:
    """Everybody, or another account; once each."""
    made, tally = told(policy({"AWS": [f"arn:aws:iam::{OTHER}:root", OTHER]}, "*", {"AWS": "*"}))
    assert [(one.action, one.destination, one.destination_external) for one in made] == [
        ("transfer", f"account:{OTHER}", True),
        ("transfer", "public", True),
    ]
    assert (tally.events, tally.split) == (1, 1)


@pytest.mark.parametrize(
    "record",
    [
        policy({"AWS": f"arn:aws:iam::{OWN}:role/etl"}),
        policy({"Service": "cloudtrail.amazonaws.com"}),
        policy("*", effect="Deny"),
        call("s3", "PutObjectAcl", {"bucketName": "exports", "x-amz-acl": ["private"]}),
        call("rds", "ModifyDBSnapshotAttribute", {"valuesToRemove": [OTHER]}),
    ],
)
def test_what_lets_nobody_else_in_is_administration(record: dict[str, Any]) -> None:
    """The account itself, services, a prohibition."""
    assert [(one.kind, one.destination) for one in told(record)[0]] == [("administration", None)]


@pytest.mark.parametrize(
    "acl",
    [
        {"x-amz-acl": "public-read"},
        {"x-amz-acl": ["authenticated-read"]},
        {"x-amz-grant-read": 'uri="http://acs.amazonaws.com/groups/global/AllUsers"'},
        {
            "AccessControlPolicy": {
                "AccessControlList": {"Grant": {"Grantee": {"URI": "http://acs.amazonaws.com/groups/global/AllUsers"}}}
            }
        },
    ],
)
def test_an_open_list_is_a_transfer_to_everybody(acl: dict[str, Any]) -> None:
    """In each of the ways in which it can be asked for."""
    made = told(call("s3", "PutObjectAcl", {"bucketName": "exports", "key": "a.csv"} | acl))[0]
    assert [(one.kind, one.destination, one.destination_external) for one in made] == [
        ("data_transfer", "public", True)
    ]


@pytest.mark.parametrize(
    ("service", "name", "asked"),
    [
        ("rds", "ModifyDBSnapshotAttribute", {"dBSnapshotIdentifier": "s", "valuesToAdd": [OTHER, "all"]}),
        (
            "rds",
            "ModifyDBClusterSnapshotAttribute",
            {"dBClusterSnapshotIdentifier": "s", "valuesToAdd": [OTHER, "all"]},
        ),
        (
            "ec2",
            "ModifySnapshotAttribute",
            {"snapshotId": "s", "createVolumePermission": {"add": {"items": [{"userId": OTHER}, {"group": "all"}]}}},
        ),
        (
            "ec2",
            "ModifyImageAttribute",
            {"launchPermission": {"add": {"items": [{"userId": OTHER}, {"group": "all"}]}}},
        ),
    ],
)
def test_a_shared_snapshot_is_a_transfer_to_each_account(service: str, name: str, asked: dict[str, Any]) -> None:
    """The quietest way to take a whole database along."""
    made = told(call(service, name, asked))[0]
    assert [(one.kind, one.destination) for one in made] == [
        ("data_transfer", f"account:{OTHER}"),
        ("data_transfer", "public"),
    ]


def test_what_goes_to_an_own_account_does_not_leave_the_organisation() -> None:
    """It is a transfer, and inside."""
    record = call("rds", "ModifyDBSnapshotAttribute", {"valuesToAdd": [OTHER]})
    assert [one.destination_external for one in told(record)[0]] == [True]
    assert [one.destination_external for one in told(record, own_accounts=[OTHER])[0]] == [False]


def test_a_policy_with_very_many_names_is_bounded_and_says_so() -> None:
    """One record must not become thousands of events."""
    many = [f"{number:012}" for number in range(MAX_TARGETS + 1)]
    made = told(policy({"AWS": many}))[0]
    assert (len(made), made[0].truncated) == (MAX_TARGETS, True)


def test_a_copy_to_another_bucket_is_a_transfer_and_within_one_is_none() -> None:
    """Whose the other one is stands in the record's resources."""
    asked = {"bucketName": "drop", "key": "c.csv", "x-amz-copy-source": "exports/a%2F12345.csv"}
    owners = [{"accountId": OTHER, "ARN": "arn:aws:s3:::drop"}]
    out, unknown, same = told(
        call("s3", "CopyObject", asked, resources=owners),
        call("s3", "CopyObject", asked),
        call("s3", "CopyObject", asked | {"bucketName": "exports"}),
    )[0]
    assert (out.action, out.dataset, out.destination) == ("transfer", "s3:exports/a/{n}.csv", BUCKET)
    assert (out.destination_external, unknown.destination_external) == (True, None)
    assert (same.kind, same.destination) == ("data_change", None)


def test_replication_into_anothers_bucket_is_a_transfer_and_costs_its_own_length() -> None:
    """Rules and resources are looked through once, however many a caller sends."""
    rules = [{"Destination": {"Bucket": f"arn:aws:s3:::b{n}"}} for n in range(3_000)]
    owners = [{"ARN": f"arn:aws:s3:::b{n}", "accountId": OTHER if n == 0 else OWN} for n in range(3_000)]
    began = time.process_time()
    asked = {"bucketName": "exports", "ReplicationConfiguration": {"Rule": rules}}
    made = told(call("s3", "PutBucketReplication", asked, resources=owners))[0]
    assert time.process_time() - began < 2
    assert (made[0].action, made[0].destination, made[0].destination_external) == (
        "transfer",
        f"s3:{NAMES.pseudonym('destination', 'b0')}",
        True,
    )
    assert {one.destination_external for one in made[1:]} == {None}


def test_unload_is_an_export_to_the_bucket_that_it_names_and_nothing_else_of_it_leaves() -> None:
    """Any other statement is a query."""
    unload = "UNLOAD (SELECT email FROM c WHERE name = 'Somchai') TO 's3://drop/x'"
    made = told(*(call("athena", "StartQueryExecution", {"queryString": s}) for s in (unload, "SELECT 1")))[0]
    assert [(one.kind, one.destination) for one in made] == [("data_export", BUCKET), ("data_access", None)]
    assert "Somchai" not in repr(made)


def test_who_gets_rights_is_the_actor_and_who_gives_them_is_told() -> None:
    """A key of one's own is one's own."""
    policy_arn = "arn:aws:iam::aws:policy/AdministratorAccess"
    given, own = told(
        call("iam", "AttachUserPolicy", {"userName": "eve", "policyArn": policy_arn}), call("iam", "CreateAccessKey")
    )[0]
    assert (given.kind, given.actor, given.privilege) == ("privilege_change", who(ANA[:-3] + "eve"), "superuser")
    assert labels(given)["by"] == who(ANA)
    assert (own.actor, own.privilege, "by" in labels(own)) == (who(ANA), "standard", False)


def test_a_login_tells_its_outcome_in_the_answer() -> None:
    """A user that does not exist is hidden by AWS: then the address is the actor."""
    hidden = {"type": "IAMUser", "accountId": OWN, "userName": "HIDDEN_DUE_TO_SECURITY_REASONS"}
    failed, won = told(
        call("signin", "ConsoleLogin", userIdentity=hidden, responseElements={"ConsoleLogin": "Failure"}),
        call("signin", "ConsoleLogin", responseElements={"ConsoleLogin": "Success"}),
    )[0]
    assert (failed.kind, failed.outcome, failed.actor) == ("authentication", "denied", failed.source_ip)
    assert (won.outcome, won.actor) == ("ok", who(ANA))


def test_a_record_told_twice_is_one_event_and_two_alike_are_two() -> None:
    """At least once; what tells records apart is AWS's own id."""
    one, other = "5a6f6d9e-0c5b-4b5e-8c1d-00000000000a", "5a6f6d9e-0c5b-4b5e-8c1d-00000000000b"
    made, tally = told(get(eventID=one), get(eventID=one), get(eventID=other), get(), get())
    assert (len(made), dict(tally.ignored)) == (4, {"told_before": 1})
    assert labels(made[0])["event"] == one


def test_what_is_not_watched_is_counted() -> None:
    """Most calls look at the state of machines."""
    _, tally = told(call("ec2", "DescribeInstances", readOnly=True), call("ec2", "RunInstances", readOnly=False))
    assert dict(tally.ignored) == {"read_only": 1, "not_watched": 1}
    insight = {"eventType": "AwsCloudTrailInsight", "eventTime": "2026-03-02T10:00:00Z", "insightDetails": {}}
    assert dict(told(insight)[1].ignored) == {"insight": 1}
    assert dict(told({"eventTime": "2026-03-02T10:00:00Z"})[1].failed) == {"no_event": 1}


def test_records_without_their_envelope_are_read_if_the_options_say_so() -> None:
    """One a line, or in a plain array."""
    for data in (json.dumps([get()]).encode(), b"\n".join(json.dumps(get()).encode() for _ in range(2))):
        assert {one.kind for one in parse("cloudtrail", data, wrapped=False)[0]} == {"data_export"}


def test_a_wrong_account_is_named() -> None:
    """YAML takes an id without quotes for a number."""
    with pytest.raises(BadConfiguration, match="own_accounts"):
        options_of(collector_of("cloudtrail"), {"own_accounts": ["123"]})


def test_nothing_of_the_sample_that_names_somebody_leaves() -> None:
    """Users, addresses, keys of objects, statements, access keys."""
    made = repr(parse("cloudtrail", sample_of("cloudtrail"))[0])
    for secret in ("ana@", "somchai", "Somchai", "203.0.113.7", "AKIA", "ASIA", "user/eve"):
        assert secret not in made


def test_nothing_personal_leaves_wherever_it_is_planted() -> None:
    """The shared test reads records without their envelope, which here is an option."""
    records = [json.dumps(one).encode() for one in json.loads(sample_of("cloudtrail"))["Records"]]
    for where, canary, record in planted(records, random.Random(7), 300):
        for made in parse("cloudtrail", record, wrapped=False)[0]:
            shown = {
                name for name, value in msgspec.to_builtins(made).items() if SEARCHER.found(msgspec.json.encode(value))
            }
            assert not shown or (canary in FREE and shown <= {"dataset", "tool", "destination", "labels"}), (
                where,
                shown,
            )


@settings(deadline=None)
@given(
    st.sampled_from(sorted(CALLS)),
    st.dictionaries(st.sampled_from([*call("", ""), "additionalEventData", "resources", "responseElements"]), JSON),
    st.dictionaries(st.sampled_from(["bucketName", "key", "x-amz-copy-source", "bucketPolicy", "valuesToAdd"]), JSON),
)
def test_any_json_is_read_or_counted(name: tuple[str, str], fields: dict[str, Any], asked: dict[str, Any]) -> None:
    """A value of any type, wherever it stands, in every call."""
    service = name[0].partition(".")[0]
    _, tally = told(
        call(service, name[1], asked), call(service, name[1], asked, **fields), call(service, name[1], fields)
    )
    assert (tally.records, tally.open) == (3, 0)
