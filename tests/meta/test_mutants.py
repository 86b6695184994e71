"""The planted faults of `benchmarks/mutants.py` still fit the code, so that the long proof can run."""

from __future__ import annotations

import pytest

from benchmarks.mutants import MUTANTS, ROOT, SOURCE


@pytest.mark.parametrize(("file", "text"), [(file, text) for file, text, _ in MUTANTS])
def test_each_planted_fault_has_one_place(file: str, text: str) -> None:
    """A text that is gone, or stands twice, would plant nothing or too much."""
    assert (ROOT / SOURCE / file).read_text(encoding="utf-8").count(text) == 1
