"""The lock: complete, and for every machine."""

from __future__ import annotations

import re
from pathlib import Path

from tests import ROOT
from tools import lock


def test_what_the_resolver_says_is_cleaned() -> None:
    resolved = (
        "--find-links /a/folder\n"
        "filelock==4.2.11  # via torch, cuda-bindings\n"
        "nvidia-cublas==13.1 ; sys_platform == 'linux'  # via torch\n"
        "torch==2.13.0+cpu ; python_version < '3.15'  # via -r requirements.txt\n"
        "triton==3.7.1  # via torch\n"
        "# a remark\n"
    )
    assert lock.clean_lock(resolved) == (
        "filelock==4.2.11  # via torch\ntorch==2.13.0 ; python_version < '3.15'  # via -r requirements.txt\n"
    )


def pins(path: Path) -> dict[str, str]:
    """Normalised package name -> version, for every requirement in the file."""
    found = {}
    for line in path.read_text().splitlines():
        requirement = line.split("#")[0].split(";")[0].strip()
        if requirement:
            name, version = requirement.split("==")
            found[re.sub(r"[-_.]+", "-", name).lower()] = version
    return found


def test_the_lock_holds_every_direct_dependency_at_its_version() -> None:
    direct, lock = pins(ROOT / "requirements.txt"), pins(ROOT / "requirements.lock")
    assert direct
    assert {name: lock.get(name) for name in direct} == direct


def test_the_lock_names_no_place_and_no_accelerator() -> None:
    text = "\n".join(
        line for line in (ROOT / "requirements.lock").read_text().splitlines() if not line.startswith("#")
    )
    assert not re.search(r"://|file:|--|(nvidia|cuda)-|^triton|\+cpu", text, re.MULTILINE)
