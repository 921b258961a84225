"""Submissions that attack the grader, on purpose or by accident, and what the grader must do with them.

    base.py         what an attack is, and the parts that attacks share
    gain.py         get points for a wrong answer
    spy.py          read what a submission must not read
    stop.py         stop the grading, or use up the machine
    hurt.py         harm whoever reads the outputs: the grader, the terminal, the instructor's browser
    trick.py        confuse the program that collects submissions
    clumsy.py       accidents, without bad intent
    whole_class.py  grades all of them in one class, with innocent students between them

All are for `custom_layers`. Most attacks are in the cell of `my_linear`. `centered_layer`, which comes before it, and
the exercises after it have right answers.
`tests/grader/sandbox/test_attacks.py` submits them all in one class, and `tests/stress/attacks.py` shows what
nbgrader's own command does with them. Each attack proves that it reached its attempt (see `Attack`): an
attack that fails before shows nothing about the grader.

Never run one of these cells outside of a sandbox.
"""

from tests.attacks.base import ATTACKED, MARK, MARK_FILE, NAME, NOTE, POINTS, READ, Attack, shown_in
from tests.attacks.clumsy import CLUMSY
from tests.attacks.gain import GAIN
from tests.attacks.hurt import HURT
from tests.attacks.spy import SPY
from tests.attacks.stop import STOP
from tests.attacks.trick import TRICK

ATTACKS = (*GAIN, *SPY, *STOP, *HURT, *TRICK, *CLUMSY)

__all__ = [
    "ATTACKED",
    "ATTACKS",
    "CLUMSY",
    "GAIN",
    "HURT",
    "MARK",
    "MARK_FILE",
    "NAME",
    "NOTE",
    "POINTS",
    "READ",
    "SPY",
    "STOP",
    "TRICK",
    "Attack",
    "shown_in",
]
