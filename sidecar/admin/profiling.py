"""``/cpuprofiler``, ``/heapprofiler``, ``/allocprofiler`` and ``/heap_dump``: Python's own profilers.

The CPU profile is cProfile's, which ``python -m pstats`` reads; while it is taken everything is slower.  The
heap is tracemalloc's: allocations since it was turned on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import cProfile

__all__ = ["Profilers"]

_USAGE = "?enable=<y|n>\n"
_FRAMES = 5
_MOST_LINES = 100


class Profilers:
    """The profilers of one process."""

    def __init__(self, profile_path: str) -> None:
        """``profile_path``: ``admin.profile_path``, where a CPU profile is written to at its end."""
        self._path = profile_path or "/var/log/envoy/envoy.prof"
        self._cpu: cProfile.Profile | None = None

    def cpu(self, query: dict[str, str]) -> tuple[int, str]:
        """Begin or end a CPU profile: status and text."""
        enable = query.get("enable")
        if enable not in ("y", "n"):
            return 400, _USAGE
        if enable == "y":
            if self._cpu is None:
                try:
                    with open(self._path, "ab"):
                        pass
                except OSError:
                    return 500, "failure to start the profiler"
                import cProfile

                self._cpu = cProfile.Profile()
                self._cpu.enable()
            return 200, "OK\n"
        profile, self._cpu = self._cpu, None
        if profile is not None:
            profile.disable()
            profile.dump_stats(self._path)
        return 200, "OK\n"

    def heap(self, query: dict[str, str]) -> tuple[int, str]:
        """Begin or end to trace allocations."""
        import tracemalloc

        enable = query.get("enable")
        if enable not in ("y", "n"):
            return 400, _USAGE
        if enable == "y":
            tracemalloc.start(_FRAMES)
        else:
            tracemalloc.stop()
        return 200, "OK\n"

    def heap_dump(self) -> tuple[int, str]:
        """What was allocated since, the most first, and where."""
        import tracemalloc

        if not tracemalloc.is_tracing():
            return 200, "The heap is not traced. POST /heapprofiler?enable=y first.\n"
        current, peak = tracemalloc.get_traced_memory()
        found = tracemalloc.take_snapshot().statistics("lineno")
        lines = [f"traced: {current} bytes, at most {peak}", f"{'bytes':>12} {'blocks':>9} where"]
        for each in found[:_MOST_LINES]:
            frame = each.traceback[0]
            lines.append(f"{each.size:>12} {each.count:>9} {frame.filename}:{frame.lineno}")
        return 200, "\n".join(lines) + "\n"
