"""Runs a program that dies with its parent: `python tether.py PARENT_PID PROGRAM ARGUMENT…`, used by `process.py`.

A signal to the parent is not enough: a parent that is killed with SIGKILL runs no handler. Linux tells the child itself
(prctl PR_SET_PDEATHSIG, kept over exec). Elsewhere the program is only run. Imports nothing of ours: it must be quick.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main(parent: int, command: list[str]) -> None:
    """Never returns: this process becomes the program."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died before we asked to be told
            sys.exit(1)
    os.execv(command[0], command)  # noqa: S606 - becoming another program is the purpose


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
