"""The lock: complete, with the hash of every file, and for every machine."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from tests import ROOT
from tools import lock, packages

A, B, C = ("sha256:" + letter * 64 for letter in "abc")


def test_what_the_resolver_says_is_cleaned() -> None:
    resolved = (
        "--find-links /a/folder\n"
        "filelock==4.2.11 \\\n"
        f"    --hash={B} \\\n"
        f"    --hash={A}\n"
        "    # via torch, cuda-bindings\n"
        f"torch==2.13.0+cpu ; python_version < '3.15' \\\n    --hash={A}\n    # via -r requirements.txt\n"
        "# a remark\n"
    )
    known = [("torch", "2.13.0", C), ("torch", "2.12.0", B), ("other", "2.13.0", B)]
    assert lock.clean_lock(resolved, known) == (
        f"filelock==4.2.11 \\\n    --hash={A} \\\n    --hash={B}\n    # via torch, cuda-bindings\n"
        f"torch==2.13.0 ; python_version < '3.15' \\\n    --hash={A} \\\n    --hash={C}\n"
        "    # via -r requirements.txt\n"
    )


def test_a_build_in_a_folder_of_wheels_is_known_by_its_version_without_the_local_part(tmp_path: Path) -> None:
    wheel = tmp_path / "My_Torch-2.13.0+cpu-cp311-cp311-manylinux_2_28_x86_64.whl"
    wheel.write_bytes(b"a wheel")
    (tmp_path / "My_Torch-2.12.0-py3-none-any.whl").write_bytes(b"another")
    pip = f":env:.find-links='{tmp_path} https://elsewhere.example/wheels'\nglobal.find-links='{tmp_path}'\n"
    assert packages.wheel_folders(pip) == [tmp_path]
    found = f"sha256:{hashlib.sha256(b'a wheel').hexdigest()}"
    builds = list(packages.wheels_of(["my-torch==2.13.0 \\\n", "other==2.12.0\n"], [tmp_path]))
    assert builds == [("my-torch", "2.13.0", found, wheel)]


def test_hashes_of_the_last_lock_are_kept_for_the_same_version() -> None:
    text = lock.clean_lock(
        f"torch==2.13.0 \\\n    --hash={A}\n", lock.hashes_of_a_lock(f"torch==2.13.0 --hash={C}\n")
    )
    assert [found for _, _, found in lock.hashes_of_a_lock(text)] == [A, C]


def test_only_the_main_index_decides_what_is_locked() -> None:
    pip = "global.index-url='https://one.example/simple'\nglobal.extra-index-url='https://two.example https://three.example'\n"
    assert lock.index_options(pip) == ["--default-index", "https://one.example/simple"]
    assert lock.index_options("global.extra-index-url='https://two.example'\n") == []


def pins(path: Path) -> dict[str, str]:
    """Normalised package name -> version, for every requirement in the file."""
    found = {}
    for requirement in packages.requirements_in(path.read_text()):
        name, version = re.split(r"[ \\\n]", requirement)[0].split("==")
        found[packages.normal(name)] = version
    return found


def test_the_lock_holds_every_direct_dependency_at_its_version() -> None:
    direct, locked = pins(ROOT / "requirements.txt"), pins(ROOT / "requirements.lock")
    assert len(direct) > 10
    assert {name: locked.get(name) for name in direct} == direct


def test_every_package_in_a_lock_has_its_hashes() -> None:
    for path in (ROOT / "requirements.lock", packages.UV):
        requirements = packages.requirements_in(path.read_text())
        assert requirements
        for requirement in requirements:
            assert "--hash=sha256:" in requirement, requirement.splitlines()[0]


def test_the_lock_names_no_place_and_no_build() -> None:
    text = "\n".join(
        line for line in (ROOT / "requirements.lock").read_text().splitlines() if not line.startswith("#")
    )
    assert not re.search(r"://|file:|--(?!hash=)|\+cpu", text, re.MULTILINE)


def test_what_only_a_graphics_card_needs_is_known_by_its_name() -> None:
    names = pins(ROOT / "requirements.lock")
    found = {name for name in names if packages.ACCELERATOR.match(name)}
    assert {"nvidia-cublas", "cuda-bindings", "triton"} <= found
    assert "torch" not in found
    assert len(found) < len(names) / 5


def test_actions_are_pinned_by_commit_and_no_second_index_is_named() -> None:
    for path in (ROOT / ".github" / "workflows").glob("*.yml"):
        text = path.read_text()
        used = re.findall(r"uses: *(\S+)", text)
        assert used
        for action in used:
            assert re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", action), action
    for path in (
        ROOT / "README.md",
        ROOT / "Makefile",
        *ROOT.glob(".github/workflows/*"),
        *ROOT.glob("book/guides/*.md"),
    ):
        assert not re.search(r"extra[-_]index", path.read_text(), re.IGNORECASE), path
