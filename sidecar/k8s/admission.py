"""Admission reviews of pods: what a mutating webhook answers (admission.k8s.io/v1)."""

from __future__ import annotations

import base64
import copy
import json
import time
from collections.abc import Mapping
from dataclasses import field
from typing import Any

import jsonpatch

from sidecar.core.dataclass import dataclass
from sidecar.k8s.inject import NotInjected, inject
from sidecar.k8s.settings import SettingError, Settings, annotation
from sidecar.k8s.workloads import Workload, workloads_of

__all__ = ["BadReview", "Counts", "Policy", "review"]

_API_VERSION, _KIND = "admission.k8s.io/v1", "AdmissionReview"
#: Longest warning that Kubernetes passes on whole.
_WARNING_LIMIT = 256


class BadReview(ValueError):
    """The request is no review that can be answered; the text says why."""


@dataclass(frozen=True, slots=True)
class Policy:
    """Who is injected, and what becomes of a pod whose annotations cannot be followed."""

    settings: Settings
    #: Whether a pod that says nothing is injected; the namespace has been chosen before anybody asks.
    default: bool = True
    #: Whether a wrong annotation keeps the pod from being made, or lets it be without a sidecar.
    deny_errors: bool = False


@dataclass(slots=True)
class Counts:
    """Reviews by outcome, and how long they took."""

    outcomes: dict[str, int] = field(
        default_factory=lambda: {"injected": 0, "skipped": 0, "wrong": 0, "denied": 0, "malformed": 0}
    )
    seconds: float = 0.0

    def prometheus(self) -> str:
        """The text that a Prometheus server scrapes."""
        lines = [
            "# HELP sidecar_webhook_reviews_total Admission reviews by outcome.",
            "# TYPE sidecar_webhook_reviews_total counter",
            *(f'sidecar_webhook_reviews_total{{outcome="{k}"}} {v}' for k, v in self.outcomes.items()),
            "# HELP sidecar_webhook_review_seconds Time that reviews took.",
            "# TYPE sidecar_webhook_review_seconds summary",
            f"sidecar_webhook_review_seconds_sum {self.seconds:.6f}",
            f"sidecar_webhook_review_seconds_count {sum(self.outcomes.values())}",
        ]
        return "\n".join([*lines, ""])


def review(body: bytes, policy: Policy, counts: Counts) -> tuple[bytes, list[str]]:
    """The answer to a review, and what the log should say.

    :raises BadReview: it is none.
    """
    began = time.perf_counter()
    try:
        request = _request(body)
        response, outcome, notes = _respond(request, policy)
    except BadReview:
        counts.outcomes["malformed"] += 1
        raise
    finally:
        counts.seconds += time.perf_counter() - began
    counts.outcomes[outcome] += 1
    answer = {"apiVersion": _API_VERSION, "kind": _KIND, "response": response}
    return json.dumps(answer).encode(), notes


def _request(body: bytes) -> Mapping[str, Any]:
    try:
        message = json.loads(body)
    except ValueError as error:
        raise BadReview(f"no JSON: {error}") from None
    if not isinstance(message, dict) or message.get("kind") != _KIND:
        raise BadReview(f"kind is not {_KIND}")
    if message.get("apiVersion") != _API_VERSION:
        raise BadReview(f"apiVersion is {message.get('apiVersion')!r}, and not {_API_VERSION}")
    request = message.get("request")
    if not isinstance(request, dict) or not isinstance(request.get("uid"), str):
        raise BadReview("request.uid is missing")
    return request


def _respond(request: Mapping[str, Any], policy: Policy) -> tuple[dict[str, Any], str, list[str]]:
    response: dict[str, Any] = {"uid": request["uid"], "allowed": True}
    before = request.get("object")
    workload = _pod(request, before)
    if workload is None:
        kind = (request.get("kind") or {}).get("kind")
        return response, "skipped", [f"{kind}: no pod, nothing to do"]
    named = _named(request, workload)
    after = copy.deepcopy(before)
    pod = _pod(request, after)
    assert pod is not None
    try:
        done = inject(pod, policy.settings, default=policy.default, is_alone=True)
    except NotInjected as reason:
        response["warnings"] = [_warning(f"no sidecar: {reason}")]
        return response, "skipped", [f"{named}: no sidecar: {reason}"]
    except SettingError as error:
        text = f"no sidecar: {annotation(error.name)}: {error}"
        if policy.deny_errors:
            response |= {"allowed": False, "status": {"code": 422, "reason": "Invalid", "message": text}}
            return response, "denied", [f"{named}: denied: {text}"]
        response["warnings"] = [_warning(text)]
        return response, "wrong", [f"{named}: {text}"]
    if done.warnings:
        response["warnings"] = [_warning(text) for text in done.warnings]
    patch = jsonpatch.make_patch(before, after).patch
    if patch:
        response |= {
            "patchType": "JSONPatch",
            "patch": base64.b64encode(json.dumps(patch).encode()).decode(),
        }
    return response, "injected", [f"{named}: injected", *(f"{named}: {text}" for text in done.warnings)]


def _pod(request: Mapping[str, Any], item: object) -> Workload | None:
    """The pod of the request; a pod in a review may lack ``kind`` and ``apiVersion``."""
    kind = request.get("kind") or {}
    if kind.get("kind") != "Pod" or not isinstance(item, dict):
        return None
    for workload in workloads_of({**item, "kind": "Pod", "apiVersion": "v1"}):
        namespace = workload.namespace or str(request.get("namespace") or "")
        return Workload("Pod", workload.name, namespace, item)
    return None


def _named(request: Mapping[str, Any], workload: Workload) -> str:
    return f"{request.get('namespace') or 'default'}/{workload.name or request.get('name') or '?'}"


def _warning(text: str) -> str:
    text = f"trio-sidecar: {text}"
    return text if len(text) <= _WARNING_LIMIT else text[: _WARNING_LIMIT - 1] + "…"
