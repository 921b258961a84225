"""nbgrader's own execution, to compare with."""

import copy
import os

from grader.grading.plain_check import SEED_VARIABLE
from tests.stress.plain import OURS


def autograde_plainly(course, submission, seed=5):
    """Run a submission with nbgrader's own execution, without isolation, and enter its marks into the gradebook.

    Args:
        course: in which it was handed in.
        submission: which.
        seed: from which the secret cases are drawn. The graded notebook names it.

    Raises:
        CourseError: nbgrader says that it failed.
    """
    config = copy.deepcopy(course.config)
    for ours in OURS:
        config.Autograde.pop(ours, None)
    os.environ[SEED_VARIABLE] = str(seed)
    try:
        result = course._api(config).autograde(submission.assignment, submission.student, force=True)
    finally:
        del os.environ[SEED_VARIABLE]
    course._check_result(result, f"grading {submission.assignment} of {submission.student}")
