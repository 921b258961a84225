"""Whether this machine can isolate students' code; where it cannot, tests of the sandbox are skipped."""

import functools

from grader.errors import SandboxError
from grader.sandbox.zygote import require_isolation


@functools.cache
def isolation_problem() -> str | None:
    """Why this machine cannot isolate a submission; None if it can. It takes seconds to find out, so it is kept."""
    try:
        require_isolation()
    except SandboxError as error:
        return str(error)
    return None
