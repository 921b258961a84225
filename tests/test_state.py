"""A test that changes what all share fails itself; the error of what many wait for is said once."""

import os
import subprocess
import sys

import pytest

from tests import ROOT

SUITE = """
import os
import signal
import sys
import types
import pytest

waited = []

@pytest.fixture(scope="module")
def shared():
    waited.append(1)
    raise ValueError("no such luck\\nand more")

@pytest.fixture
def of_its_own(shared):
    return 1

def test_waits_first(shared):
    pass

def test_waits_second(of_its_own):
    pass

@pytest.fixture
def fails_each_time():
    raise KeyError("gone")

@pytest.mark.parametrize("n", range(3))
def test_waits_for_another(fails_each_time, n):
    pass

def test_moves():
    os.chdir("/")
    os.environ["LEFT_BEHIND"] = "1"
    signal.signal(signal.SIGALRM, lambda *_: None)
    signal.setitimer(signal.ITIMER_REAL, 600)

def test_is_where_it_was():
    assert os.getcwd() != "/"
    assert "LEFT_BEHIND" not in os.environ
    assert signal.getsignal(signal.SIGALRM) == signal.SIG_DFL
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)

def test_leaves_half_a_module():
    half = types.ModuleType("half")
    half.__spec__ = types.SimpleNamespace(_initializing=True)
    sys.modules["half"] = half

def test_puts_things_back(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LEFT_BEHIND", "1")
"""


@pytest.fixture(scope="module")
def printed(tmp_path_factory):
    path = tmp_path_factory.mktemp("suite") / "test_suite.py"
    path.write_text(SUITE)
    options = ["-p", "tests.state", "-p", "no:cacheprovider", "-rA", "-c", "/dev/null", f"--rootdir={path.parent}"]
    command = [sys.executable, "-m", "pytest", *options, path.name]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=path.parent, env=environment, capture_output=True, text=True)
    assert done.returncode == 1, f"{done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def test_an_error_of_a_fixture_is_said_once_and_the_others_say_where(printed):
    assert printed.count("raise ValueError(") == 1
    assert printed.count('raise KeyError("gone")') == 1
    why = "not run, because of the error at test_suite.py::test_waits_first: ValueError: no such luck"
    lines = printed.splitlines()  # pytest's summary may repeat them
    assert lines.count(why) == 1
    again = "not run, because of the error at test_suite.py::test_waits_for_another[0]: KeyError"
    assert sum(line.startswith(again) for line in lines) == 2


def test_who_changes_the_process_is_the_one_that_fails(printed):
    assert "ERROR test_suite.py::test_moves" in printed
    assert "working directory: " in printed
    assert "environment variable LEFT_BEHIND: None became '1'" in printed
    assert "handler of signal SIGALRM: " in printed
    assert "timer ITIMER_REAL: " in printed
    assert "ERROR test_suite.py::test_leaves_half_a_module" in printed
    assert "module half is imported by half" in printed
    for fine in ("is_where_it_was", "puts_things_back"):
        assert f"PASSED test_suite.py::test_{fine}" in printed
        assert f"ERROR test_suite.py::test_{fine}" not in printed
