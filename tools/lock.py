"""Work out requirements.lock from requirements.txt.

python3 -m tools.lock               (make lock) keep the versions that are in the lock, where they fit
python3 -m tools.lock --upgrade     take newer ones
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from tools.environment import LOCK, OLDEST, end_well, find_python
from tools.packages import (
    HASH,
    PIN,
    ROOT,
    UV,
    normal,
    requirements_in,
    run_quietly,
    say,
    seconds,
    setting,
    wheel_folders,
    wheels_of,
)

DIRECT = ROOT / "requirements.txt"
# jsonschema asks for it and works without it. Every process that reads a notebook would load it, for two seconds.
# It checks addresses with letters beyond ASCII, which no notebook's schema has.
LEFT_OUT = ("rfc3987-syntax", "lark")  # and what only it needs
LOCK_HEADER = """\
# The complete set of packages, written by `make lock` from requirements.txt. Do not edit.
# A file is installed only if its hash is here, from whichever index or folder it comes.
"""


def write_lock(python: str, upgrade: bool = False) -> None:
    """Resolve requirements.txt for every Python and system that the course runs on, and write requirements.lock.

    The resolver lives in a temporary environment: the course itself does not need it.

    Args:
        python: path of an interpreter.
        upgrade: whether to take newer versions of what requirements.txt does not name; else those in the lock stay.

    Raises:
        Problem: the resolver could not be installed, or there is no solution.
    """
    start = time.monotonic()
    before = LOCK.read_text(encoding="utf-8") if LOCK.exists() else ""
    with tempfile.TemporaryDirectory() as folder:
        tool, made = Path(folder) / "bin" / "python", Path(folder) / "made.lock"
        run_quietly([python, "-m", "venv", folder], "the resolver's environment could not be made")
        options = ["--require-hashes", "--only-binary", ":all:", "-r", str(UV)]
        run_quietly([str(tool), "-m", "pip", "install", *options], "the resolver could not be installed")
        made.write_text("" if upgrade else before, encoding="utf-8")
        command = [str(tool), "-m", "uv", "pip", "compile", "--universal", "--quiet", "--no-header", "--no-config"]
        command += ["--python-version", f"{OLDEST[0]}.{OLDEST[1]}", "--fork-strategy", "fewest"]
        command += ["--generate-hashes", "--annotation-style", "line", "--output-file", str(made)]
        command += [word for name in LEFT_OUT for word in ("--no-emit-package", name)]
        pip = run_quietly([str(tool), "-m", "pip", "config", "list"], "pip's settings cannot be read")
        run_quietly([*command, *index_options(pip), DIRECT.name], f"{DIRECT.name} cannot be resolved")
        resolved = made.read_text(encoding="utf-8")
    # A build of its own, of the same version, may lie in a folder of wheels, here or where the last lock was made.
    builds = wheels_of(requirements_in(resolved), wheel_folders(pip))
    known = [*((name, version, found) for name, version, found, _ in builds), *hashes_of_a_lock(before)]
    text = LOCK_HEADER + clean_lock(resolved, known)
    if before == text:
        say(f"{LOCK.name} is up to date, {seconds(start)}")
        return
    LOCK.write_text(text, encoding="utf-8")
    say(f"{LOCK.name} written, {len(requirements_in(text))} packages, {seconds(start)}")


def index_options(pip: str) -> list[str]:
    """pip's main index in the resolver's words, because the resolver does not read pip's settings.

    Further indexes are left out on purpose: whoever can put a package of the same name into one of them would decide
    what is in the lock. Hashes come from the main index.
    """
    return [word for address in setting(pip, "index-url")[:1] for word in ("--default-index", address)]


def hashes_of_a_lock(text: str) -> Iterator[tuple[str, str, str]]:
    """Name, version and hash of each file that a lock allows."""
    for requirement in requirements_in(text):
        pin = PIN.match(requirement)
        for found in HASH.findall(requirement) if pin else ():
            assert pin is not None
            yield normal(pin[1]), pin[2], found


def clean_lock(resolved: str, known: Iterable[tuple[str, str, str]] = ()) -> str:
    """The resolver's output as it goes into requirements.lock.

    Drops lines that are no pins (they may name this machine's indexes), and the local part of a version ("+cpu"),
    which would keep other builds of the same version out.

    Args:
        resolved: what the resolver wrote.
        known: further files that may be installed: name, version and hash. Only those of a pinned version count.
    """
    more: dict[tuple[str, str], set[str]] = {}
    for name, version, found in known:
        more.setdefault((name, version), set()).add(found)
    lines = []
    for requirement in requirements_in(resolved):
        first = requirement.splitlines()[0].rstrip("\\ ")
        pin = PIN.match(first)
        if pin is None:
            continue
        allowed = {*HASH.findall(requirement), *more.get((normal(pin[1]), pin[2]), ())}
        hashes = [f"    --hash={each}" for each in sorted(allowed)]
        why = re.search(r"^ +# via .*", requirement, re.MULTILINE)
        text = " \\\n".join([re.sub(r"\+[\w.]+(?=\s|$)", "", first), *hashes])
        lines.append(f"{text}\n    {why[0].strip()}" if why else text)
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tools.lock", description=__doc__.partition("\n")[0])
    parser.add_argument("--upgrade", action="store_true", help="take newer versions where requirements.txt allows")
    chosen = parser.parse_args()
    sys.exit(end_well(lambda: write_lock(find_python(), chosen.upgrade)))
