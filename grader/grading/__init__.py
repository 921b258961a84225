"""Grades submissions: in a job and its submissions, out an outcome for each.

job.py                the job, the same for all submissions of a run; a submission
fingerprint.py        what a mark depends on: a submission is graded again if its fingerprint has changed
pool.py               many submissions: a grading process for each core
submission_grader.py  one submission after the other: find, read, repair, then the engine
engine.py             runs a repaired notebook in the sandbox, observes its answers, judges them
outputs.py            turns the answers of a worker into outputs of cells
outcome.py            the outcome of a submission, and what nbgrader keeps of it
plain_check.py        the `check` of a notebook that plain nbgrader grades, without the sandbox
"""
