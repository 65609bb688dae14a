"""Which code a run was made with: real repositories, of every kind in which the package is found."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sintro.runs import folder as runs
from sintro.runs import identity

SOURCES = {
    "__init__.py": "VERSION = 1\n",
    "part/__init__.py": "",
    "part/b.py": "b = 1\n",
    "a.py": "a = 1\n",
    "report/pages/templates/page.html": "<p>\n",
}


def package_in(folder: Path) -> Path:
    """A small package of the suite's shape."""
    package = folder / "sintro"
    for name, content in SOURCES.items():
        path = package / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return package


def git(folder: Path, *arguments: str) -> str:
    """What the real git prints."""
    settings = ("user.name=A", "user.email=a@b.c", "safe.directory=*", "protocol.file.allow=always")
    given = [part for setting in settings for part in ("-c", setting)]
    done = subprocess.run(["git", *given, "-C", folder, *arguments], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def commit(folder: Path) -> str:
    """Commit everything that lies in a folder, which becomes a repository -> the commit."""
    git(folder, "init", "--quiet")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "all of it")
    return git(folder, "rev-parse", "HEAD")


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A committed project; other things than the package are in it too."""
    project = tmp_path / "clone"
    package_in(project)
    (project / "README.md").write_text("read me\n")
    (project / ".gitignore").write_text("__pycache__/\n")
    commit(project)
    return project


def identify(package: Path) -> dict:
    """A look that remembers none before."""
    identity.identify.cache_clear()
    return identity.identify(package)


def test_a_clean_clone_has_its_commit(clone: Path) -> None:
    found = identify(clone / "sintro")
    assert found["commit"] == git(clone, "rev-parse", "HEAD")
    assert found["dirty"] is False
    assert "commit_reason" not in found


def test_a_changed_or_an_untracked_file_makes_it_dirty(clone: Path) -> None:
    compiled = clone / "sintro" / "__pycache__"
    compiled.mkdir()
    (compiled / "a.cpython-312.pyc").write_bytes(b"compiled")
    (clone / "notes.txt").write_text("untracked, but no part of the code\n")
    assert identify(clone / "sintro")["dirty"] is False
    new = clone / "sintro" / "part" / "new.py"
    new.write_text("")
    assert identify(clone / "sintro")["dirty"] is True
    new.unlink()
    (clone / "README.md").write_text("changed\n")
    assert identify(clone / "sintro")["dirty"] is True


def test_an_archive_unpacked_inside_another_repository_has_no_commit(clone: Path) -> None:
    package = package_in(clone / "downloads" / "sintro-main")
    found = identify(package)
    assert (found["commit"], found["dirty"]) == (None, None)
    assert f"not tracked by the repository {clone}" in found["commit_reason"]
    assert found["sources_sha256"] == identify(clone / "sintro")["sources_sha256"]


def test_a_repository_that_tracks_another_package_of_this_name_elsewhere_does_not_count(clone: Path) -> None:
    assert identify(package_in(clone / ".venv" / "lib"))["commit"] is None


def test_outside_of_every_repository_there_is_a_reason(tmp_path: Path) -> None:
    found = identify(package_in(tmp_path))
    assert found["commit"] is None
    assert "not a git repository" in found["commit_reason"]
    assert len(found["sources_sha256"]) == 64


def test_a_repository_without_a_commit_has_a_reason(tmp_path: Path) -> None:
    package = package_in(tmp_path)
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", "--all")
    found = identify(package)
    assert found["commit"] is None
    assert found["commit_reason"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to somebody else")
def test_a_clone_that_belongs_to_somebody_else_has_its_commit(clone: Path) -> None:
    expected = git(clone, "rev-parse", "HEAD")
    for path in (clone, *clone.rglob("*")):
        os.chown(path, 1234, 1234, follow_symlinks=False)
    refused = subprocess.run(["git", "-C", clone, "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    assert "dubious ownership" in refused.stderr, "what git itself says of this clone"
    found = identify(clone / "sintro")
    assert (found["commit"], found["dirty"]) == (expected, False)


def test_the_configuration_of_a_foreign_clone_starts_no_program(clone: Path, tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    git(clone, "config", "core.fsmonitor", f"touch {trap}; false")
    assert identify(clone / "sintro")["dirty"] is False
    assert not trap.exists()


def test_without_git_the_reason_says_so(clone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    found = identify(clone / "sintro")
    assert (found["commit"], found["commit_reason"]) == (None, "git is not installed here")
    assert len(found["sources_sha256"]) == 64


def test_a_worktree_has_its_own_commit(clone: Path, tmp_path: Path) -> None:
    beside = tmp_path / "beside"
    git(clone, "worktree", "add", "--quiet", str(beside))
    (beside / "sintro" / "a.py").write_text("a = 2\n")
    git(beside, "commit", "--quiet", "--all", "--message", "another")
    found = identify(beside / "sintro")
    assert (found["commit"], found["dirty"]) == (git(beside, "rev-parse", "HEAD"), False)
    assert found["commit"] != identify(clone / "sintro")["commit"]


def test_a_submodule_has_the_commit_of_its_own_repository(clone: Path, tmp_path: Path) -> None:
    thesis = tmp_path / "thesis"
    thesis.mkdir()
    (thesis / "thesis.tex").write_text("text\n")
    git(thesis, "init", "--quiet")
    git(thesis, "submodule", "--quiet", "add", str(clone), "suite")
    outer = commit(thesis)
    found = identify(thesis / "suite" / "sintro")
    assert found["commit"] == git(clone, "rev-parse", "HEAD") != outer
    assert found["dirty"] is False


def test_changes_elsewhere_in_a_repository_that_holds_the_project_do_not_make_it_dirty(tmp_path: Path) -> None:
    package = package_in(tmp_path / "suite")
    (tmp_path / "thesis.tex").write_text("text\n")
    expected = commit(tmp_path)
    (tmp_path / "thesis.tex").write_text("other text\n")
    found = identify(package)
    assert (found["commit"], found["dirty"]) == (expected, False)


def test_inside_a_hook_of_another_repository_ours_is_found(
    clone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other"
    package_in(other)
    commit(other)
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(other))
    found = identify(clone / "sintro")
    monkeypatch.delenv("GIT_DIR")
    monkeypatch.delenv("GIT_WORK_TREE")
    assert found["commit"] == git(clone, "rev-parse", "HEAD")


def test_the_hash_of_the_sources_is_what_sha256sum_says(repository: Path) -> None:
    package = repository / "sintro"
    command = (
        "find . -name '*.py' -o -path './report/pages/templates/*' -type f | cut -c3- | LC_ALL=C sort "
        "| xargs sha256sum | sha256sum"
    )
    done = subprocess.run(["sh", "-c", command], cwd=package, capture_output=True, text=True, check=True)
    assert identity.sources_sha256(package) == done.stdout.split()[0]


def test_the_hash_of_the_sources_is_of_names_and_contents_alone(tmp_path: Path) -> None:
    one, other = package_in(tmp_path / "one"), package_in(tmp_path / "other")
    (other / "__pycache__").mkdir()
    (other / "__pycache__" / "a.pyc").write_bytes(b"compiled")
    os.utime(other / "a.py", (1, 1))
    known = identity.sources_sha256(one)
    assert identity.sources_sha256(other) == known
    (other / "a.py").rename(other / "c.py")
    renamed = identity.sources_sha256(other)
    (other / "c.py").rename(other / "a.py")
    (other / "report" / "pages" / "templates" / "page.html").write_text("<p>changed\n")
    assert len({known, renamed, identity.sources_sha256(other)}) == 3


def test_what_is_recorded_of_a_run_says_which_code_made_it() -> None:
    found = runs.environment("cpu", 1)
    assert found["sources_sha256"] == identity.sources_sha256()
    assert ("commit_reason" in found) == (found["commit"] is None)


def test_a_copy_of_this_package_in_another_repository_records_no_commit_of_it(repository: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("something else\n")
    commit(tmp_path)
    copied = tmp_path / "unpacked"
    shutil.copytree(repository / "sintro", copied / "sintro", ignore=shutil.ignore_patterns("__pycache__"))
    code = "import json; from sintro.runs import identity; print(json.dumps(identity.identify()))"
    environment = os.environ | {"PYTHONPATH": str(copied), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=copied, env=environment, capture_output=True, text=True, check=True
    )
    assert '"commit": null' in done.stdout
    assert f"not tracked by the repository {tmp_path}" in done.stdout
    assert identity.sources_sha256(repository / "sintro") in done.stdout
