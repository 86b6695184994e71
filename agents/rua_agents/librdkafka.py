"""librdkafka's binding without the package around it, whose serializers load asyncio and TLS: 7 MB that no agent uses.

The C extension is loaded under its own name, so that the package, where somebody imports it later, uses the same one.
"""

from __future__ import annotations

import sys
from importlib.machinery import PathFinder
from importlib.util import find_spec, module_from_spec
from types import ModuleType
from typing import TYPE_CHECKING

__all__ = ["TIMESTAMP_LOG_APPEND_TIME", "KafkaError", "KafkaException", "Message", "Producer"]

PACKAGE, EXTENSION = "confluent_kafka", "confluent_kafka.cimpl"


def _binding() -> ModuleType:
    if EXTENSION not in sys.modules:
        package = find_spec(PACKAGE)
        found = PathFinder.find_spec(EXTENSION, package.submodule_search_locations) if package else None
        if found is None or found.loader is None:
            raise ModuleNotFoundError(f"{EXTENSION} is not installed", name=EXTENSION)
        made = module_from_spec(found)
        sys.modules[EXTENSION] = made
        found.loader.exec_module(made)
    return sys.modules[EXTENSION]


if TYPE_CHECKING:
    from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME, KafkaError, KafkaException, Message, Producer
else:
    _cimpl = _binding()
    TIMESTAMP_LOG_APPEND_TIME = _cimpl.TIMESTAMP_LOG_APPEND_TIME
    KafkaError, KafkaException = _cimpl.KafkaError, _cimpl.KafkaException
    Message, Producer = _cimpl.Message, _cimpl.Producer
