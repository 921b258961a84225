"""A submission in a zygote, cell by cell, without an engine."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from grader.sandbox.inside import protocol
from grader.sandbox.zygote import WorkerSpec, Zygote


@contextlib.contextmanager
def submission(zygote: Zygote, assignment: str = "") -> Iterator[Callable[..., str]]:
    """What runs cells, one after the other, and gives back all that they print; a cell that raises fails the test."""
    channel = zygote.start_worker(WorkerSpec(assignment=assignment))

    def run(*sources: str) -> str:
        said = ""
        for source in sources:
            protocol.send(channel, {"do": "run", "source": source, "seconds": 60})
            answer = protocol.receive(channel)
            assert not answer["raised"], "\n".join(answer["outputs"][-1]["traceback"])
            said += "".join(output.get("text", "") for output in answer["outputs"])
        return said

    try:
        yield run
    finally:
        zygote.end_worker(channel)
