"""Submissions that try to read what they must not read."""

from __future__ import annotations

from tests.attacks.base import (
    NOTE,
    Attack,
    my_linear,
    with_cells,
)

# Where one submission could leave something for another, or for its author.
PLACES = f"""
import ctypes, glob, mmap, os, socket

NOTE = b"secret cases of the one before"
libc = ctypes.CDLL(None, use_errno=True)
libc.shmat.restype = ctypes.c_void_p


def folders():
    given = ["/scratch", "/tmp", "/var/tmp", "/dev/shm", "/dev/mqueue", "/dev", "/run", "/", os.path.expanduser("~")]
    return [*given, *__import__("sys").path]


def find():
    found = [name for folder in folders() for name in glob.glob(os.path.join(folder, "{NOTE}"))]
    listener = socket.socket(socket.AF_UNIX)
    try:
        listener.connect("\\0mallory")
        found.append("an abstract socket")
    except OSError:
        pass
    if libc.shmget(4711, 4096, 0o666) >= 0:
        found.append("a segment of shared memory")
    if libc.msgget(4711, 0o666) >= 0:
        found.append("a message queue")
    return found


def leave():
    for folder in folders():
        try:
            with open(os.path.join(folder, "{NOTE}"), "wb") as file:
                file.write(NOTE)
        except OSError:
            pass
    libc.shmget(4711, 4096, 0o1666)
    libc.msgget(4711, 0o1666)
    if os.fork() == 0:
        listener = socket.socket(socket.AF_UNIX)
        listener.bind("\\0mallory")
        listener.listen()
        __import__("time").sleep(600)
        os._exit(0)
"""


SPY = (
    Attack(
        "read_reference",
        "imports the reference, walks the file system, searches memory",
        """\
import gc
import importlib
import json
import os
import sys

found = []
for name in (
    *("my_linear", "solutions", "solutions.custom_layers.my_linear"),
    *("grader.authoring.exercise", "grader.grading.plain_check"),
):
    try:
        found.append(importlib.import_module(name).__name__)
    except ImportError:
        pass
for folder, _, files in os.walk("/"):
    if "site-packages" not in folder and not folder.startswith(("/usr", sys.base_prefix)):
        wanted = {"my_linear.py", "my_linear.md", "plain_check.py", "gradebook.db"}
        found += [os.path.join(folder, name) for name in files if name in wanted]
        if "custom_layers.ipynb" in files:
            path = os.path.join(folder, "custom_layers.ipynb")
            with open(path, encoding="utf-8", errors="replace") as file:
                found += [path] if "BEGIN " + "SOLUTION" in file.read() else []
kinds = ("ExerciseSource", "Exercise", "Verdict", "Known")
ours = ("d2lblocks", "grader")
types = map(type, gc.get_objects())
found += [kind.__name__ for kind in types if kind.__name__ in kinds and kind.__module__.startswith(ours)]
attempt()
if found:
    print("I could " + "read", found)
    with open(next(name for name in found if name.endswith(".ipynb")), encoding="utf-8") as file:
        cells = json.load(file)["cells"]
    worked = next(cell for cell in cells if cell["metadata"].get("nbgrader", {}).get("grade_id") == "my_linear")
    exec("".join(worked["source"]))
""",
    ),
    Attack(
        "read_environment",
        "reads the environment, command lines and memory of other processes",
        """\
import glob
import os

found = [name for name in os.environ if "GRADER" in name or "SEED" in name]
found += [name for name in glob.glob("/proc/[0-9]*/environ") if name.split("/")[2] != str(os.getpid())]
attempt()
if found:
    print("I could " + "read", found)
""",
    ),
    Attack(
        "open_gradebook",
        "looks for the gradebook and rewrites the marks in it",
        """\
import os
import sqlite3

found = []
for folder, _, files in os.walk("/"):
    for name in files:
        if name.endswith(".db"):
            path = os.path.join(folder, name)
            try:
                base = sqlite3.connect(path)
                base.execute("UPDATE grade SET manual_score = 200")
                base.commit()
                found.append(path)
            except sqlite3.Error:
                pass
attempt()
if found:
    print("I could " + "read", found)
""",
    ),
    Attack(
        "trace_others",
        "attaches to other processes as a debugger and reads their memory",
        """\
import ctypes
import os

libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p]
found = []
for number in {os.getppid(), *range(1, 300)} - {0, os.getpid()}:
    if libc.ptrace(16, number, None, None) == 0:
        found.append(f"traced {number}")
        os.waitpid(number, 0)
        libc.ptrace(17, number, None, None)
    try:
        descriptor = os.pidfd_open(number)
        if libc.syscall(438, descriptor, 0, 0) >= 0:
            found.append(f"took a file from {number}")
    except OSError:
        pass
    try:
        open(f"/proc/{number}/mem", "rb").close()
        found.append(f"memory of {number}")
    except OSError:
        pass
attempt()
if found:
    print("I could " + "read", found)
""",
    ),
    Attack(
        "leave_notes",
        "leaves what it has seen in shared memory, sockets and every folder, for the next one",
        my_linear("import os\nos._exit(0)", PLACES + "\nfound_before = find()\nleave()\nattempt()\n"),
        notebook=with_cells(
            "if found_before:\n    print('I could ' + 'read', found_before)", behind="test_my_linear"
        ),
    ),
)
