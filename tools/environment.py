"""Make `.venv` what requirements.lock says.

    python3 tools/environment.py     make it, or do nothing if it is right already

It runs with whatever Python the machine has, so it uses the standard library only and is written so that Python 3.6
can read it: an old Python has to get as far as saying that it is too old. Packages come through pip, so that the
settings of pip (index, mirror, wheels on disk, proxy) count. An interrupted run is taken up by the next one.
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

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "requirements.lock"
VENV = ROOT / ".venv"
# Written last. Make compares its date, we compare what it says.
READY = VENV / ".ready"
LOG = ROOT / "_build" / "logs" / "environment.log"

OLDEST, NEWEST = (3, 11), (3, 14)
# Measured: 1.8 GB for the packages, 2.0 GB once all of them are compiled; 0.2 GB of wheels while pip works.
VENV_MB, TEMPORARY_MB = 2200, 400

# Imported once at the end: shows that the parts work together, and leaves their bytecode for every later start.
TRIAL = """
import torch, torch._dynamo, torch._inductor, numpy, matplotlib.pyplot, IPython, ipykernel.kernelapp, nbclient
import jupyterlab.labapp, nbgrader.apps, sphinx.application, jupyter_book, myst_nb, pytest, d2lblocks
print(torch.__version__)
"""

_NETWORK = re.compile(
    r"NewConnectionError|ConnectTimeoutError|ReadTimeoutError|Max retries exceeded|ProxyError|Connection refused"
    r"|Connection reset|Temporary failure in name resolution|Name or service not known|Network is unreachable"
    r"|SSLError|ConnectionResetError|IncompleteRead|ProtocolError"
)


# What only torch's CUDA build wants. Nothing in the course uses it; the CUDA build does not start without it.
ACCELERATOR = re.compile(r"(nvidia|cuda)[-_]|triton\b")
PIN = re.compile(r"([\w.-]+)==([^\s;+]+)")
HASH = re.compile(r"--hash=(sha256:[0-9a-f]{64})")
_NOT_ALLOWED = re.compile(r"DO NOT MATCH THE HASHES.*?\n\s+(\S+)(?: \(?from|:)", re.DOTALL)


class Problem(Exception):
    """Something that the person at the keyboard can mend, said in one line."""


def say(text: str) -> None:
    """Print one line of progress at once, also into a pipe."""
    print(f"environment: {text}", flush=True)


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


def child_environment() -> "dict[str, str]":
    """Our environment for pip and the new Python, less what would send packages elsewhere or bring others in."""
    unwanted = {"PYTHONPATH", "PYTHONHOME", "PYTHONDONTWRITEBYTECODE"}
    unwanted |= {"PIP_USER", "PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "PIP_REQUIRE_VIRTUALENV"}
    return {name: value for name, value in os.environ.items() if name not in unwanted}


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
        done = subprocess.run(
            [python, "-m", "venv", str(VENV)],
            env=child_environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if done.returncode:
            keep_log(done.stdout)
            raise Problem(explain(done.stdout, "the virtual environment could not be made"))
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


def drop_half_installed() -> None:
    """Forget packages whose installation was cut off, so that pip does not take them for complete.

    pip writes a package's files first, then `INSTALLER` beside the package's description.
    """
    for description in site_packages().glob("*.dist-info"):
        if not (description / "INSTALLER").exists():
            shutil.rmtree(str(description))
    for leftover in site_packages().glob("~*"):
        shutil.rmtree(str(leftover), ignore_errors=True)


def requirements_in(text: str) -> "list[str]":
    """The requirements of a lock, each with the lines of hashes that belong to it."""
    return re.findall(r"^\w.*\n?(?:^[ \t].*\n?)*", text, re.MULTILINE)


def normal(name: str) -> str:
    """A package's name in the form in which two of them can be compared."""
    return re.sub(r"[-_.]+", "-", name).lower()


def setting(pip: str, name: str) -> "list[str]":
    """The values of one of pip's settings.

    Args:
        pip: what `pip config list` says.
        name: of the setting, as in pip's files.
    """
    found = re.findall(rf"^\S*\.{name}='(.*)'$", pip, re.MULTILINE)
    return [value for line in found for value in line.replace("\\n", " ").split()]


def wheel_folders(pip: str) -> "list[Path]":
    """The folders of wheels that pip is told to look into, of what `pip config list` says."""
    folders = [Path(value) for value in setting(pip, "find-links")]
    return [path for path in dict.fromkeys(folders) if path.is_dir()]


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


def say_hashes_of_wheels(requirements: "list[str]") -> "list[str]":
    """pip's options for the folders of wheels that it knows, with the hashes of what lies there.

    pip prefers a file whose hash it knows before it has fetched it. So of two allowed files it would fetch the large
    one of the index, and not the one that is on the disk.
    """
    python = str(VENV / "bin" / "python")
    told = subprocess.run(
        [python, "-m", "pip", "config", "list"], env=child_environment(), stdout=subprocess.PIPE, text=True
    ).stdout
    links = [
        f'<a href="{path.resolve().as_uri()}#{found.replace(":", "=")}">{path.name}</a>'
        for _, _, found, path in wheels_of(requirements, wheel_folders(told))
    ]
    if not links:
        return []
    page = VENV / "wheels.html"
    page.write_text("<!DOCTYPE html><html><body>\n" + "\n".join(links) + "\n</body></html>\n", encoding="utf-8")
    return ["--find-links", str(page)]


def install() -> None:
    """Install the lock into `.venv`: first what everybody needs, then what only a CUDA build of torch needs.

    Raises:
        Problem: pip failed; the text says why.
    """
    start = time.monotonic()
    drop_half_installed()
    wanted = requirements_in(LOCK.read_text(encoding="utf-8"))
    usual = [each for each in wanted if not ACCELERATOR.match(each)]
    say(f"{len(usual)} packages with pip; a first time fetches about 0.5 GB and takes a minute or more")
    install_these(usual)
    if len(usual) < len(wanted) and is_cuda_build():
        say("this torch is a CUDA build, which needs packages of its own: 3 GB and some minutes more")
        install_these([each for each in wanted if ACCELERATOR.match(each)])
    say(f"packages installed, {seconds(start)}")


def is_cuda_build() -> bool:
    """Whether the torch that is installed requires packages for a graphics card."""
    if not sys.platform.startswith("linux"):
        return False
    for metadata in site_packages().glob("torch-*.dist-info/METADATA"):
        if re.search(r"^Requires-Dist: (nvidia|cuda)[-_]", metadata.read_text(encoding="utf-8"), re.MULTILINE):
            return True
    return False


def install_these(requirements: "list[str]") -> None:
    """Install requirements with their hashes into `.venv` with pip, saying how it goes.

    Raises:
        Problem: pip failed; the text says why.
    """
    start = time.monotonic()
    total = len(requirements)
    wanted = VENV / "requirements.lock"
    wanted.write_text("".join(requirements), encoding="utf-8")
    # Compiling everything costs half a minute; the trial at the end compiles what is used.
    command = [str(VENV / "bin" / "python"), "-m", "pip", "install", "--no-compile", "--no-input", "--no-color"]
    command += ["--disable-pip-version-check", "--progress-bar", "off"]
    # The lock is complete, so nothing is looked up; wheels only, because what builds a package has no hash.
    command += ["--require-hashes", "--no-deps", "--only-binary", ":all:", "-r", str(wanted)]
    command += say_hashes_of_wheels(requirements)
    told: list[str] = []
    pip = subprocess.Popen(
        command,
        env=child_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert pip.stdout is not None
        seen, last = 0, start
        for line in pip.stdout:
            told.append(line)
            seen += line.startswith(("Collecting ", "Processing ", "Requirement already satisfied: ", "Ignoring "))
            large = re.match(r"\s*Downloading (\S+) \((\d{3,}[.\d]* MB|[.\d]+ GB)\)", line)
            if large:
                say(f"  fetching {large.group(1).split('/')[-1]}, {large.group(2)}")
            elif line.startswith("Installing collected packages"):
                say(f"  all fetched after {seconds(start)}, unpacking")
            elif seen < total and time.monotonic() - last > 10:
                last = time.monotonic()
                say(f"  {seen} of {total} after {seconds(start)}")
        pip.wait()
    finally:
        # After Ctrl-C pip has had the signal too; let it put its temporary files away.
        try:
            pip.wait(timeout=10)
        except subprocess.TimeoutExpired:
            pip.kill()
            pip.wait()
        keep_log("".join(told))
    if pip.returncode:
        raise Problem(explain("".join(told), "pip could not install the packages"))


def explain(output: str, otherwise: str) -> str:
    """Say in one line why pip failed.

    Args:
        output: all that pip printed.
        otherwise: how to begin if the reason is none of the known ones.
    """
    again = "Then run the same command again."
    if "No space left on device" in output or "Errno 28" in output or "Disk quota exceeded" in output:
        places = f"{VENV_MB} MB in {ROOT}, {TEMPORARY_MB} MB in {tempfile.gettempdir()}"
        return f"the disk became full. Make room ({places}). {again}"
    refused = _NOT_ALLOWED.search(output)
    if refused:
        return (
            f"pip found a file for {refused.group(1)} that {LOCK.name} does not allow, and installed nothing. "
            f"Use the public package index, or ask who keeps the one that pip uses; see {LOG}"
        )
    cause = _NETWORK.search(output)
    if cause:
        return (
            f"no network: pip could not reach its package index ({cause.group()}). "
            f"Connect, or point pip at an index that you can reach (pip config set global.index-url ...). {again}"
        )
    denied = re.search(r"Permission denied: '?([^'\n]+)", output)
    if denied:
        return f"no permission to write {denied.group(1)}. Use a folder of your own. {again}"
    absent = re.search(r"No matching distribution found for (\S+)", output)
    if absent:
        return f"the package index that pip uses has no {absent.group(1)} for this Python and machine; see {LOG}"
    errors = [line for line in output.splitlines() if re.match(r"\s*(ERROR|error|\w*Error)\b", line)]
    reason = errors[-1].strip() if errors else "no reason was given"
    return f"{otherwise}: {reason}; all that was printed is in {LOG}"


def link_project() -> None:
    """Make `d2lblocks` and `grader` importable by a path file: nothing is built, so nothing can fail offline."""
    (site_packages() / "layers_and_blocks.pth").write_text(f"{ROOT}\n", encoding="utf-8")


def try_it() -> None:
    """Import what the course stands on.

    Raises:
        Problem: something does not start, or torch is not the pinned one.
    """
    start = time.monotonic()
    done = subprocess.run(
        [str(VENV / "bin" / "python"), "-W", "ignore", "-c", TRIAL],
        env=child_environment(),
        cwd=str(ROOT),
        capture_output=True,
        text=True,
    )
    if done.returncode:
        keep_log(done.stderr)
        reason = (done.stderr.strip().splitlines() or ["no reason was given"])[-1]
        raise Problem(f"the packages are installed but do not start: {reason}; see {LOG}. Try: make distclean")
    torch = done.stdout.split()[-1]
    pinned = re.search(r"^torch==(\S+)", LOCK.read_text(encoding="utf-8"), re.MULTILINE)
    if pinned and torch.split("+")[0] != pinned.group(1):
        raise Problem(f"torch {torch} starts, but {LOCK.name} pins {pinned.group(1)}. Try: make distclean")
    say(f"everything starts, torch is {torch}, {seconds(start)}")


def seconds(start: float) -> str:
    """The time since `start`, for a reader."""
    return f"{time.monotonic() - start:.0f} s"


def keep_log(text: str) -> None:
    """Keep what a failing program printed for whoever wants all of it; never the reason for a failure itself."""
    try:
        LOG.parent.mkdir(parents=True, exist_ok=True)
        LOG.write_text(text, encoding="utf-8")
    except OSError:
        pass


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
    install()
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
        os.execv(python, [python, *sys.argv])
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
        text = f"{error.strerror or error}: {error.filename or ROOT}"
        print(f"environment: {explain(str(error), text)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nenvironment: stopped; run the same command again to go on from here", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
