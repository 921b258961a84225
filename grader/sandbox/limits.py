"""Which limits of this user are lower than what a sandbox usually has: for the messages of its errors."""

from __future__ import annotations

import resource

from grader.errors import SandboxError
from grader.sandbox.inside import namespaces

_MUCH_ADDRESS_SPACE = 16 * 2**30  # bytes; more than PyTorch and a submission need


def low_limits() -> str | None:
    """A sentence that names the limits which may be too low; None if none is."""
    usual = {
        resource.RLIMIT_AS: _MUCH_ADDRESS_SPACE,
        resource.RLIMIT_FSIZE: namespaces.MAX_FILE_BYTES,
        resource.RLIMIT_CPU: namespaces.MAX_CPU_SECONDS,
        resource.RLIMIT_NOFILE: namespaces.MAX_OPEN_FILES,
        resource.RLIMIT_NPROC: namespaces.MAX_PROCESSES,
    }
    low = [
        namespaces.describe_limit(limit) for limit, value in usual.items() if namespaces.allowed(limit, value) < value
    ]
    return f"too little may be allowed to this user: {', '.join(low)}" if low else None


def cannot_start(error: OSError) -> SandboxError:
    """The error of a sandbox that cannot be started."""
    return _with_low_limits(f"the sandbox cannot be started: {error}")


def was_lost(error: OSError) -> SandboxError:
    """The error of a sandbox that has ended, or does not answer."""
    return _with_low_limits(f"the sandbox was lost: {error}")


def _with_low_limits(text: str) -> SandboxError:
    return SandboxError("; ".join(filter(None, [text, low_limits()])))
