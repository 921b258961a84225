"""Which names of exercises a cell defines, found in its source without running or compiling it.

In: the sources of cells, and names such as ``MyLinear``. Out: for each cell the names that it defines at its top
level. The code is not compiled, because compiling a student's code can crash the grader.
"""

from __future__ import annotations

import re
from collections.abc import Collection

# What Python defines at the beginning of a line, which is the top level of a cell.
_DEFINITION = (
    r"^(?:class|(?:async[ \t]+)?def)[ \t]+(NAME)\b"
    r"|^(NAME)[ \t]*(?::[^=\n]*)?=(?!=)"
    r"|^(?:from|import)\b[^\n]*\b(NAME)\b"
)
# Cells with a magic command that does not run the code in the notebook.
_NOT_RUN = re.compile(r"\s*%%(?!time\b|capture\b|prun\b)")


class DefinitionFinder:
    """Finds definitions of given names.

    Args:
        names: which.
    """

    def __init__(self, names: Collection[str]) -> None:
        any_name = "|".join(map(re.escape, names)) or r"(?!)"
        self._pattern = re.compile(_DEFINITION.replace("NAME", any_name), re.MULTILINE)

    def find(self, source: str) -> set[str]:
        """The names that a code cell with this source defines."""
        if _NOT_RUN.match(source):
            return set()
        return {found[found.lastindex or 0] for found in self._pattern.finditer(source)}
