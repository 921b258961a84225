"""Observe, then judge: how an answer is checked.

    case.py          what an answer is tried on, and how a module is made of it
    expressions.py   which Python the `build` of a case may hold
    observation.py   what was observed: plain data and tensors, and their form as JSON
    labels.py        how the key of an observation reads in a message
    calling.py       calls a module on a case: the parts of which probes are made
    probes.py        what can be observed; nothing here knows right from wrong
    runner.py        runs a probe on an answer that may do anything
    limits.py        stops what takes too long
    settings.py      the usual settings of the process, while an answer is observed (process_state.py reads and sets)
    compare.py       the one rule by which two observations are compared
    hints.py         the sentence that helps with a difference
    digest.py        recognises a known mistake by a digest of its observations
    exercise.py      what an exercise is: checks, cases, the reference's observations, known mistakes
    public.py        reads and writes `public.json`
    judge.py         verdicts
    report.py        verdicts in words and as a table
    pipeline.py      all of these, from an answer to a report
    check.py         `check(...)`, the student's verb

`check` judges public cases against stored observations. The grader uses the same probes and the same judge, with
secret cases as well, against the reference itself.
"""
