"""The environment's script: what it says when something is wrong, when it does nothing, and what the lock holds."""

from __future__ import annotations

import ast
import hashlib
import json
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path
from types import ModuleType

import pytest

from tools import environment, packages

ROOT = Path(environment.__file__).resolve().parent.parent


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty project with a lock; the script works on it instead of on this one."""
    (tmp_path / "requirements.lock").write_text("torch==2.13.0\n")
    monkeypatch.setattr(environment, "ROOT", tmp_path)
    monkeypatch.setattr(environment, "LOCK", tmp_path / "requirements.lock")
    monkeypatch.setattr(environment, "VENV", tmp_path / ".venv")
    monkeypatch.setattr(environment, "READY", tmp_path / ".venv" / ".ready")
    monkeypatch.setattr(packages, "LOG", tmp_path / "_build" / "environment.log")
    return tmp_path


def make_ready(project: Path) -> None:
    (project / ".venv" / "bin").mkdir(parents=True)
    (project / ".venv" / "bin" / "python").symlink_to(sys.executable)
    environment.READY.write_text(json.dumps(environment.wanted_state("3.11")))


@pytest.mark.parametrize("module", [environment, packages])
def test_python_3_6_can_read_the_script(module: ModuleType) -> None:
    ast.parse(Path(str(module.__file__)).read_text(), feature_version=(3, 6))


def test_help_is_enough_to_use_it() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tools.environment", "--help"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "requirements.lock" in done.stdout
    assert "lock" in done.stdout


# ---------------------------------------------------------------------------------------------------------------
# Which Python


def test_an_old_python_is_named_with_its_version(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 8, 10, "final", 0))
    monkeypatch.setattr(sys, "executable", "/usr/bin/python3")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(packages.Problem, match=r"3\.11 or newer is needed, this is 3\.8\.10: /usr/bin/python3"):
        environment.find_python()


def test_a_python_that_is_too_new_is_not_called_old(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 99, 0, "final", 0))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(packages.Problem, match=r"3\.99\.0 .* is too new"):
        environment.find_python()


def test_an_old_python_finds_a_newer_one_on_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    newer = tmp_path / "python3.11"
    newer.write_text("#!/bin/sh\necho 3 11\n")
    newer.chmod(0o755)
    # A broken one is passed over.
    broken = tmp_path / "python3.12"
    broken.write_text("#!/bin/sh\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setattr(sys, "version_info", (3, 8, 10, "final", 0))
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert environment.find_python() == str(newer)


def test_without_ensurepip_the_debian_package_is_named(project: Path, tmp_path: Path) -> None:
    bare = tmp_path / "python3"
    bare.write_text('#!/bin/sh\ncase "$2" in *ensurepip*) exit 1;; esac\necho 3 11\n')
    bare.chmod(0o755)
    with pytest.raises(packages.Problem, match=r"apt-get install python3\.11-venv"):
        environment.make_venv(str(bare))
    assert not environment.VENV.exists()


# ---------------------------------------------------------------------------------------------------------------
# Is there anything to do


def test_a_complete_environment_is_left_alone(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_ready(project)
    assert environment.end_well(environment.prepare_here) == 0
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    "change",
    [
        lambda project: (project / "requirements.lock").write_text("torch==2.13.1\n"),
        lambda project: (project / ".venv" / "bin" / "python").unlink(),
        lambda project: (project / ".venv" / ".ready").write_text("{"),
        lambda project: (project / ".venv" / ".ready").unlink(),
        lambda project: (project / ".venv" / ".ready").write_text(
            json.dumps({**environment.wanted_state("3.11"), "root": "/elsewhere"})
        ),
    ],
    ids=["lock", "interpreter gone", "broken mark", "no mark", "moved"],
)
def test_a_change_is_noticed(project: Path, change: object) -> None:
    make_ready(project)
    assert environment.is_ready()
    assert callable(change)
    change(project)
    assert not environment.is_ready()


def test_a_missing_lock_is_one_line(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "requirements.lock").unlink()
    assert environment.end_well(environment.prepare_here) == 1
    told = capsys.readouterr().err
    assert "requirements.lock is missing" in told
    assert told.count("\n") == 1


# ---------------------------------------------------------------------------------------------------------------
# Failures


def test_a_program_that_fails_is_said_in_one_line_and_all_of_it_is_kept(project: Path) -> None:
    fails = [sys.executable, "-c", "import sys; print('a lot'); sys.exit('first\\nthe reason\\n')"]
    with pytest.raises(packages.Problem, match=r"^it failed: the reason; \S+ has everything") as caught:
        packages.run_quietly(fails, "it failed")
    assert "\n" not in str(caught.value)
    assert packages.LOG.read_text() == "a lot\nfirst\nthe reason\n\n"


def test_too_little_space_is_said_before_anything_is_made(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(environment, "VENV_MB", 10**9)
    assert environment.end_well(environment.prepare_here) == 1
    told = capsys.readouterr().err
    assert re.search(r"not enough disk space: \S+ has \d+ MB free, \d+ MB are needed", told)
    assert not environment.VENV.exists()


@pytest.fixture
def own_pip(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty environment that borrows this one's pip: to install another takes as long as all other tests."""
    venv.create(environment.VENV, symlinks=True)
    (environment.site_packages() / "pip.pth").write_text(sysconfig.get_path("purelib"))
    for name, value in {"CONFIG_FILE": "/dev/null", "RETRIES": "1", "FIND_LINKS": ""}.items():
        monkeypatch.setenv(f"PIP_{name}", value)
    return environment.VENV


@pytest.fixture(params=["uv", "pip"])
def installed_by(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Who installs: the uv of this machine, if there is one, or pip, because uv cannot be had."""
    program = shutil.which("uv")
    if request.param == "uv" and not program:
        pytest.skip("there is no uv on PATH")
    if request.param == "pip":
        monkeypatch.setattr(packages, "UV", tmp_path / "no such file")
        monkeypatch.setattr(shutil, "which", lambda name: None)
    return str(request.param)


def test_without_a_network_the_next_run_is_not_fooled(
    own_pip: Path,
    installed_by: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """For real: an index where nobody answers."""
    environment.LOCK.write_text(f"a-layer==1.0 --hash=sha256:{'a' * 64}\n")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    monkeypatch.setattr(environment, "VENV_MB", 50)
    monkeypatch.setattr(environment, "make_venv", lambda python: None)  # it is there
    assert environment.end_well(lambda: environment.prepare(sys.executable)) == 1
    told = capsys.readouterr().err
    assert told.startswith("environment: the packages could not be installed: ")
    assert told.count("\n") == 1
    assert "127.0.0.1:9" in packages.LOG.read_text()
    assert not environment.is_ready()


@pytest.mark.parametrize("as_it_was_locked", [False, True])
def test_a_file_with_another_hash_is_not_installed(
    own_pip: Path, installed_by: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, as_it_was_locked: bool
) -> None:
    """For real: there is a wheel of the right name and version, and perhaps somebody else has made it."""
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    wheel = wheels / "a_layer-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as made:
        made.writestr("a_layer.py", "")
        made.writestr("a_layer-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: a-layer\nVersion: 1.0\n")
        made.writestr("a_layer-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        made.writestr("a_layer-1.0.dist-info/RECORD", "")
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest() if as_it_was_locked else "a" * 64
    lock = f"a-layer==1.0 \\\n    --hash=sha256:{digest}\n    # via nothing\n"
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    if as_it_was_locked:
        packages.install(own_pip, lock)
    else:
        with pytest.raises(packages.Problem, match="the packages could not be installed"):
            packages.install(own_pip, lock)
    assert (environment.site_packages() / "a_layer.py").exists() == as_it_was_locked


def test_of_two_allowed_files_the_one_on_the_disk_is_taken(tmp_path: Path) -> None:
    wheel = tmp_path / "torch-2.13.0+cpu-py3-none-any.whl"
    wheel.write_bytes(b"the small one")
    (tmp_path / "torch-2.13.0-cp27-cp27m-win32.whl").write_bytes(b"for another machine")
    digest = hashlib.sha256(b"the small one").hexdigest()
    lock = f"torch==2.13.0 ; python_version < '4' \\\n    --hash=sha256:{'a' * 64} \\\n    --hash=sha256:{digest}\n"
    settings = f"global.find-links='{tmp_path}'\n"
    assert packages.use_wheels_on_disk([lock, "other==1 --hash=sha256:b\n"], settings) == [
        f"torch @ {wheel.as_uri()} ; python_version < '4' --hash=sha256:{digest}\n",
        "other==1 --hash=sha256:b\n",
    ]


def test_a_requirement_comes_with_its_hashes() -> None:
    first = "a==1 ; python_version < '3' \\\n    --hash=sha256:1 \\\n    --hash=sha256:2\n    # via b\n"
    first, second = packages.requirements_in(f"# a\n{first}b==2  # via c\n")
    assert first.startswith("a==1 ;")
    assert first.count("--hash") == 2
    assert second == "b==2  # via c\n"


def test_a_cuda_build_is_known_by_what_it_requires(project: Path) -> None:
    metadata = project / ".venv" / "lib" / "python3.11" / "site-packages" / "torch-2.13.0.dist-info" / "METADATA"
    metadata.parent.mkdir(parents=True)
    metadata.write_text("Name: torch\nRequires-Dist: sympy\n")
    assert not packages.is_cuda_build(environment.VENV)
    metadata.write_text('Name: torch\nRequires-Dist: nvidia-cublas==13.1; platform_system == "Linux"\n')
    assert packages.is_cuda_build(environment.VENV) == sys.platform.startswith("linux")


def test_settings_that_send_packages_elsewhere_are_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_TARGET", "/elsewhere")
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    monkeypatch.setenv("PIP_FIND_LINKS", "/wheels")
    kept = packages.child_environment()
    assert not {"PIP_TARGET", "PYTHONPATH"} & set(kept)
    assert kept["PIP_FIND_LINKS"] == "/wheels"
