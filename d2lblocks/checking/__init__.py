"""Observe, then judge: how an answer is checked.

    cases.py         what an answer is tried on, and how a module is made of it
    observations.py  what was seen: plain data and tensors, and their form as JSON
    probes.py        what can be looked at: answer and case give an observation; nothing here knows right from wrong
    observe.py       run a probe on an answer that may do anything
    judge.py         judge: compare an observation with the reference's, by one rule
    exercises.py     an exercise as data: checks, cases, what the reference gave; read from `public.json`
    report.py        verdicts as a table
    check.py         `check(...)`, the student's verb

`check` judges public cases against stored observations. The grader uses the same probes and the same judge, with
secret cases as well, against the reference itself.
"""
