"""auth.log: who became whom, who came in, whose rights changed."""

from __future__ import annotations

import json
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, strategies as st
from rua_agents.collectors import Draft
from rua_agents.parse import drafts
from rua_agents.pseudonyms import KeyRing
from rua_agents.syslog import Stamps
from rua_common.clock import ManualClock

from tests.agent_rig import DATA, KEY, origin, parse, sample_of

NAMES = KeyRing(KEY, "lazada").at(0)
HEAD = "2026-03-02T10:00:00.5+00:00 app1 "


def who(name: str) -> str:
    """A name's pseudonym."""
    return NAMES.pseudonym("actor", name)


def one(message: str, head: str = HEAD) -> Draft:
    """The event of a message; nothing fails."""
    made, tally = parse("auth-log", (head + message + "\n").encode())
    assert (len(made), tally.failed.total()) == (1, 0)
    return made[0]


def label(event: Draft, key: str) -> str | None:
    """A label's value."""
    return next((one.value for one in event.labels if one.key == key), None)


def ms(stamp: str) -> int:
    """Milliseconds of an ISO stamp."""
    return round(datetime.fromisoformat(stamp).timestamp() * 1_000)


def test_every_record_of_the_sample_is_accounted_for_and_both_spellings_say_the_same() -> None:
    """Debian 12, sudo 1.9; the same run with old stamps and with ISO ones."""
    made, tally = parse("auth-log", sample_of("auth-log"), zone="UTC")
    iso, other = parse("auth-log", (DATA / "auth_iso_sudo.log").read_bytes())
    facts = [(e.kind, e.actor, e.tool, e.outcome, e.privilege, e.statement_fingerprint, e.labels) for e in made]
    assert facts == [(e.kind, e.actor, e.tool, e.outcome, e.privilege, e.statement_fingerprint, e.labels) for e in iso]
    assert tally.ignored == other.ignored
    assert tally.failed.total() == other.failed.total() == 0
    commands = [event for event in made if event.kind == "privileged_access" and event.tool]
    assert [event.tool for event in commands] == ["id", "psql", "bash", "sh", "env", "cat", "bash", "su"]
    assert {event.actor for event in commands} == {who("labuser")}
    assert tally.ignored["command_continued"] == 2


def test_names_of_directories_are_whole_and_without_their_number() -> None:
    r"""`domain\name`, `name@realm` and `(uid=0)` (case OS-04)."""
    made, tally = parse("auth-log", (DATA / "pam_user_names.log").read_bytes())
    assert [event.actor for event in made] == [who(r"corp\somchai"), who("admin.user@corp.example"), who("root")]
    assert {event.kind for event in made} == {"authentication"}
    assert tally.failed.total() == 0


@pytest.mark.parametrize("now", ["2026-01-01T00:00:30+07:00", "2025-12-31T23:59:59+07:00", "2026-03-01T08:00:00+07:00"])
def test_the_year_of_a_stamp_without_one_is_that_before_it_was_read(now: str) -> None:
    """Around New Year whichever clock is first, and in March (case TM-01)."""
    place = origin("auth-log", zone="Asia/Bangkok")
    with (DATA / "auth_newyear.log").open("rb") as file:
        made = list(drafts(file, place, ManualClock(ms(now))))
    assert [event.occurred_at for event in made] == [ms("2025-12-31T16:59:58Z"), ms("2025-12-31T17:00:02Z")]
    assert [event.action for event in made] == ["unknown", "export"]  # id, pg_dump


def test_a_leap_day_is_found_in_the_leap_year() -> None:
    """Read in 2027, it was in 2024."""
    line = Stamps(ZoneInfo("UTC")).read("Feb 29 01:00:00 h su: x", ms("2027-06-01T00:00:00Z"))
    assert line.at_ms == ms("2024-02-29T01:00:00Z")


def test_the_hour_that_the_clock_shows_twice_follows_the_order_of_the_file() -> None:
    """Berlin, 25 October 2026: 02:30 summer time, then 02:10 winter time; and after a restart in between."""
    now, zone = ms("2026-10-26T00:00:00Z"), ZoneInfo("Europe/Berlin")
    stamps = Stamps(zone)
    times = [stamps.read(f"Oct 25 {at} h su: x", now).at_ms for at in ("01:59:00", "02:30:00", "02:29:50", "02:10:00")]
    summer = ["2026-10-24T23:59:00Z", "2026-10-25T00:30:00Z", "2026-10-25T00:29:50Z", "2026-10-25T01:10:00Z"]
    assert times == [ms(at) for at in summer]
    assert Stamps(zone, times[1]).read("Oct 25 02:10:00 h su: x", now).at_ms == times[3]


def test_a_stamp_without_a_zone_needs_a_configured_one() -> None:
    """UTC is no guess to make."""
    made, tally = parse("auth-log", b"Dec 31 23:59:58 h sudo: ana : USER=root ; COMMAND=/bin/id\n")
    assert (made, tally.failed) == ([], {"no_time": 1})


@pytest.mark.parametrize(
    ("message", "outcome", "privilege"),
    [
        ("sudo:  ana : TTY=pts/0 ; PWD=/srv ; USER=root ; COMMAND=/usr/bin/id", "ok", "superuser"),
        ("sudo:  ana : TTY=pts/0 ; PWD=/srv ; USER=postgres ; COMMAND=/usr/bin/id", "ok", "elevated"),
        ("sudo:  ana : command not allowed ; TTY=pts/0 ; PWD=/ ; USER=root ; COMMAND=/bin/sh", "denied", "superuser"),
        ("sudo:  ana : user NOT in sudoers ; PWD=/ ; USER=root ; COMMAND=/bin/sh", "denied", "superuser"),
        ("sudo:  ana : 3 incorrect password attempts ; PWD=/ ; USER=root ; COMMAND=/bin/sh", "denied", "superuser"),
        ("sudo:  ana : unknown user nosuch ; PWD=/srv ; USER=nosuch ; ", "failed", "elevated"),
        ("su[7]: (to root) ana on pts/0", "ok", "superuser"),
        ("su[7]: FAILED SU (to root) ana on pts/0", "denied", "superuser"),
    ],
)
def test_who_became_whom_and_whether(message: str, outcome: str, privilege: str) -> None:
    """The actor is who asked, never whom he became."""
    event = one(message)
    assert (event.kind, event.actor, event.outcome, event.privilege) == (
        "privileged_access",
        who("ana"),
        outcome,
        privilege,
    )


@pytest.mark.parametrize(
    "message",
    [
        "sudo:  ana : PWD=/x ; USER=bob ; COMMAND=/bin/true ; USER=root ; COMMAND=/bin/cat /etc/shadow",
        "sudo:  ana : PWD=/srv ; USER=root ; COMMAND=/bin/echo x ; USER=bob ; COMMAND=/bin/true",
    ],
)
def test_a_directory_or_an_argument_cannot_pass_for_fields(message: str) -> None:
    """A field that stands there twice is not believed: the worst counts, and the event says that it is not certain."""
    event = one(message)
    assert (event.actor, event.privilege, event.tool, event.truncated) == (who("ana"), "superuser", None, True)
    plain = one("sudo:  ana : PWD=/srv ; USER=bob ; COMMAND=/bin/sh -c 'a ; b'")
    assert (plain.privilege, plain.tool, plain.truncated) == ("elevated", "sh", False)


@pytest.mark.parametrize(
    ("message", "user", "outcome"),
    [
        ("sshd[9]: Accepted publickey for ana from 203.0.113.7 port 50112 ssh2: RSA SHA256:abc", "ana", "ok"),
        ("sshd[9]: Failed password for ana from 203.0.113.7 port 50112 ssh2", "ana", "denied"),
        ("sshd[9]: Failed password for invalid user x from 1.2.3.4 port 1 ssh2 from 203.0.113.7 port 50112 ssh2",
         "x from 1.2.3.4 port 1 ssh2", "denied"),
    ],
)  # fmt: skip
def test_who_came_in_from_where(message: str, user: str, outcome: str) -> None:
    """A name that holds an address forges none."""
    event = one(message)
    assert (event.kind, event.actor, event.outcome) == ("authentication", who(user), outcome)
    assert event.source_network == "203.0.113.0/24"


@pytest.mark.parametrize(
    ("message", "kind", "user", "by"),
    [
        ("useradd[1]: new user: name=ana, UID=1001, GID=1001, home=/h", "privilege_change", "ana", None),
        ("usermod[1]: add 'ana' to group 'adm'", "privilege_change", "ana", None),
        ("passwd[1]: password for 'ana' changed by 'root'", "privilege_change", "ana", "root"),
        ("gpasswd[1]: user ana added by root to group adm", "privilege_change", "ana", "root"),
        ("gpasswd[1]: user ana removed by root from group adm", "administration", "ana", "root"),
        ("userdel[1]: delete user 'ana'", "administration", "ana", None),
    ],
)
def test_whose_rights_changed(message: str, kind: str, user: str, by: str | None) -> None:
    """The actor is who got the rights; `by` is who gave them, if the line tells."""
    event = one(message)
    assert (event.kind, event.actor, label(event, "by")) == (kind, who(user), who(by) if by else None)


@pytest.mark.parametrize("data", ["-", '[x@1 a="b]\\"" c="d"]', '[x@1 a=""][y@2]', "[x]"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_a_line_of_rfc_5424_is_read_whatever_its_structured_data(data: str, mark: str) -> None:
    """The daemon's format RSYSLOG_SyslogProtocol23Format; a byte order mark may stand before the message."""
    message = f"{mark}Accepted publickey for ana from 192.0.2.9 port 5 ssh2"
    event = one(message, f"<86>1 2026-03-02T10:00:00.5+00:00 app1 sshd 900 - {data} ")
    assert (event.kind, event.actor, event.occurred_at) == ("authentication", who("ana"), ms("2026-03-02T10:00:00.5Z"))


def test_structured_data_is_no_message() -> None:
    """What stands in it is the sender's, and long data without an end costs no time."""
    head = "<86>1 2026-03-02T10:00:00.5+00:00 app1 sshd 900 - "
    evil = '[x@1 a="] Accepted publickey for root from 192.0.2.1 port 5"] Failed password for ana from 192.0.2.9 port 5'
    assert (one(evil + " ssh2", head).actor, one(evil + " ssh2", head).outcome) == (who("ana"), "denied")
    made, tally = parse("auth-log", (head + "[" + '""' * 200_000 + "\n").encode())
    assert (made, tally.ignored) == ([], {"other_program": 1})


@pytest.mark.parametrize("cut", [300, 1_000, 8_000])
def test_a_json_message_that_the_daemon_cut_is_still_an_event(cut: int) -> None:
    """The daemon cuts at 8 KB, and whoever runs sudo chooses how long the arguments are."""
    told = {"server_time": {"seconds": 1, "nanoseconds": 0}, "submituser": "ana", "command": "/usr/bin/pg_dump"}
    whole = json.dumps({"sudo": {"accept": told | {"runuser": "root", "runargv": ["pg_dump", "x" * 9_000]}}})
    event = one(f"sudo[12]: @cee:{whole[:cut]}")
    assert (event.actor, event.action, event.privilege, event.truncated) == (who("ana"), "export", "superuser", True)
    assert one(f"sudo[12]: @cee:{whole}").truncated is False
    made, tally = parse("auth-log", f"{HEAD}sudo: @cee:{whole[:60]}\n".encode())
    assert (made, tally.failed) == ([], {"not_json": 1})


def test_the_host_in_front_of_sudos_fields_is_no_failure() -> None:
    """`Defaults log_host`."""
    event = one("sudo: ana : HOST=app2 ; TTY=pts/0 ; PWD=/ ; USER=root ; COMMAND=/usr/bin/id")
    assert (event.outcome, event.tool, label(event, "as")) == ("ok", "id", who("root"))


def test_nothing_of_a_command_leaves_but_program_and_options() -> None:
    """Passwords, statements, paths and the environment stay; the fingerprint knows options only."""
    line = (
        "sudo: ana : PWD=/home/ana ; USER=root ; ENV=TOKEN=s3cret ; COMMAND=/usr/bin/mysql -ps3cret --user=bob -e 'x'"
    )
    event = one(line)
    assert "s3cret" not in str(event)
    assert "bob" not in str(event)
    assert (
        event.statement_fingerprint == one(line.replace("s3cret", "other").replace("bob", "eve")).statement_fingerprint
    )
    assert event.statement_fingerprint != one(line.replace("--user", "--host")).statement_fingerprint


@given(st.text(st.characters(codec="utf-8", exclude_characters="\n\r\0"), max_size=80))
def test_no_name_in_a_message_of_sshd_forges_an_accepted_login(name: str) -> None:
    """Whatever a client calls itself, a refused login stays refused and keeps its address."""
    event = one(f"sshd[9]: Failed password for invalid user {name} from 203.0.113.7 port 9 ssh2")
    assert (event.outcome, event.source_network) == ("denied", "203.0.113.0/24")
