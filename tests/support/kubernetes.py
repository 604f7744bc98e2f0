"""The strict schemas of `kubernetes-validate`, each read once: its own `validate` reads them each time."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import jsonschema
from kubernetes_validate.utils import all_versions, schema_contents
from referencing import Registry, Resource

__all__ = ["VERSIONS", "validate"]

#: The three newest that the schemas know.
VERSIONS = ("1.35", "1.36", "1.37")


def validate(item: Mapping[str, Any], version: str) -> None:
    """Hold an object against the schema of its kind, where unknown fields are errors.

    Raises: jsonschema.ValidationError.  FileNotFoundError when the kind is nobody's.
    """
    group, _, rest = str(item["apiVersion"]).partition("/")
    api_version = f"{group.partition('.')[0]}-{rest}" if rest else group
    _validator(version, f"{str(item['kind']).lower()}-{api_version}").validate(item)


@cache
def _validator(version: str, kind: str) -> jsonschema.Draft202012Validator:
    schema = schema_contents(f"{_folder(version)}/{kind}.json", version)
    registry: Any = Resource.from_contents(schema) @ _definitions(version)
    return jsonschema.Draft202012Validator(schema, registry=registry)


@cache
def _definitions(version: str) -> Any:
    resource: Any = Resource.from_contents(schema_contents(f"{_folder(version)}/_definitions.json", version))
    registry: Any = Registry()
    return (resource @ registry).crawl()


def _folder(version: str) -> str:
    [full] = {each for each in all_versions() if each == version or each.startswith(f"{version}.")}
    return f"kubernetes-json-schema/v{full}-local-strict"
