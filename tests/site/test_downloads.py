"""What can be downloaded runs without a clone: the wheel, and the notebooks with the cell that installs it."""

import subprocess
import sys
import zipfile

import nbformat
import pytest

from tests.site.conftest import SITE, notebooks
from tools.downloads import add_install_cell


@pytest.fixture
def wheel(site):
    (found,) = (site / "files").glob("d2lblocks-*.whl")
    return found


def test_the_wheel_checks_an_answer_in_a_folder_that_holds_nothing_else(wheel, tmp_path):
    """It is unpacked before everything else on the path; of the clone nothing can be imported."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "installed")
    (tmp_path / "alone").mkdir()
    program = (
        "import sys; sys.path = [path for path in sys.path if path != sys.argv[2]]; sys.path.insert(0, sys.argv[1])\n"
        "import d2lblocks, torch\n"
        "assert d2lblocks.__file__.startswith(sys.argv[1])\n"
        "class CenteredLayer(torch.nn.Module):\n"
        "    def forward(self, X):\n"
        "        return X - X.mean()\n"
        "print(d2lblocks.check('centered_layer', CenteredLayer).headline, d2lblocks.check().headline)\n"
    )
    arguments = [sys.executable, "-c", program, str(tmp_path / "installed"), str(SITE.parent.parent)]
    done = subprocess.run(arguments, cwd=tmp_path / "alone", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "centered_layer: 4 of 4 points" in done.stdout
    assert "1 of 5 exercises are complete" in done.stdout


def test_the_wheel_needs_torch_numpy_and_matplotlib_and_holds_nothing_else_of_the_course(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (metadata,) = (archive.read(name).decode() for name in names if name.endswith("/METADATA"))
    assert {line.split()[1].split(">")[0] for line in metadata.splitlines() if line.startswith("Requires-Dist")} == {
        "torch",
        "numpy",
        "matplotlib",
    }
    assert {name.split("/")[0].split("-")[0] for name in names} == {"d2lblocks"}
    assert not [name for name in names if name.endswith((".ipynb", ".md"))]


def test_each_notebook_begins_with_a_cell_that_installs_the_package(wheel):
    assert notebooks()
    for name in notebooks():
        first = nbformat.read((SITE / "_sources" / name).with_suffix(".ipynb"), as_version=4).cells[0]
        assert 'find_spec("d2lblocks") is None' in first.source
        assert wheel.name in first.source


@pytest.mark.parametrize(
    ("address", "place"),
    [("https://example.org/course/", "https://example.org/course/files/a.whl"), ("", "./a.whl")],
)
def test_the_cell_installs_from_the_sites_own_address(address, place, tmp_path):
    notebook = tmp_path / "a.ipynb"
    nbformat.write(nbformat.v4.new_notebook(), notebook)
    add_install_cell(notebook, "a.whl", address)
    assert f"%pip install --quiet {place}" in nbformat.read(notebook, as_version=4).cells[0].source
