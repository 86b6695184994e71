"""A day of events and alerts, put in as SQL, so that only the named columns of the migrated tables matter.

jd falls silent for the last two hours.
"""

from __future__ import annotations

EVENTS = """
INSERT INTO rua.events (event_id, source_id, source_position, source, platform, kind, action, actor, dataset, rows,
    rows_quality, destination, occurred_at, observed_at)
SELECT lower(hex(MD5(toString(number)))), 'src', number * 1024, 'pgaudit-jsonlog',
    ['lazada', 'shopee', 'jd'][1 + number % 3],
    if(number % 5 = 0, 'data_export', 'data_access'), if(number % 5 = 0, 'export', 'read'),
    if(number % 11 = 0, NULL, 'actor-' || leftPad(toString(number % 7), 2, '0')),
    ['orders', 'customers', 'addresses', NULL][1 + number % 4],
    if(number % 10 = 0, NULL, number % 90 + 1), if(number % 10 = 0, 'unknown', 'exact'),
    if(number % 5 = 0, 'client:203.0.113.0/24', NULL),
    fromUnixTimestamp64Milli(toInt64({end_ms} - 30000 - number * 210000)),
    fromUnixTimestamp64Milli(toInt64({end_ms} - 29000 - number * 210000))
FROM numbers(400)
WHERE NOT (number % 3 = 2 AND number * 210000 + 30000 < 7200000)
"""
ALERTS = """
INSERT INTO rua.alerts (alert_id, revision, detector, severity, platform, subject, subject_type, actor, title, reason,
    runbook, evidence, window_start, window_end, raised_at)
SELECT lower(hex(MD5('a' || toString(number % 40)))), 1 + intDiv(number, 40),
    ['bulk-export-volume', 'off-hours', 'first-seen-destination'][1 + number % 3],
    ['medium', 'low', 'high', 'critical', 'medium'][1 + number % 5],
    ['lazada', 'shopee', 'jd'][1 + number % 3],
    'actor-0' || toString(number % 7) AS whom, 'actor', whom,
    'Bulk export', 'Exported ' || toString(1200 + number * 37) || ' rows within an hour, more than 1000',
    'docs/runbooks/bulk-export-volume.md',
    arrayMap(i -> ('event-' || toString(i), 'rua.events.lazada', 0, i), range(1 + number % 5)),
    fromUnixTimestamp64Milli(toInt64({end_ms} - 120000 - (number % 40) * 2000000)),
    fromUnixTimestamp64Milli(toInt64({end_ms} - 60000 - (number % 40) * 2000000)),
    fromUnixTimestamp64Milli(toInt64({end_ms} - 60000 - (number % 40) * 2000000))
FROM numbers(60)
"""


def statements(end_ms: int) -> list[str]:
    """What fills the tables with the day that ends at `end_ms`: 40 alerts, 20 of them stored in two revisions."""
    return [text.replace("{end_ms}", str(end_ms)) for text in (EVENTS, ALERTS)]
