"""What the machine has: cores, memory and devices. Of torch nothing is imported that is not needed."""

from __future__ import annotations

import gc
import os
import resource
import sys
from pathlib import Path

_OUT_OF_MEMORY = ("not enough memory", "out of memory", "can't allocate memory")
"""What errors say that are no class of their own."""


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def free_memory() -> int:
    """Bytes of memory that could be had: what the machine has left, or the group of processes this one is in."""
    left = [_of_machine()]
    limit, used = (_number(Path("/sys/fs/cgroup") / name) for name in ("memory.max", "memory.current"))
    if limit is not None and used is not None:
        left.append(max(0, limit - used))
    return min(left)


def _of_machine() -> int:
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None


def taken_memory() -> int:
    """Bytes of memory this process has taken at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def device_of(device: str | None, place: int) -> str:
    """A torch device; of several GPUs the one of this place."""
    if device not in (None, "cuda"):
        assert device is not None
        return device
    import torch

    if device is None and not torch.cuda.is_available():
        return "cpu"
    return f"cuda:{place % max(1, torch.cuda.device_count())}"


def devices_of(device: str | None, chosen: str) -> int:
    """How many workers a machine's devices have room for, one on each; 0 for those that share its cores.

    Args:
        device: what the job says.
        chosen: the torch device of a worker.
    """
    kind = chosen.partition(":")[0]
    if kind != "cuda" or device not in (None, "cuda"):
        return int(kind != "cpu")
    import torch

    return torch.cuda.device_count()


def is_out_of_memory(error: Exception) -> bool:
    """Whether something failed for lack of memory."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _OUT_OF_MEMORY)


def release_memory() -> None:
    """Gives back what nothing holds any more."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
