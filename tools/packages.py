"""Packages of a lock: read them, and install them into a virtual environment with uv.

uv comes from PATH, or pip installs it into the environment, with its hashes. Where uv cannot be had, pip installs.
Both take a file only if its hash is in the lock. Like `environment.py`, this uses the standard library alone, and an
old Python can read it.
"""

import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import time
import typing
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
UV = ROOT / "tools" / "lock-tool.txt"
LOG = ROOT / "_build" / "logs" / "environment.log"

# What only torch's CUDA build wants. Nothing in the course uses it; the CUDA build does not start without it.
ACCELERATOR = re.compile(r"(nvidia|cuda)[-_]|triton\b")
PIN = re.compile(r"([\w.-]+)==([^\s;+]+)")
HASH = re.compile(r"--hash=(sha256:[0-9a-f]{64})")


class Problem(Exception):
    """An error that the person at the keyboard can fix, said in one line."""


def say(text: str) -> None:
    """Print one line of progress at once, also into a pipe."""
    print(f"environment: {text}", flush=True)


def seconds(start: float) -> str:
    """The time since `start`, for a reader."""
    return f"{time.monotonic() - start:.0f} s"


def child_environment() -> "dict[str, str]":
    """Our environment for other programs, without what would send packages elsewhere or bring others in."""
    unwanted = {"PYTHONPATH", "PYTHONHOME", "PYTHONDONTWRITEBYTECODE"}
    unwanted |= {"PIP_USER", "PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "PIP_REQUIRE_VIRTUALENV"}
    return {name: value for name, value in os.environ.items() if name not in unwanted}


def run_quietly(command: "list[str]", otherwise: str, **more: str) -> str:
    """Run a program in the project's root and return what it printed.

    Args:
        command: the program and its arguments.
        otherwise: what is said if it fails, before the program's own last line.
        more: further variables of its environment.

    Raises:
        Problem: it failed.
    """
    done = subprocess.run(
        command,
        env={**child_environment(), **more},
        cwd=str(ROOT),
        capture_output=True,
        text=True,
    )
    if done.returncode:
        LOG.parent.mkdir(parents=True, exist_ok=True)
        LOG.write_text(done.stdout + done.stderr, encoding="utf-8")
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        reason = lines[-1] if lines else f"exit status {done.returncode}"
        raise Problem(
            f"{otherwise}: {reason}; {LOG} has everything that was printed. You can run the same command again"
        )
    return done.stdout


# --- Reading a lock -----------------------------------------------------------------------------------------------


def requirements_in(text: str) -> "list[str]":
    """The requirements of a lock, each with the lines of hashes that belong to it."""
    return re.findall(r"^\w.*\n?(?:^[ \t].*\n?)*", text, re.MULTILINE)


def normal(name: str) -> str:
    """A package's name in the form in which two of them can be compared."""
    return re.sub(r"[-_.]+", "-", name).lower()


def setting(pip: str, name: str) -> "list[str]":
    """The values of one of pip's settings.

    Args:
        pip: what `pip config list` prints.
        name: of the setting, as in pip's files.
    """
    found = re.findall(rf"^\S*\.{name}='(.*)'$", pip, re.MULTILINE)
    return list(dict.fromkeys(value for line in found for value in line.replace("\\n", " ").split()))


def wheel_folders(pip: str) -> "list[Path]":
    """The folders of wheels that pip is told to look into, of what `pip config list` prints."""
    return [path for path in map(Path, setting(pip, "find-links")) if path.is_dir()]


def wheels_of(requirements: "list[str]", folders: "list[Path]") -> "typing.Iterator[tuple[str, str, str, Path]]":
    """The wheels of some requirements that lie in some folders.

    Returns:
        Name, version without its local part ("+cpu"), hash and path of each.
    """
    pins = {(normal(pin.group(1)), pin.group(2)) for pin in map(PIN.match, requirements) if pin}
    for folder in folders:
        for path in sorted(folder.glob("*-*-*.whl")):
            name, version = path.name.split("-")[:2]
            name, version = normal(name), version.partition("+")[0]
            if (name, version) in pins:
                digest = hashlib.sha256()
                with path.open("rb") as file:
                    for block in iter(lambda: file.read(2**20), b""):
                        digest.update(block)
                yield name, version, f"sha256:{digest.hexdigest()}", path


# --- Installing ---------------------------------------------------------------------------------------------------


def install(venv: Path, lock: str) -> None:
    """Install a lock into a virtual environment: first what everybody needs, then what a CUDA build of torch needs.

    Args:
        venv: has pip.
        lock: the text of the lock.

    Raises:
        Problem: a package could not be installed.
    """
    start = time.monotonic()
    pip = [str(venv / "bin" / "python"), "-m", "pip"]
    settings = run_quietly([*pip, "config", "list"], "pip's settings cannot be read")
    wanted = use_wheels_on_disk(requirements_in(lock), settings)
    usual = [each for each in wanted if not ACCELERATOR.match(each)]
    command, more = installer(venv, settings)
    say(f"{len(usual)} packages; the first time this fetches about 0.5 GB and takes a minute or more")
    failed = "the packages could not be installed"
    run_quietly([*command, str(_write(venv, usual))], failed, **more)
    if len(usual) < len(wanted) and is_cuda_build(venv):
        say("this torch is a CUDA build, which needs packages of its own: 3 GB and some minutes more")
        run_quietly([*command, str(_write(venv, [r for r in wanted if ACCELERATOR.match(r)]))], failed, **more)
    say(f"packages installed, {seconds(start)}")


def installer(venv: Path, settings: str) -> "tuple[list[str], dict[str, str]]":
    """The command that installs a list of requirements, less the name of the list, and variables for it.

    Args:
        venv: where it installs.
        settings: what `pip config list` prints. uv does not read them, so the indexes are given to it.
    """
    python = str(venv / "bin" / "python")
    # The lock is complete, so nothing is looked up; wheels only, because what builds a package has no hash.
    options = ["--require-hashes", "--no-deps"]
    with_pip = [python, "-m", "pip", "install", "--no-input", "--disable-pip-version-check", "--no-compile"]
    with_pip += [*options, "--only-binary", ":all:", "-r"]
    uv = shutil.which("uv")
    if not uv:
        try:
            run_quietly([*with_pip, str(UV)], "uv could not be installed")
        except Problem:
            return with_pip, {}
        uv = str(venv / "bin" / "uv")
    # A hash decides what is installed, so the order of the indexes does not matter.
    more = {"UV_NO_CONFIG": "1", "UV_INDEX_STRATEGY": "unsafe-best-match"}
    for name, variable in (
        ("index-url", "UV_DEFAULT_INDEX"),
        ("extra-index-url", "UV_INDEX"),
        ("cert", "SSL_CERT_FILE"),
    ):
        values = setting(settings, name)
        if values:
            more[variable] = " ".join(values if name == "extra-index-url" else values[:1])
    if setting(settings, "no-index"):
        more["UV_NO_INDEX"] = "1"
    return [uv, "pip", "install", "--quiet", "--python", python, *options, "--no-build", "-r"], more


def use_wheels_on_disk(requirements: "list[str]", settings: str) -> "list[str]":
    """The same requirements; one whose wheel lies in a folder of pip's, and is in the lock, names that file.

    Else of two allowed files the large one of the index could be fetched, and not the one that is on the disk.
    """
    here = {
        (name, version, found): path
        for name, version, found, path in wheels_of(requirements, wheel_folders(settings))
        if _fits(path.name)
    }
    result = []
    for requirement in requirements:
        pin = PIN.match(requirement)
        files = [
            (path, found)
            for (name, version, found), path in here.items()
            if pin and (name, version) == (normal(pin.group(1)), pin.group(2)) and found in HASH.findall(requirement)
        ]
        for path, found in files[:1]:
            marker = re.search(r";[^\\\n]*", requirement)
            condition = f" {marker.group()}" if marker else ""
            requirement = f"{path.name.split('-')[0]} @ {path.resolve().as_uri()}{condition} --hash={found}\n"
        result.append(requirement)
    return result


def _fits(wheel: str) -> bool:
    """Whether a wheel is for this Python and this machine."""
    python, _, system = wheel[: -len(".whl")].split("-")[-3:]
    right_python = python.startswith("py") or f"cp{sys.version_info[0]}{sys.version_info[1]}" in python.split(".")
    right_system = platform.machine() in system and ("linux" in system) == sys.platform.startswith("linux")
    return right_python and (system == "any" or right_system)


def _write(venv: Path, requirements: "list[str]") -> Path:
    path = venv / "requirements.lock"
    path.write_text("".join(requirements), encoding="utf-8")
    return path


def is_cuda_build(venv: Path) -> bool:
    """Whether the torch that is installed requires packages for a graphics card."""
    if not sys.platform.startswith("linux"):
        return False
    for metadata in venv.glob("lib/python3.*/site-packages/torch-*.dist-info/METADATA"):
        if re.search(r"^Requires-Dist: (nvidia|cuda)[-_]", metadata.read_text(encoding="utf-8"), re.MULTILINE):
            return True
    return False
