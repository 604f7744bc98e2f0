"""Something that has to be there before a listener serves, under the name that Envoy gives it.

It is a job for ``FactoryContext.before_serving`` that ``/init_dump`` can tell of.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from sidecar.core.dataclass import dataclass

__all__ = ["InitTarget", "target_name"]


@dataclass(frozen=True, slots=True)
class InitTarget:
    """See the module."""

    name: str
    wait: Callable[[], Awaitable[object]]

    def __call__(self) -> Awaitable[object]:
        return self.wait()


def target_name(job: Callable[[], object]) -> str:
    """The name of a job; one that has none says what it is."""
    return job.name if isinstance(job, InitTarget) else "target preparation"
