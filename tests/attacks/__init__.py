"""What submissions do to a grader, on purpose or not, and what must become of them and of everybody else's marks.

    base.py    what an attack is, and what they are made of
    gain.py    to be told that a wrong answer is right
    spy.py     to read what is none of its business
    stop.py    to stop the grading, or to take the machine
    hurt.py    to hurt who reads what it gives back
    trick.py   to trick who collects it
    clumsy.py  not meant badly
    whole_class.py  all of them in one class, with innocent students around them

All are for `custom_layers`. `centered_layer` is answered rightly and stands before `my_linear`, in whose cell most
attacks are made; the exercises behind it are answered rightly, too.
`tests/grader/sandbox/test_attacks.py` hands them all in to one class, and `tests/stress/attacks.py` shows what
nbgrader's own command does with them. Each attack proves that it got as far as its attempt (see `Attack`): one that
dies before proves nothing about the grader.

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
