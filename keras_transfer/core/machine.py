"""What this machine gives to this process."""

import os


def cores() -> int:
    """Cores this process may use; a batch system often gives fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
