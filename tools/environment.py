"""Make `.venv` what requirements.lock says.

    python3 -m tools.environment     make it, or do nothing if it is right already

It runs with whatever Python the machine has, so it uses the standard library only and is written so that Python 3.6
can read it: an old Python has to get as far as saying that it is too old. `packages.py` installs the packages. An
interrupted run is taken up by the next one.
"""

import argparse
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import typing
from pathlib import Path

from tools.packages import Problem, install, run_quietly, say, seconds

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "requirements.lock"
VENV = ROOT / ".venv"
# Written last. Make compares its date, we compare what it says.
READY = VENV / ".ready"

OLDEST, NEWEST = (3, 11), (3, 14)
# Measured: 1.8 GB for the packages, 2.0 GB once all of them are compiled; 0.2 GB of wheels while pip works.
VENV_MB, TEMPORARY_MB = 2200, 400

# Imported once at the end: shows that the parts work together, and leaves their bytecode for every later start.
TRIAL = """
import torch, torch._dynamo, torch._inductor, numpy, matplotlib.pyplot, IPython, ipykernel.kernelapp, nbclient
import jupyterlab.labapp, nbgrader.apps, sphinx.application, jupyter_book, myst_nb, pytest, d2lblocks
print(torch.__version__)
"""

# ---------------------------------------------------------------------------------------------------------------
# Which Python


def version_of(python: str) -> "tuple[int, int] | None":
    """Major and minor version of the interpreter `python`, or None if it does not run."""
    try:
        ask = "import sys; print(sys.version_info[0], sys.version_info[1])"
        told = subprocess.check_output([python, "-c", ask], stderr=subprocess.DEVNULL).decode()
        major, minor = told.split()
        return int(major), int(minor)
    except (OSError, ValueError, subprocess.CalledProcessError):
        return None


def find_python() -> str:
    """Path of an interpreter that the course runs on: this one if it will do, else the first on PATH.

    Raises:
        Problem: there is none.
    """
    here = sys.version_info[:2]
    if OLDEST <= here <= NEWEST:
        # Not the link in a virtual environment, which may be the one that is about to be replaced.
        return str(getattr(sys, "_base_executable", None) or sys.executable)
    names = [f"python3.{minor}" for minor in range(OLDEST[1], NEWEST[1] + 1)]
    for name in [*names, "python3", "python"]:
        path = shutil.which(name)
        version = version_of(path) if path else None
        if path and version and OLDEST <= version <= NEWEST:
            return path
    full = ".".join(str(part) for part in sys.version_info[:3])
    if here < OLDEST:
        wanted = f"Python {OLDEST[0]}.{OLDEST[1]} or newer is needed, this is {full}: {sys.executable}"
    else:
        wanted = f"Python {full} ({sys.executable}) is too new for the pinned packages, the newest is 3.{NEWEST[1]}"
    raise Problem(f"{wanted}. Install one, or say where it is: make PYTHON=/path/to/python3.{OLDEST[1]}")


# ---------------------------------------------------------------------------------------------------------------
# Is there anything to do


def wanted_state(version: str) -> "dict[str, str]":
    """What `.venv/.ready` says when the environment is right for Python `version` ("3.11").

    Raises:
        Problem: requirements.lock is missing.
    """
    try:
        lock = LOCK.read_bytes()
    except FileNotFoundError:
        raise Problem(f"{LOCK} is missing; get it back with: git checkout {LOCK.name}") from None
    # A virtual environment holds absolute paths, so one that was moved has to be made again.
    return {"lock": hashlib.sha256(lock).hexdigest(), "root": str(ROOT), "python": version}


def read_state() -> "dict[str, str]":
    """What `.venv/.ready` says; empty if it is absent or unreadable."""
    try:
        state = json.loads(READY.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return state if isinstance(state, dict) else {}


def is_ready() -> bool:
    """Whether `.venv` is complete, belongs here, and the Python that it was made with still exists."""
    state = read_state()
    return state == wanted_state(state.get("python", "")) and (VENV / "bin" / "python").exists()


# ---------------------------------------------------------------------------------------------------------------
# Making it


def check_space() -> None:
    """Look for room before anything is fetched.

    Raises:
        Problem: there is too little where the packages or pip's temporary files go.
    """
    present = 0
    if VENV.is_dir():
        for inner, _, names in os.walk(str(VENV)):
            present += sum(os.lstat(os.path.join(inner, name)).st_size for name in names)
    temporary = Path(tempfile.gettempdir())
    room = {ROOT: max(VENV_MB - present // 10**6, 0), temporary: TEMPORARY_MB}
    if os.stat(str(ROOT)).st_dev == os.stat(str(temporary)).st_dev:
        room = {ROOT: sum(room.values())}
    for folder, needed in room.items():
        free = shutil.disk_usage(str(folder)).free // 10**6
        if free < needed:
            hint = "" if folder == ROOT else " Or set TMPDIR to a folder with more room."
            raise Problem(f"not enough disk space: {folder} has {free} MB free, {needed} MB are needed.{hint}")


def make_venv(python: str) -> None:
    """Make an empty virtual environment in place of whatever `.venv` is.

    Raises:
        Problem: this Python has no venv or no ensurepip, as on a Debian without python3-venv.
    """
    version = version_of(python) or OLDEST
    probe = subprocess.run([python, "-c", "import venv, ensurepip; ensurepip.version()"], stderr=subprocess.DEVNULL)
    if probe.returncode:
        name = f"python{version[0]}.{version[1]}-venv"
        raise Problem(f"{python} cannot make virtual environments. On Debian or Ubuntu: apt-get install {name}")
    start = time.monotonic()
    remove_venv()
    try:
        run_quietly([python, "-m", "venv", str(VENV)], "the virtual environment could not be made")
    except BaseException:
        remove_venv()
        raise
    say(f"empty virtual environment from Python {version[0]}.{version[1]} ({python}), {seconds(start)}")


def remove_venv() -> None:
    """Remove `.venv`, whatever it is."""
    if VENV.is_symlink() or VENV.is_file():
        VENV.unlink()
    elif VENV.exists():
        shutil.rmtree(str(VENV))


def usable_venv() -> bool:
    """Whether `.venv` was made here by a suitable Python, has pip, and can be brought up to date in place."""
    python = VENV / "bin" / "python"
    version = version_of(str(python)) if python.exists() else None
    if not version or not OLDEST <= version <= NEWEST or read_state().get("root", str(ROOT)) != str(ROOT):
        return False
    pip = subprocess.run(
        [str(python), "-m", "pip", "--version"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    return pip.returncode == 0


def site_packages() -> Path:
    """The folder in `.venv` that packages are installed into."""
    return next(VENV.glob("lib/python3.*/site-packages"))


def link_project() -> None:
    """Make `d2lblocks` and `grader` importable by a path file: nothing is built, so nothing can fail offline."""
    (site_packages() / "layers_and_blocks.pth").write_text(f"{ROOT}\n", encoding="utf-8")


def try_it() -> None:
    """Import what the course stands on.

    Raises:
        Problem: something does not start, or torch is not the pinned one.
    """
    start = time.monotonic()
    trial = [str(VENV / "bin" / "python"), "-W", "ignore", "-c", TRIAL]
    torch = run_quietly(trial, "the packages are installed but do not start (try: make distclean)").split()[-1]
    pinned = re.search(r"^torch==(\S+)", LOCK.read_text(encoding="utf-8"), re.MULTILINE)
    if pinned and torch.split("+")[0] != pinned.group(1):
        raise Problem(f"torch {torch} starts, but {LOCK.name} pins {pinned.group(1)}. Try: make distclean")
    say(f"everything starts, torch is {torch}, {seconds(start)}")


def prepare(python: str) -> None:
    """Bring `.venv` to the state that requirements.lock names, or leave no sign that it is there.

    Raises:
        Problem: it cannot be done; the text says why.
    """
    if is_ready():
        return
    wanted_state("")  # a missing lock is said before anything is removed
    check_space()
    start = time.monotonic()
    keep = usable_venv()
    if READY.exists():
        READY.unlink()
    if not keep:
        make_venv(python)
    install(VENV, LOCK.read_text(encoding="utf-8"))
    link_project()
    try_it()
    version = version_of(str(VENV / "bin" / "python")) or OLDEST
    complete = READY.with_name(".ready.new")
    complete.write_text(json.dumps(wanted_state(f"{version[0]}.{version[1]}")), encoding="utf-8")
    complete.replace(READY)
    say(f"ready in {seconds(start)}: {VENV}")


# ---------------------------------------------------------------------------------------------------------------


def one_at_a_time() -> None:
    """Wait while another run works on the same `.venv`; the lock goes when the process ends, however it ends."""
    import fcntl

    (ROOT / "_build").mkdir(exist_ok=True)
    # Left open on purpose: closing it would give the lock back.
    handle = os.open(str(ROOT / "_build" / ".environment.lock"), os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        say("another run is at work here; waiting for it")
        fcntl.flock(handle, fcntl.LOCK_EX)


def main() -> int:
    """Make `.venv`; returns the exit status."""
    argparse.ArgumentParser(description="Make .venv what requirements.lock says.").parse_args()
    return end_well(prepare_here)


def prepare_here() -> None:
    """Bring `.venv` up to date with a suitable Python, one run at a time.

    Raises:
        Problem: it cannot be done; the text says why.
    """
    if os.name != "posix":
        raise Problem("Windows is not supported as such; use the Windows Subsystem for Linux")
    if is_ready():
        return
    python = find_python()
    if not OLDEST <= sys.version_info[:2] <= NEWEST:
        # Everything from here on may count on a recent standard library.
        os.execv(python, [python, "-m", "tools.environment"])
    one_at_a_time()
    prepare(python)


def end_well(work: "typing.Callable[[], None]") -> int:
    """Run `work`; a problem becomes one line, and the exit status says how it went."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        work()
    except Problem as problem:
        print(f"environment: {problem}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"environment: {error.strerror or error}: {error.filename or ROOT}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nenvironment: stopped; run the same command again to go on from here", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
