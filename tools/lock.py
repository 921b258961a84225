"""Work out requirements.lock from requirements.txt.

python3 -m tools.lock     (make lock)
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tools.environment import (
    LOCK,
    OLDEST,
    ROOT,
    Problem,
    child_environment,
    end_well,
    explain,
    find_python,
    keep_log,
    say,
    seconds,
)

DIRECT = ROOT / "requirements.txt"

# What only torch's CUDA build wants. Where pip finds no other build, pip adds these itself.
ACCELERATOR = re.compile(r"(nvidia|cuda)[-_]|triton\b")
LOCK_TOOL = "uv==0.13.8"
LOCK_HEADER = """\
# The complete set of packages, written by `make lock` from requirements.txt. Do not edit.
# Packages that only torch's CUDA build needs are left out: nothing here uses them.
"""


def write_lock(python: str) -> None:
    """Resolve requirements.txt for every Python and system that the course runs on, and write requirements.lock.

    The resolver lives in a temporary environment: the course itself does not need it.

    Raises:
        Problem: the resolver could not be installed, or there is no solution.
    """
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        tool = Path(folder) / "bin" / "python"
        run_quietly([python, "-m", "venv", folder], "the resolver's environment could not be made")
        run_quietly([str(tool), "-m", "pip", "install", LOCK_TOOL], f"{LOCK_TOOL} could not be installed")
        command = [str(tool), "-m", "uv", "pip", "compile", "--universal", "--quiet", "--no-header"]
        command += ["--python-version", f"{OLDEST[0]}.{OLDEST[1]}", "--fork-strategy", "fewest"]
        # pip takes the best version that any index has, and so does the lock.
        command += ["--index-strategy", "unsafe-best-match", "--annotation-style", "line"]
        command += [*index_options(str(tool)), DIRECT.name]
        resolved = run_quietly(command, f"{DIRECT.name} cannot be resolved")
    text = LOCK_HEADER + clean_lock(resolved)
    if LOCK.exists() and LOCK.read_text(encoding="utf-8") == text:
        say(f"{LOCK.name} is up to date, {seconds(start)}")
        return
    LOCK.write_text(text, encoding="utf-8")
    say(f"{LOCK.name} written, {len(text.splitlines()) - 2} packages, {seconds(start)}")


def index_options(python: str) -> list[str]:
    """pip's index settings in the resolver's words, because it does not read pip's.

    Folders of wheels are left out: they hold builds for one machine, and the lock is for all.
    """
    told = run_quietly([python, "-m", "pip", "config", "list"], "pip's settings cannot be read")
    options: list[str] = []
    for name, flag in (("index-url", "--default-index"), ("extra-index-url", "--index")):
        for value in re.findall(rf"^\S*\.{name}='(.*)'$", told, re.MULTILINE):
            for address in value.replace("\\n", " ").split():
                options += [flag, address]
    return options


def clean_lock(resolved: str) -> str:
    """The resolver's output as it goes into requirements.lock.

    Drops accelerator packages, lines that are no pins (they may name this machine's indexes), and the local part of
    a version ("+cpu"), which would keep other builds of the same version out.
    """
    lines = []
    for line in resolved.splitlines():
        if re.match(r"\w", line) and not ACCELERATOR.match(line):
            pin, _, why = line.partition("  # via ")
            pin = re.sub(r"\+[\w.]+(?=\s|$)", "", pin.rstrip())
            parents = [name for name in why.split(", ") if name and not ACCELERATOR.match(name)]
            lines.append(f"{pin}  # via {', '.join(parents)}" if parents else pin)
    return "\n".join(lines) + "\n"


def run_quietly(command: list[str], otherwise: str) -> str:
    """Run a program in the project's root and return what it printed.

    Raises:
        Problem: it failed; begins as `otherwise` does unless the reason is a known one.
    """
    done = subprocess.run(
        command,
        env=child_environment(),
        cwd=str(ROOT),
        capture_output=True,
        text=True,
    )
    if done.returncode:
        keep_log(done.stdout + done.stderr)
        raise Problem(explain(done.stdout + done.stderr, otherwise))
    return done.stdout


if __name__ == "__main__":
    sys.exit(end_well(lambda: write_lock(find_python())))
