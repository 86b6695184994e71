"""first-seen-destination: data goes where this subject has sent nothing before."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from rua_schemas.events import Number

from rua_streams.engine import Measured, Rule, Verdict, View
from rua_streams.features import Active, Daily, Sum
from rua_streams.judging import reached, rows_known_or_guessed, span
from rua_streams.marks import Anchor, Firsts
from rua_streams.runs import HOUR


@dataclass(frozen=True)
class FirstSeenDestination:
    """Flags what goes to a destination within the first hour in which a subject with history uses it.

    A client's network is a destination that changes for innocent reasons (NAT, DHCP, travel, work from home), so there
    it takes the bulk of a usual day within the hour, of two if the network is private, or a first export of unknown
    size; elsewhere the floor is enough, or any export of unknown size. A program is a pattern of its own (COPY … TO
    PROGRAM pipes a table into a shell): the first use is enough, whoever it is and whatever is known, and it is high.
    Files count as one destination: their names are new every day.

    Attributes:
        fresh: seconds from the first use during which a destination is new.
        min_rows: floor of rows (Azure Sentinel's volume anomaly: 500).
        client_days: median days' bulk that a new client network must take, if it is public and if it is private.
        min_days: active days that make a history (Panther asks for 3 events; five days show a working week), whatever
            was done on them: who has never sent anything anywhere sends a first time. Only a network is new to nobody
            whose networks are unknown. A destination stays known for 30 days: twice the longest published window of new
            terms (5 to 14 days).
    """

    rule: ClassVar = Rule(
        id="first-seen-destination",
        title="Personal data sent to a destination not used before",
        on="sent",
        attack=("T1567", "T1537"),
        severities=("medium", "high"),
        reads=("at_ms", "external", "outside", "to_client", "to_program", "unsized"),
        by="actor",
    )
    fresh: int = HOUR
    min_rows: int = 500
    client_days: tuple[float, float] = (1.0, 2.0)
    min_days: int = 5
    used: Firsts = Firsts("destination", "mass", on="sent")
    usual: Daily = Daily("mass", on="egress")
    copies: Daily = Daily("unsized", on="egress")
    guessed: Sum = Sum("guessed", on="egress", span=HOUR)
    activity: Active = Active("any", on="any")
    told: Active = Active("sent", on="sent")

    def judge(self, view: View) -> Verdict:
        """High if the destination is a program, or known to be outside."""
        used, usual, client, program = view.of(self.used), view.of(self.usual), view["to_client"], view["to_program"]
        days = np.where(client, view.of(self.told), view.of(self.activity))
        share = np.where(client, np.where(view["outside"], *self.client_days), 0)
        limit = np.maximum(self.min_rows, np.ceil(share * usual.median))
        copied = (view["unsized"] > 0) & (~client | (view.of(self.copies).peak == 0))
        odd = (used.age <= self.fresh) & (((days >= self.min_days) & ((used.taken >= limit) | copied)) | program)
        guessed = np.where(used.taken > 0, view.of(self.guessed), 0)  # any estimate within the hour makes it one
        numbers = {
            **rows_known_or_guessed(Measured(used.taken, limit), guessed),
            "exports": Measured(np.where(copied, view["unsized"], 0), 1),
            "seconds_since_first_use": Measured(used.age, self.fresh),
            "days": Measured(days, self.min_days),
        }
        none = np.full(len(days), -1)
        words = np.zeros(len(days), np.uint64)
        first_use = Anchor(view["at_ms"] - 1_000 * used.age, none, words, words)
        return Verdict(np.where(odd, 1 + (program | view["external"]), 0), numbers, first_use)

    def reason(self, numbers: Mapping[str, Number]) -> str:
        """`Sent 2,000 rows (limit 500) to a destination first used 4 min before; was active on 12 days before.`."""
        said = reached(numbers) or "data"
        age, days = numbers["seconds_since_first_use"].value, numbers["days"].value
        return f"Sent {said} to a destination first used {span(age)} before; was active on {days:.0f} days before."
