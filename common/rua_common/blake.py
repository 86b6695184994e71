"""BLAKE2b as `hashlib` has it, without `hashlib`, which loads OpenSSL (3.4 MB) for other hashes."""

from __future__ import annotations

try:
    from _blake2 import blake2b
except ImportError:  # another interpreter than CPython keeps it elsewhere
    from hashlib import blake2b

__all__ = ["blake2b"]
