"""What calls of AWS's interfaces mean for personal data: one table, one short function a sort of call."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from rua_schemas.events import Action, Kind, Privilege

from rua_agents import labels
from rua_agents.collectors import cloudtrail_sharing as sharing
from rua_agents.collectors.cloudtrail_identity import partition_of
from rua_agents.collectors.cloudtrail_sharing import Target
from rua_agents.collectors.json_values import inside, text

_STRONG_POLICIES = ("/AdministratorAccess", "/IAMFullAccess")
_UNLOAD = re.compile(r"\s*UNLOAD\b", re.IGNORECASE)
_INTO = re.compile(r"\bTO\s+'(s3://[^'/]{3,63})", re.IGNORECASE)
_KIND = re.compile(r"[:/]")
_REGION = re.compile(r"[a-z]{2}(?:-[a-z]{3,12}){1,3}-\d", re.ASCII)
_GRANTED = ("userName", "roleName", "groupName")


class Call(NamedTuple):
    """One call."""

    record: Mapping[str, Any]
    asked: Mapping[str, Any]
    """Its parameters."""
    account: str
    """Whose log it stands in."""


class Told(NamedTuple):
    """What a call tells."""

    kind: Kind
    action: Action
    dataset: str | None = None
    targets: tuple[Target, ...] = ()
    """Where data goes; an event each. None of an export: to the client."""
    grantee: str | None = None
    """Whose rights change."""
    privilege: Privilege | None = None
    """Which rights are given."""


Reader = Callable[[Call], Told]


def _plain(kind: Kind, action: Action, *names: str, prefix: str = "") -> Reader:
    """A call whose dataset is the first of these parameters."""

    def read(call: Call) -> Told:
        found = next((name for key in names if (name := text(call.asked.get(key)))), None)
        return Told(kind, action, f"{prefix}{_resource(found)}" if found else None)

    return read


def _resource(name: str) -> str:
    """A resource's own name: of an ARN what follows the resource's kind."""
    if name.startswith("arn:"):
        name = _KIND.split(name.split(":", 5)[-1], maxsplit=1)[-1]
    return labels.path_shape(name.replace(":", "/"))


def _object(kind: Kind, action: Action) -> Reader:
    return lambda call: Told(kind, action, sharing.object_name(call.asked.get("bucketName"), call.asked.get("key")))


def _copy(call: Call) -> Told:
    """From one bucket to another; within one it is a change."""
    name, key = sharing.copied_from(call.asked.get("x-amz-copy-source"))
    target = sharing.bucket(call.asked.get("bucketName"), sharing.owners_of(call.record))
    dataset = sharing.object_name(name, key)
    if target is None or name is None or target.destination == f"s3://{name}":
        return Told("data_change", "alter", dataset)
    return Told("data_transfer", "transfer", dataset, (target,))


def _shared(targets: list[Target], dataset: str | None, call: Call) -> Told:
    """Data is given to others, or something is set that gives it to nobody else."""
    outside = tuple(one for one in targets if one.account != call.account)
    if not outside:
        return Told("administration", "alter", dataset)
    return Told("data_transfer", "transfer", dataset, outside)


def _bucket_policy(call: Call) -> Told:
    return _shared(sharing.of_policy(call.asked.get("bucketPolicy")), _bucket(call), call)


def _acl(call: Call) -> Told:
    dataset = sharing.object_name(call.asked.get("bucketName"), call.asked.get("key"))
    return _shared(sharing.of_acl(call.asked), dataset, call)


def _replication(call: Call) -> Told:
    return _shared(sharing.of_replication(call.asked, call.record), _bucket(call), call)


def _bucket(call: Call) -> str | None:
    return sharing.object_name(call.asked.get("bucketName"), None)


def _snapshot_attribute(*names: str, prefix: str) -> Reader:
    plain = _plain("administration", "alter", *names, prefix=prefix)
    return lambda call: _shared(sharing.of_attribute(call.asked), plain(call).dataset, call)


def _copy_made(*names: str, prefix: str, kind: Kind = "data_export", action: Action = "export") -> Reader:
    """A copy of a whole database or disk that stays in the account. Its own name is new each time."""

    def read(call: Call) -> Told:
        region = text(call.record.get("awsRegion")) or ""
        where = Target(f"snapshot:{region if _REGION.fullmatch(region) else 'unknown'}", call.account)
        return _plain(kind, action, *names, prefix=prefix)(call)._replace(targets=(where,))

    return read


def _to_bucket(*names: str, bucket: str, prefix: str) -> Reader:
    def read(call: Call) -> Told:
        target = sharing.bucket(call.asked.get(bucket), sharing.owners_of(call.record))
        told = _plain("data_export", "export", *names, prefix=prefix)(call)
        return told._replace(targets=(target,) if target else ())

    return read


def _athena(call: Call) -> Told:
    """UNLOAD writes into a bucket that its text names; of the text nothing else leaves."""
    database = text(inside(call.asked, "queryExecutionContext", "database"))
    dataset = f"athena:{labels.name_shape(database)}" if database else "athena"
    statement = call.asked.get("queryString")
    if isinstance(statement, str) and _UNLOAD.match(statement):
        into = _INTO.search(statement)
        target = sharing.bucket(into[1]) if into else None
        return Told("data_export", "export", dataset, (target,) if target else ())
    return Told("data_access", "query", dataset)


def _grant(call: Call) -> Told:
    """Rights of a user, a role or a group; without any of them the caller's own."""
    key = next((one for one in _GRANTED if text(call.asked.get(one))), None)
    grantee = None
    if key is not None:
        kind, name = key.removesuffix("Name"), text(call.asked.get(key))
        grantee = f"arn:{partition_of(call.record)}:iam::{call.account}:{kind}/{name}"
    policy = text(call.asked.get("policyArn"))
    given: Privilege = "standard" if policy is None else "elevated"
    if policy is not None and policy.endswith(_STRONG_POLICIES):
        given = "superuser"
    return Told("privilege_change", "alter", grantee=grantee, privilege=given)


_LOGIN = _plain("authentication", "unknown")
_ADMINISTER = _plain("administration", "alter", "bucketName", "name", "trailName")
_INSIDE = _plain("privileged_access", "unknown", "target", "cluster", "instanceId", "documentName")


def _calls(service: str, reader: Reader, *names: str) -> dict[tuple[str, str], Reader]:
    return {(f"{service}.amazonaws.com", name): reader for name in names}


_EXPORTED, _ALTERED = _object("data_export", "export"), _object("data_change", "alter")
_TABLE = {"prefix": "dynamodb:"}
_RDS = (
    "dBInstanceIdentifier",
    "dBClusterIdentifier",
    "sourceDBSnapshotIdentifier",
    "sourceDBClusterSnapshotIdentifier",
)
_RDS_SNAPSHOTS = ("dBSnapshotIdentifier", "dBClusterSnapshotIdentifier")

CALLS: Mapping[tuple[str, str], Reader] = {
    **_calls("s3", _EXPORTED, "GetObject", "GetObjectTorrent", "SelectObjectContent"),
    **_calls("s3", _object("data_access", "query"), "ListObjects", "ListObjectsV2", "ListObjectVersions"),
    **_calls("s3", _ALTERED, "PutObject", "PostObject", "CompleteMultipartUpload", "RestoreObject"),
    **_calls("s3", _object("data_change", "delete"), "DeleteObject", "DeleteObjects", "DeleteBucket"),
    **_calls("s3", _copy, "CopyObject", "UploadPartCopy"),
    **_calls("s3", _bucket_policy, "PutBucketPolicy"),
    **_calls("s3", _acl, "PutBucketAcl", "PutObjectAcl"),
    **_calls("s3", _replication, "PutBucketReplication"),
    **_calls("s3", _ADMINISTER, "DeleteBucketPolicy", "PutBucketPublicAccessBlock", "DeleteBucketPublicAccessBlock"),
    **_calls("s3", _ADMINISTER, "PutAccountPublicAccessBlock", "DeleteAccountPublicAccessBlock", "PutBucketLogging"),
    **_calls("rds", _copy_made(*_RDS, prefix="rds:"), "CreateDBSnapshot", "CreateDBClusterSnapshot"),
    **_calls(
        "rds",
        _copy_made(*_RDS, prefix="rds:", kind="data_transfer", action="transfer"),
        *("CopyDBSnapshot", "CopyDBClusterSnapshot"),
    ),
    **_calls(
        "rds",
        _snapshot_attribute(*_RDS_SNAPSHOTS, prefix="rds:"),
        *("ModifyDBSnapshotAttribute", "ModifyDBClusterSnapshotAttribute"),
    ),
    **_calls("rds", _to_bucket("sourceArn", bucket="s3BucketName", prefix="rds:"), "StartExportTask"),
    **_calls(
        "rds",
        _plain("administration", "alter", *_RDS_SNAPSHOTS, "snapshotIdentifier", prefix="rds:"),
        *("RestoreDBInstanceFromDBSnapshot", "RestoreDBClusterFromSnapshot", "RestoreDBInstanceToPointInTime"),
    ),
    **_calls("ec2", _copy_made("volumeId", prefix="ec2:"), "CreateSnapshot", "CreateSnapshots"),
    **_calls("ec2", _snapshot_attribute("snapshotId", "imageId", prefix="ec2:"), "ModifySnapshotAttribute"),
    **_calls("ec2", _snapshot_attribute("imageId", prefix="ec2:"), "ModifyImageAttribute"),
    **_calls("athena", _athena, "StartQueryExecution"),
    **_calls("athena", _plain("data_access", "read"), "GetQueryResults"),
    **_calls("redshift-data", _plain("data_access", "query", "database", prefix="redshift:"), "ExecuteStatement"),
    **_calls("redshift-data", _plain("data_access", "query", "database", prefix="redshift:"), "BatchExecuteStatement"),
    **_calls("rdsdata", _plain("data_access", "query", "resourceArn", prefix="rds:"), "ExecuteStatement"),
    **_calls("dynamodb", _plain("data_access", "query", "tableName", **_TABLE), "Scan", "Query", "ExecuteStatement"),
    **_calls("dynamodb", _plain("data_access", "read", "tableName", **_TABLE), "GetItem", "BatchGetItem"),
    **_calls("dynamodb", _plain("data_change", "alter", "tableName", **_TABLE), "PutItem", "UpdateItem"),
    **_calls("dynamodb", _plain("data_change", "alter", "tableName", **_TABLE), "BatchWriteItem"),
    **_calls("dynamodb", _plain("data_change", "delete", "tableName", **_TABLE), "DeleteItem", "DeleteTable"),
    **_calls("dynamodb", _to_bucket("tableArn", bucket="s3Bucket", **_TABLE), "ExportTableToPointInTime"),
    **_calls("secretsmanager", _plain("data_access", "read", "secretId", prefix="secretsmanager:"), "GetSecretValue"),
    **_calls("ssm", _INSIDE, "StartSession", "SendCommand"),
    **_calls("ecs", _INSIDE, "ExecuteCommand"),
    **_calls("ec2-instance-connect", _INSIDE, "SendSSHPublicKey", "SendSerialConsoleSSHPublicKey"),
    **_calls("signin", _LOGIN, "ConsoleLogin", "SwitchRole", "CredentialVerification", "CheckMfa"),
    **_calls("sts", _LOGIN, "AssumeRole", "AssumeRoleWithSAML", "AssumeRoleWithWebIdentity"),
    **_calls("sts", _LOGIN, "GetFederationToken", "GetSessionToken"),
    **_calls("iam", _grant, "CreateUser", "CreateAccessKey", "CreateLoginProfile", "UpdateLoginProfile"),
    **_calls("iam", _grant, "AttachUserPolicy", "AttachRolePolicy", "AttachGroupPolicy", "AddUserToGroup"),
    **_calls("iam", _grant, "PutUserPolicy", "PutRolePolicy", "PutGroupPolicy", "UpdateAssumeRolePolicy"),
    **_calls("iam", _grant, "CreatePolicyVersion", "SetDefaultPolicyVersion", "UpdateAccessKey"),
    **_calls("sso", _grant, "CreateAccountAssignment"),
    **_calls("iam", _ADMINISTER, "DeleteUser", "DeleteAccessKey", "DetachUserPolicy", "DetachRolePolicy"),
    **_calls("iam", _ADMINISTER, "RemoveUserFromGroup", "DeactivateMFADevice", "DeleteLoginProfile"),
    **_calls("cloudtrail", _ADMINISTER, "StopLogging", "DeleteTrail", "UpdateTrail", "PutEventSelectors"),
    **_calls("guardduty", _ADMINISTER, "DeleteDetector", "UpdateDetector"),
    **_calls("config", _ADMINISTER, "StopConfigurationRecorder", "DeleteConfigurationRecorder"),
}
"""Service and call → what it tells."""


def asked_of(record: Mapping[str, Any]) -> Mapping[str, Any]:
    """The parameters of a call; some services nest them in a request of the call's name."""
    asked = record.get("requestParameters")
    if not isinstance(asked, Mapping):
        return {}
    nested = next((one for key, one in asked.items() if key.endswith("Request") and isinstance(one, Mapping)), None)
    return nested if nested is not None and len(asked) == 1 else asked


def name_of(record: Mapping[str, Any]) -> tuple[str, str]:
    """Service and call."""
    return text(record.get("eventSource")) or "", text(record.get("eventName")) or ""
