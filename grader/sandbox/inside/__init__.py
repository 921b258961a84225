"""What runs inside the sandbox: students' code, and the probes that observe it.

    zygote.py      the first process: imports everything once, then forks a worker for each submission
    namespaces.py  isolates a worker: namespaces, mounts, limits, capabilities
    seccomp.py     the system calls that a submission may not make
    worker.py      one submission: runs cells and observes answers, one message at a time
    shell.py       an IPython shell that runs a cell and returns its outputs
    protocol.py    messages between the sandbox and the grader: JSON of limited size
    reach.py       finds the paths that lead to a folder; checks from inside that the course is hidden

This folder and `d2lblocks` are all that the sandbox sees of the course. Nothing in them knows a reference, an
expected value, a mark or another student.
"""
