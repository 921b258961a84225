"""What a notebook may do in the folder in which it runs: what it could do there in a kernel."""

import pytest

from grader.sandbox.zygote import Zygote
from tests.isolation import isolation_problem
from tests.submission import submission

WHY_NOT = isolation_problem()


@pytest.fixture(scope="module", params=[True, False], ids=["in the sandbox", "without isolation"])
def zygote(request, tmp_path_factory):
    if request.param and WHY_NOT:
        pytest.skip(f"this machine cannot isolate: {WHY_NOT}")
    release = tmp_path_factory.mktemp("release")
    (release / "numbers.txt").write_text("1 2 3", encoding="utf-8")
    with Zygote(request.param) as made:
        made.give_files("mine", release)
        yield made


@pytest.fixture
def run(zygote):
    with submission(zygote, "mine") as cells:
        yield cells


def test_a_module_that_a_cell_wrote_can_be_imported_and_written_again(run):
    said = run(
        "try:\n    import mine\nexcept ImportError:\n    print('not yet')",
        "%%writefile mine.py\nimport torch\n\n\nclass MyLinear(torch.nn.Linear):\n    pass\n",
        "from mine import MyLinear\nprint(MyLinear(2, 3).weight.shape)",
        "%%writefile mine.py\nMyLinear = 'another'\n",
        "import importlib\nimport mine\nprint(importlib.reload(mine).MyLinear)",
    )
    assert said.splitlines() == [
        "not yet",
        "Writing mine.py",
        "torch.Size([3, 2])",
        "Overwriting mine.py",
        "another",
    ]


def test_a_folder_with_modules_can_be_imported_from(run):
    said = run(
        "import os\nos.makedirs('parts/more')\nopen('parts/more/layers.py', 'w').write('size = 3')",
        "from parts.more.layers import size\nprint(size)",
        "os.chdir('parts/more')\nimport layers\nprint(layers.size)",
    )
    assert said == "3\n3\n"


def test_files_can_be_written_read_listed_run_and_pickled(run):
    said = run(
        "import os, pickle, sys, torch\nprint(open('numbers.txt').read())",
        "open('x.txt', 'w').write('text'); print(open('x.txt').read(), sorted(os.listdir()), sys.path[0] == '')",
        "%%writefile script.py\nprint('it runs')\nvalue = 7\n",
        "%run script.py\nprint(value)",
        "!{sys.executable} script.py",
        "!python -c 'import script'",
        "class Net(torch.nn.Linear):\n    pass\n\ntorch.save(Net(2, 2), 'net.pt')",
        "print(type(torch.load('net.pt', weights_only=False)) is Net, pickle.loads(pickle.dumps(Net)) is Net)",
    )
    assert said.replace("\r", "").split("\n")[:4] == [
        "1 2 3",
        "text ['numbers.txt', 'x.txt'] True",
        "Writing script.py",
        "it runs",
    ]
    assert said.count("it runs") == 3
    assert said.endswith("True True\n")


def test_nothing_of_it_is_left_for_the_next(run):
    assert run("import os\nprint(os.listdir())") == "['numbers.txt']\n"
