"""What an agent keeps in memory: nothing that it does not use."""

from __future__ import annotations

import gc
import hashlib
import subprocess
import sys
from importlib.metadata import version

import confluent_kafka
from rua_agents import librdkafka
from rua_agents.memory import YOUNG, settle
from rua_common.blake import blake2b
from rua_common.release import release

HEAVY = ("asyncio", "ssl", "fastavro", "_hashlib", "email", "http", "importlib.metadata", "sqlglot", "typer", "ctypes")
PROGRAM = f"""
import sys
import rua_agents.session
from rua_agents.collectors import COLLECTORS
COLLECTORS["nginx-json"]
print([name for name in {HEAVY} if name in sys.modules])
"""


def test_an_agent_of_one_source_loads_nothing_heavy() -> None:
    """Each of these is between 1 and 38 MB."""
    done = subprocess.run([sys.executable, "-c", PROGRAM], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


def test_the_light_ways_are_the_ordinary_ones() -> None:
    """The same hash, the same version, the same classes as whoever imports the whole package gets."""
    assert blake2b(b"x", digest_size=16).digest() == hashlib.blake2b(b"x", digest_size=16).digest()
    assert release() == version("rua")
    assert librdkafka.KafkaError is confluent_kafka.KafkaError
    assert librdkafka.Producer is confluent_kafka.Producer


def test_the_light_binding_works_before_the_package_is_imported_and_after() -> None:
    """Trouble with the broker imports the package later."""
    program = (
        "from rua_agents.librdkafka import KafkaError; from confluent_kafka import KafkaError as same; "
        "from confluent_kafka.admin import AdminClient; assert KafkaError is same"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_cycles_are_looked_for_seldom_and_still_found() -> None:
    """What was loaded before is no longer looked at."""
    before = gc.get_threshold()
    try:
        settle()
        assert gc.get_threshold()[0] == YOUNG
        assert gc.get_freeze_count() > 0
        assert gc.isenabled()
    finally:
        gc.unfreeze()
        gc.set_threshold(*before)
