"""What tests of several folders need."""

import os
import random
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from playwright.sync_api import Browser, sync_playwright

from tests import built
from tests.state import pytest_runtest_makereport, the_process_stays_as_it_was  # noqa: F401

# As in an activated environment. A course's nbgrader_config.py would do it, in the middle of a test.
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])

# The same examples in every run, on a slow machine too. Others: --hypothesis-profile=default --hypothesis-seed=N
settings.register_profile(
    "repeatable", derandomize=True, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("repeatable")


def pytest_addoption(parser: pytest.Parser) -> None:
    """What the command line of the tests has in addition."""
    parser.addoption("--seed", type=int, default=0, help="draw other random cases; the same again for the same seed")
    parser.addoption(
        "--built", action="store_true", help="nbval compares what `make book` has computed; it runs nothing"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Let nbval compare the outputs of the build, if it is asked to."""
    if config.getoption("--built"):
        built.use_the_build()


def pytest_report_header(config: pytest.Config) -> str:
    """Say what repeats this run."""
    return f"random cases are drawn with --seed {config.getoption('--seed')}"


# The files that take longest, longest first; of the others the order does not matter. With several workers a long
# file that begins last would keep one of them busy while the others have nothing to do.
LONGEST = (
    "tests/grader/authoring/test_catalogue.py",
    "tests/grader/sandbox/test_attacks.py",
    "tests/grader/test_course.py",
    "tests/site/test_pages.py",
    "tests/grader/test_resume.py",
    "tests/grader/test_faults.py",
    "tests/grader/test_nbgrader_plugins.py",
    "tests/grader/test_lab.py",
    "tests/tools/test_environment.py",
)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Begin with the files that take longest; `make test` has pytest-xdist keep this order."""
    first = {config.rootpath / name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: first.get(item.path, len(first)))


@pytest.fixture(autouse=True)
def _known_random_numbers(request: pytest.FixtureRequest) -> None:
    """What a test draws without a seed of its own is the same in every run."""
    seed = request.config.getoption("--seed")
    random.seed(seed)
    if "torch" in sys.modules:  # not imported for tests that do without
        sys.modules["torch"].manual_seed(seed)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """A headless Chromium, the system's own: nothing is downloaded for a test."""
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        message = "no browser: install chromium (Debian: apt-get install chromium)"
        if os.environ.get("CI") == "true":
            pytest.fail(message, pytrace=False)
        pytest.skip(message)
    quiet = ("background-networking", "component-update", "sync", "quic", "gpu")
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(
            executable_path=program,
            args=["--no-sandbox", "--no-first-run", *(f"--disable-{feature}" for feature in quiet)],
        )
        yield launched
        launched.close()
