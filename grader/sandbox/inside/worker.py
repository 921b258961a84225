"""One submission: runs its cells and observes its answers, one message at a time.

A worker is the first process of its own namespaces, so all that it starts dies with it. It judges nothing: a message
says what to run or to observe, and its answer says what happened. If the student's code ends it, the grader starts
another worker, without the cell that was fatal.

    {"do": "run", "source": …, "seconds": …}             → {"outputs": […], "raised": "NameError" or null,
                                                            "changes": {"the default dtype": "torch.float64"}}
    {"do": "look", "name": …}                            → {"answer": {…}}, the type of what has this name
    {"do": "observe", "name": …, "probe": …, "options": …, "case": "…", "seconds": …}
                                                         → {"seen": {…}, "printed": …}

An answer that would be too large is replaced by {"too large": its bytes}.
"""

from __future__ import annotations

import functools
import json
import os
import random
import socket
from typing import Any

import numpy
import torch

from d2lblocks.checking.case import Case
from d2lblocks.checking.limits import run_within
from d2lblocks.checking.observation import encode
from d2lblocks.checking.runner import describe, observe_form
from d2lblocks.checking.settings import changes, read, take_machine_as_usual, usual_settings
from grader.sandbox.inside.protocol import TOO_LARGE, MessageTooLarge, ProtocolError, receive, send
from grader.sandbox.inside.shell import Shell

MAX_PRINTED = 10_000
STOP_AGAIN_INTERVAL = 0.5  # seconds, for a cell that catches the exception; enough to send what it has printed
_MISSING = object()


def serve(channel: socket.socket, shell: Shell, seed: int) -> None:
    """Do what the messages say until the other end closes the connection.

    Args:
        channel: to the grader.
        shell: runs the notebook.
        seed: of the random numbers, so that each run of a notebook draws the same ones.
    """
    torch.manual_seed(seed)
    random.seed(seed)
    numpy.random.seed(seed % 2**32)
    take_machine_as_usual()
    me = os.getpid()
    answers = {"run": _run, "look": _look, "observe": _observe}
    while True:
        try:
            message = receive(channel)
        except ProtocolError:
            return
        answer = answers[message["do"]](shell, message)
        if os.getpid() != me:  # a cell forked, and this is the child
            return
        try:
            send(channel, answer)
        except MessageTooLarge as error:  # the worker goes on, with what the cell has defined
            send(channel, {TOO_LARGE: error.size})


def _run(shell: Shell, message: dict[str, Any]) -> dict[str, Any]:
    why = f"stopped after {message['seconds']:g} s"
    settings = read()
    try:
        outputs, raised = run_within(
            functools.partial(shell.run, message["source"]),
            passing=message["seconds"],
            error=lambda _: KeyboardInterrupt(why),
            again=STOP_AGAIN_INTERVAL,
        )
    except KeyboardInterrupt:  # the second one, while the first was handled
        raised = "KeyboardInterrupt"
        outputs = [{"output_type": "error", "ename": raised, "evalue": why, "traceback": [f"{raised}: {why}"]}]
    return {"outputs": outputs, "raised": raised, "changes": changes(settings)}


def _look(shell: Shell, message: dict[str, Any]) -> dict[str, Any]:
    answer = shell.names.get(message["name"], _MISSING)
    return {"answer": None if answer is _MISSING else encode(describe(answer))}


@functools.lru_cache(maxsize=128)
def _case(text: str) -> Case:
    """A case from its text; several checks use it, one after the other."""
    with usual_settings():  # a cell may have changed the default dtype
        return Case.from_json(json.loads(text))


def _observe(shell: Shell, message: dict[str, Any]) -> dict[str, Any]:
    seen, printed = observe_form(
        shell.names.get(message["name"]),
        message["probe"],
        _case(message["case"]),
        message["seconds"],
        message["options"],
    )
    return {"seen": seen, "printed": printed[:MAX_PRINTED]}
