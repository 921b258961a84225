"""What submissions do to a grader, on purpose or not, and what must become of their marks.

All are answers to `custom_layers`. `centered_layer` is answered rightly and stands before the attack, which is made
from the cell of `my_linear`; `tensor_reduction` is answered rightly behind it. So the points of the first must always
be there, those of the attacked exercise never, and those of the last wherever the attack left it a chance.
"""

from __future__ import annotations

HONEST = """\
class MyLinear(nn.Module):
    def __init__(self, in_units, units):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(in_units, units))
        self.bias = nn.Parameter(torch.zeros(units))

    def forward(self, X):
        {body}
"""


def in_forward(body: str) -> str:
    """`MyLinear` with the right parameters, that does this when it is called."""
    return HONEST.format(body=body.strip().replace("\n", "\n        "))


# id: the source of the cell `my_linear`. All get no more than an honest wrong answer: the points for its parameters.
HOSTILE = {
    "always_equal": in_forward("""
class Equal(torch.Tensor):
    def __eq__(self, other):
        return True

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        return True if func in (torch.isclose, torch.allclose) else torch.Tensor._make_subclass(cls, torch.zeros(1))

return torch.Tensor._make_subclass(Equal, torch.zeros(3))
"""),
    "strip_asserts": """\
import ast

class Strip(ast.NodeTransformer):
    def visit_Assert(self, node):
        return ast.Pass()

get_ipython().ast_transformers.append(Strip())
get_ipython().input_transformers_post.append(lambda lines: ["8.0\\n"])
""",
    "patch_execute": """\
shell = get_ipython()
type(shell).run_cell = lambda self, *args, **kwargs: 8.0
type(shell).run_code = lambda self, *args, **kwargs: 8.0
""",
    "displayhook": "display(8.0)\nprint(8.0)\n8.0\n",
    "patch_compare": """\
import d2lblocks.checking.judge as judge
import d2lblocks.checking.observe as observing

torch.allclose = torch.isclose = torch.equal = lambda *args, **kwargs: True
torch.testing.assert_close = lambda *args, **kwargs: None
judge.compare = lambda *args, **kwargs: iter(())
judge.judge = lambda *args, **kwargs: []
check = lambda *args, **kwargs: 8.0
observing.observe = lambda *args, **kwargs: ({}, "")

class MyLinear(nn.Module):
    pass
""",
    "forge_verdict": in_forward("""
import json
import os
import struct

for text in ({"seen": {"dict": {"output": "right", "status": "pass", "points": 8}}, "printed": ""}, {"points": 8}):
    body = json.dumps(text).encode()
    for descriptor in range(3, 64):
        try:
            os.write(descriptor, struct.pack("!I", len(body)) + body)
        except OSError:
            pass
print("my_linear: 8 of 8 points")
return "pass"
"""),
    "read_reference": """\
import gc
import importlib
import os
import sys

found = []
for name in ("reference", "solutions", "grader.authoring", "grader.inside", "solutions.custom_layers.reference"):
    try:
        found.append(importlib.import_module(name))
    except ImportError:
        pass
for folder, _, files in os.walk("/"):
    if "site-packages" not in folder and not folder.startswith(("/usr", sys.base_prefix)):
        wanted = {"reference.py", "my_linear.py", "inside.py", "gradebook.db"}
        found += [os.path.join(folder, name) for name in files if name in wanted]
found += [thing for thing in gc.get_objects() if type(thing).__name__ in ("Task", "Exercise", "Verdict", "Known")]
assert found, "nothing is here to be read"
MyLinear = found[0]
""",
    "read_environment": """\
import glob
import os

found = [name for name in os.environ if "GRADER" in name or "SEED" in name or "NBGRADER" in name]
found += glob.glob("/proc/*/environ") + glob.glob("/proc/*/cmdline") + glob.glob("/proc/*/mem")
assert found, "nothing is here to be read"
""",
    "open_gradebook": """\
import os
import sqlite3

for up in range(8):
    path = "../" * up + "gradebook.db"
    if os.path.exists(path):
        sqlite3.connect(path).execute("UPDATE grade SET manual_score = 200").connection.commit()
for folder, _, files in os.walk("/"):
    for name in files:
        if name.endswith(".db"):
            sqlite3.connect(os.path.join(folder, name)).execute("UPDATE grade SET manual_score = 200")
""",
    "exit_in_forward": in_forward("import os\nos._exit(0)"),
    "system_exit": in_forward("raise SystemExit"),
    "exit": "import os\nos._exit(0)\n",
    "segfault": in_forward("import ctypes\nctypes.string_at(0)"),
    "endless": in_forward("while True:\n    pass"),
    "endless_deaf": """\
import signal

for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM, signal.SIGPROF):
    signal.signal(number, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, set(signal.Signals))
while True:
    pass
""",
    "memory": in_forward("hoard = []\nwhile True:\n    hoard.append(bytearray(2**28))"),
    "fork_bomb": "import os\n\nwhile True:\n    os.fork()\n",
    "daemon": """\
import os
import time

if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        time.sleep(3600)
    os._exit(0)
""",
    "big_output": "print('x' * 50_000_000)\nfor number in range(100_000):\n    print(number)\n",
    "fill_disk": "with open('full', 'wb') as file:\n    while True:\n        file.write(bytes(2**20))\n",
    "network": """\
import socket

for address in (("127.0.0.1", 22), ("10.0.0.1", 80)):
    socket.create_connection(address, timeout=2)
""",
    "tamper_zygote": """\
import os
import signal

for number in (os.getppid(), *range(1, 200)):
    if number not in (0, os.getpid()):
        try:
            os.kill(number, signal.SIGKILL)
        except OSError:
            pass
""",
    "poison_next": """\
import d2lblocks
import os
import sys

for folder in {*sys.path, os.path.dirname(d2lblocks.__file__), os.path.expanduser("~"), "/tmp", "/usr", "/"}:
    for name in ("sitecustomize.py", "usercustomize.py", "torch.py", "poison"):
        try:
            with open(os.path.join(folder, name), "w") as file:
                file.write("raise SystemExit")
        except OSError:
            pass
assert not os.path.exists("/tmp/poison-of-before")
open("/tmp/poison-of-before", "w").close()
""",
    "pickle_bomb": in_forward("""
class Bomb:
    def __reduce__(self):
        return exec, ("raise SystemExit",)

return Bomb()
"""),
    "huge_observation": in_forward("return torch.empty(1).expand(10**10)"),
    "huge_string": in_forward("return 'x' * 10**8"),
    "sparse": in_forward("return torch.zeros(3).to_sparse()"),
    "meta": in_forward("return torch.zeros(5, 3, device='meta')"),
    "complex": in_forward("return (X.detach() @ self.weight).to(torch.complex64)"),
    "deep": in_forward("value = []\nfor _ in range(100_000):\n    value = [value]\nreturn value"),
    "hostile_module": """\
class MyLinear(nn.Module):
    def __init__(self, *sizes):
        super().__init__()

    def __getattribute__(self, name):
        if name in ("weight", "bias", "forward", "named_parameters", "state_dict"):
            raise KeyboardInterrupt
        return super().__getattribute__(name)
""",
    "traceback_bomb": """\
class Loud(Exception):
    def __str__(self):
        while True:
            pass

raise Loud
""",
    "stop_the_clock": """\
import time

time.monotonic = time.process_time = lambda: 0.0
MyLinear = 8.0
""",
    "nested_namespaces": """\
import ctypes

libc = ctypes.CDLL(None)
libc.unshare(0x10000000 | 0x20000)
assert libc.umount2(b"/proc", 2) == 0 or libc.mount(b"proc", b"/proc", b"proc", 0, None) == 0
""",
}

# These break what runs and observes the rest of their own notebook.
TAKES_THE_REST = {"strip_asserts", "patch_execute", "patch_compare", "forge_verdict"}
