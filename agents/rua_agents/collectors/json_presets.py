"""Ready mappings for the generic JSON source, and how options are laid over one."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from rua_agents.collectors.json_options import Constants, JsonOptions, Listed, Meaning

BULK_ROWS = 1_000
ORDERS_A_RECORD = 100
"""A record of the order access log names so many orders at most; who reads more writes several."""

_READ, _QUERY = Meaning(kind="data_access", action="read"), Meaning(kind="data_access", action="query")
_EXPORT = Meaning(kind="data_export", action="export")
_ALTER, _DELETE = Meaning(kind="data_change", action="alter"), Meaning(kind="data_change", action="delete")
_TRANSFER = Meaning(kind="data_transfer", action="transfer")
_LOGIN = Meaning(kind="authentication")
_WORDS: Mapping[str, Meaning] = {
    **dict.fromkeys(("read", "view", "get", "show", "open", "detail", "details", "decrypt"), _READ),
    **dict.fromkeys(("query", "search", "list", "find", "browse", "print", "sync"), _QUERY),
    **dict.fromkeys(("export", "download", "backup", "dump", "extract"), _EXPORT),
    **dict.fromkeys(("create", "update", "edit", "change", "ship", "pack", "confirm", "import", "cancel"), _ALTER),
    **dict.fromkeys(("delete", "remove", "erase", "anonymize"), _DELETE),
    **dict.fromkeys(("transfer", "share", "send", "forward", "push"), _TRANSFER),
    **dict.fromkeys(("login", "logon", "signin"), _LOGIN),
}

PRESETS: Mapping[str, JsonOptions] = {
    "plain": JsonOptions(
        map={
            "occurred_at": 'occurred_at || time || timestamp || ts || "@timestamp"',
            "operation": "operation || action",
            "outcome": "outcome || status",
            "actor": "actor || user || user_id || userId",
            "merchant": "merchant || merchant_id || seller_id || sellerId",
            "app": "app || app_id || appId",
            "address": "address || ip || remote_addr || userIp",
            "session": "session || session_id",
            "dataset": "dataset || url || path",
            "destination": "destination || recipient",
            "rows": "rows",
            "bytes": "bytes",
            "subjects": "subjects",
            "tool": "tool || user_agent",
            "ticket": "ticket",
        },
        kinds=dict(_WORDS),
        constants=Constants(),
        bulk_rows=BULK_ROWS,
    ),
    "order-access": JsonOptions(
        map={
            "occurred_at": "time",
            "operation": "operation",
            "actor": "userId",
            # `Company: sub-account`, where an app names its users so
            "merchant": "sellerId || (userId && split(userId, ':')[-2])",
            "app": "appId",
            "address": "userIp",
            "session": "ati",
            "dataset": "url",
        },
        lists={
            "rows": Listed(source="tradeIds"),
            # a customer may stand behind several orders
            "subjects": Listed(source="tradeIds", quality="upper_bound"),
        },
        kinds=dict(_WORDS),
        constants=Constants(
            kind="data_access",
            action="read",
            actor_type="merchant",
            dataset="orders",
            pii_categories=["name", "phone", "address"],
        ),
        bulk_rows=ORDERS_A_RECORD,
    ),
}


def laid_over(options: JsonOptions) -> JsonOptions:
    """The preset with what the options give instead: key by key, the constants as a whole."""
    preset = PRESETS[options.preset]
    return msgspec.structs.replace(
        options,
        map={**preset.map, **options.map},
        # a mapped number goes before the preset's list
        lists={**{k: v for k, v in preset.lists.items() if k not in options.map}, **options.lists},
        kinds={key.lower(): one for key, one in {**preset.kinds, **options.kinds}.items()},
        outcomes={key.lower(): one for key, one in options.outcomes.items()},
        constants=options.constants or preset.constants,
        bulk_rows=options.bulk_rows or preset.bulk_rows,
    )
