"""The Linux audit log: records of one event belong together, and no argument forges a field."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, strategies as st
from rua_agents.collectors import Draft
from rua_agents.collectors.audit_records import arguments, read_record, title
from rua_agents.collectors.drafting import Unreadable
from rua_agents.pseudonyms import KeyRing

from tests.agent_rig import DATA, KEY, parse, sample_of

NAMES = KeyRing(KEY, "lazada").at(0)
LINES = (DATA / "auditd_hex_args.log").read_text().splitlines()


def who(name: str) -> str:
    """A name's pseudonym."""
    return NAMES.pseudonym("actor", name)


def label(event: Draft, key: str) -> str | None:
    """A label's value."""
    return next((one.value for one in event.labels if one.key == key), None)


def execve(serial: int, arguments: str, at: int = 1_772_445_600) -> str:
    """A command of uid 1000 as root, in three records."""
    head = f"msg=audit({at}.100:{serial}):"
    return (
        f"type=SYSCALL {head} arch=c000003e syscall=59 success=yes exit=0 auid=1000 uid=0 euid=0 ses=7\n"
        f"type=EXECVE {head} {arguments}\ntype=PROCTITLE {head} proctitle=00\n"
    )


def test_only_unquoted_arguments_are_hexadecimal() -> None:
    """`"3005"` is a number that somebody typed; titles are joined by blanks (case OS-01)."""
    assert arguments(read_record(LINES[1])) == ["useradd", "-u", "3005", "-m", "trainer5"]
    assert arguments(read_record(LINES[4])) == ["psql", "-c", "COPY (SELECT * FROM customers) TO '/tmp/x y.csv'"]
    assert title(read_record(LINES[2])) == "useradd -u 3005 -m trainer5"
    made, tally = parse("auditd", (DATA / "auditd_hex_args.log").read_bytes())
    assert [event.tool for event in made] == ["useradd", "psql"]
    assert (tally.records, tally.merged, tally.failed.total()) == (6, 4, 0)


def test_every_record_of_the_sample_is_accounted_for() -> None:
    """Two events interleaved, enriched names, a login that failed and one that did not."""
    made, tally = parse("auditd", sample_of("auditd"))
    assert Counter(event.kind for event in made) == {
        "privileged_access": 4,
        "authentication": 2,
        "data_access": 1,
        "data_change": 1,
        "privilege_change": 1,
        "administration": 1,
    }
    assert tally.ignored == {"told_again": 1, "other_type": 1}
    assert tally.failed.total() == 0


def test_the_login_user_is_the_actor_through_sudo_and_su() -> None:
    """By name where auditd adds names, else by the number on this host."""
    made, _ = parse("auditd", sample_of("auditd"))
    command, dump = [event for event in made if event.tool == "pg_dump"]
    assert (command.actor, command.action) == (who("uid 1000 of db-1"), "export")
    assert (dump.actor, label(dump, "as"), dump.privilege) == (who("ana"), who("postgres"), "elevated")
    assert dump.action == "export"


@pytest.mark.parametrize(
    ("arch", "syscall", "flags", "kind", "action"),
    [
        ("c000003e", "257", "a2=0", "data_access", "read"),
        ("c000003e", "85", "a1=1b4", "data_change", "alter"),
        ("c000003e", "437", "a2=7ffd", "data_access", "unknown"),
        ("40000003", "295", "a2=0", "data_access", "read"),
        ("40000003", "5", "a1=241", "data_change", "alter"),
        ("40000003", "10", "", "data_change", "delete"),
        ("c00000b7", "56", "a2=0", "data_access", "read"),
    ],
)
def test_a_program_of_another_architecture_opens_nothing_unseen(
    arch: str, syscall: str, flags: str, kind: str, action: str
) -> None:
    """A watch holds for all of them: a 32-bit copy of cat must not be the way around it."""
    head = "msg=audit(1772445600.100:7):"
    records = (
        f"type=SYSCALL {head} arch={arch} syscall={syscall} success=yes exit=3 {flags} auid=1000 uid=1000 ses=7\n"
        f'type=PATH {head} item=0 name="/srv/exports/c.csv" nametype=NORMAL\n'
    )
    made, _ = parse("auditd", records.encode())
    assert [(event.kind, event.action, event.dataset) for event in made] == [(kind, action, "file:/srv/exports/c.csv")]


def test_a_watched_file_is_read_or_written_or_refused() -> None:
    """The flags of open tell; the path loses what names one day or person."""
    made, _ = parse("auditd", sample_of("auditd"))
    read, write = [event for event in made if event.kind in ("data_access", "data_change")]
    assert (read.action, read.outcome, read.dataset) == ("read", "ok", "file:/srv/exports/customers-{n}.csv")
    assert (write.action, write.outcome, write.dataset) == ("alter", "denied", "file:/srv/exports/a.csv")


def test_logins_and_accounts_name_whom_they_are_about() -> None:
    """A failed login by its account and address; a new account by itself, `by` who made it."""
    made, _ = parse("auditd", sample_of("auditd"))
    failed, login = [event for event in made if event.kind == "authentication"]
    assert (failed.actor, failed.outcome, failed.source_network) == (who("ana"), "denied", "203.0.113.0/24")
    assert (login.actor, login.outcome) == (who("uid 1000 of db-1"), "ok")
    (account,) = [event for event in made if event.kind == "privilege_change"]
    assert (account.actor, label(account, "by")) == (who("eve"), who("uid 1000 of db-1"))


def test_events_that_are_interleaved_come_in_the_order_of_their_positions() -> None:
    """The first to begin is the last to end."""
    one, two = execve(1, 'argc=1 a0="id"').splitlines(), execve(2, 'argc=1 a0="ls"').splitlines()
    lines = [one[0], two[0], two[1], two[2], one[1], one[2]]
    made, tally = parse("auditd", "\n".join(lines).encode())
    assert [event.tool for event in made] == ["ls", "id"]
    assert [event.source_position for event in made] == sorted(event.source_position for event in made)
    assert (tally.records, tally.events, tally.merged) == (6, 2, 4)


def test_an_event_without_its_end_is_complete_when_the_file_goes_on() -> None:
    """And not a moment before two seconds have passed."""
    open_ended = "".join(line + "\n" for line in execve(1, 'argc=1 a0="id"').splitlines()[:2])
    alone, _ = parse("auditd", (open_ended + execve(2, 'argc=1 a0="ls"', at=1_772_445_601)).encode())
    assert [event.tool for event in alone] == ["id", "ls"]
    later, _ = parse("auditd", (open_ended + execve(2, 'argc=1 a0="ls"', at=1_772_445_609)).encode())
    assert [event.tool for event in later] == ["id", "ls"]


def test_hosts_that_share_a_file_share_no_events_and_no_numbers() -> None:
    """Two machines may write the same time and serial, and uid 1000 of one is not uid 1000 of the other."""
    one, two = (execve(7, f'argc=1 a0="{name}"').splitlines() for name in ("pg_dump", "id"))
    both = "".join(f"node=a {x}\nnode=b {y}\n" for x, y in zip(one, two, strict=True))
    made, tally = parse("auditd", both.encode())
    assert [(event.tool, event.actor) for event in made] == [
        ("pg_dump", who("uid 1000 of a")),
        ("id", who("uid 1000 of b")),
    ]
    assert (tally.merged, made[0].session == made[1].session) == (4, False)


@given(st.text(st.characters(codec="utf-8"), max_size=60))
def test_no_argument_forges_a_record_or_a_user(text: str) -> None:
    """The kernel encodes what could; the event stays that of uid 1000, with the program that ran."""
    made, _ = parse("auditd", execve(1, f'argc=2 a0="id" a1={text.encode().hex().upper() or "(null)"}').encode())
    assert [(event.actor, event.tool) for event in made] == [(who("uid 1000 of db-1"), "id")]


def test_nothing_of_a_command_leaves_but_program_and_options() -> None:
    """Neither a password in an argument nor a statement, nor what waits for its end in the checkpoint."""
    made, _ = parse("auditd", execve(1, 'argc=3 a0="mysql" a1="-ps3cret" a2="--user=bob"').encode())
    other, _ = parse("auditd", execve(1, 'argc=3 a0="mysql" a1="-pother" a2="--user=eve"').encode())
    assert "s3cret" not in str(made)
    assert made[0].statement_fingerprint == other[0].statement_fingerprint


@pytest.mark.parametrize("line", ["", "type=SYSCALL", "type=X msg=audit(1.2:3)", "Nov 24 23:14:31 vm sudo: x", "{}"])
def test_what_is_no_audit_record_is_counted(line: str) -> None:
    """As failed, never as an event."""
    with pytest.raises(Unreadable):
        read_record(line)
    if line:
        assert parse("auditd", line.encode())[1].failed == {"not_audit": 1}
