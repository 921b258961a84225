"""A release and a submission, for all tests of submissions."""

import pytest

from grader.authoring.fill_in import fill_in
from tests.grader.submission.notebooks import ANSWERS, NAME, read_release


@pytest.fixture(scope="module")
def release():
    return read_release(NAME)


@pytest.fixture
def notebook(release):
    """A submission in which everything is answered, for a test to change."""
    return fill_in(release, ANSWERS)
