"""A contract type for import-linter: who may import what, by patterns of module names.

import-linter's own `forbidden` contract takes whole names only; the rules of the layout speak of names that
begin alike (`extensions/http/lua*`). A pattern is a shell pattern over the dotted name: `*` crosses dots.
`.importlinter` uses it; `lint-imports`, run in the root of the repository, finds it.
"""

from fnmatch import fnmatchcase

from grimp import ImportGraph
from importlinter import Contract, ContractCheck, fields, output


class DirectImportsContract(Contract):
    """Direct imports of `imported` come from `allowed_importers` only, or never from `forbidden_importers`.

    With both lists an importer is refused when it matches the second and not the first.
    """

    type_name = "direct_imports"

    imported = fields.ListField(subfield=fields.StringField())
    allowed_importers = fields.ListField(subfield=fields.StringField(), required=False)
    forbidden_importers = fields.ListField(subfield=fields.StringField(), required=False)

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:
        """Looks at every import of a module that matches; chains of imports are not followed."""
        found = []
        for module in sorted(graph.modules):
            if not _matches(module, self.imported):
                continue
            for importer in sorted(graph.find_modules_that_directly_import(module)):
                if self._refuses(importer):
                    details = graph.get_import_details(importer=importer, imported=module)
                    lines = [str(detail["line_number"]) for detail in details]
                    found.append(f"{importer} imports {module} (line {', '.join(lines)})")
        return ContractCheck(kept=not found, metadata={"found": found})

    def render_broken_contract(self, check: ContractCheck) -> None:
        """Prints the imports that were refused."""
        for sentence in check.metadata["found"]:
            output.print_error(sentence)

    def _refuses(self, importer: str) -> bool:
        if _matches(importer, self.allowed_importers or []):
            return False
        return not self.forbidden_importers or _matches(importer, self.forbidden_importers)


def _matches(name: str, patterns: object) -> bool:
    assert isinstance(patterns, list)
    return any(fnmatchcase(name, pattern) for pattern in patterns)
