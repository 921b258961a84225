"""A zygote that starts while a command imports the rest of its program.

A zygote takes seconds to start. A command that will need one calls `prestart` first; the code that uses the zygote
gets it from `take`. A zygote that nobody has taken is ended when this process exits.
"""

from __future__ import annotations

import atexit
import contextlib

from grader.errors import SandboxError
from grader.sandbox.bubblewrap import require_bubblewrap
from grader.sandbox.zygote import Zygote

_prestarted: dict[bool, Zygote] = {}  # by whether it is isolated


def prestart(isolated: bool) -> None:
    """Start a zygote for `take`, unless there is one; returns before it is ready.

    If it cannot be started, this raises nothing: whoever takes it starts it again, and gets the error.
    """
    zygote = _prestarted.setdefault(isolated, Zygote(isolated))
    with contextlib.suppress(SandboxError):
        if isolated:
            require_bubblewrap()
        zygote.start()


def take(isolated: bool) -> Zygote:
    """The zygote that was prestarted, or a new one that is not started. Whoever takes it has to stop it."""
    return _prestarted.pop(isolated, None) or Zygote(isolated)


@atexit.register
def _stop_what_nobody_took() -> None:
    while _prestarted:
        _prestarted.popitem()[1].stop()
