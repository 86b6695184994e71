"""The detectors, one line each: an explicit tuple can be found by grep, and no order of imports can break it."""

from __future__ import annotations

from rua_streams.detectors.baseline_deviation import BaselineDeviation
from rua_streams.detectors.bulk_export_volume import BulkExportVolume
from rua_streams.detectors.first_seen_destination import FirstSeenDestination
from rua_streams.detectors.off_hours import OffHours
from rua_streams.detectors.privilege_then_export import PrivilegeThenExport
from rua_streams.engine import Detector

DETECTORS: tuple[Detector, ...] = (
    BulkExportVolume(),
    BaselineDeviation(),
    OffHours(),
    PrivilegeThenExport(),
    FirstSeenDestination(),
)
