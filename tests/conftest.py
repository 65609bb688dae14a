"""What several test files share."""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

# A shell that starts the tests in the background has them ignore Ctrl-C, and every process that they start as well.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

Write = Callable[[str, str], Path]

# The files that take longest. Where several processes share the tests (`make test`), each file is one's: these begin.
LONGEST = ("test_slurm.py", "test_workflow.py", "test_extensions.py", "test_same_command.py", "test_gradients.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest files first, and leave the order as it is otherwise."""
    items.sort(key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST))


@pytest.fixture(autouse=True)
def _own_environment() -> Iterator[None]:
    """Give every test the environment as it was; a verb run within this process may set its data root."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def root_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Path], Path]:
    """Return a function of weights' name in capitals, and of a file that then passes for the published one.

    It makes the working folder one in which there are no weights, and returns the data root.
    """
    from sintro.basics.files import hash_file
    from sintro.data import sources

    def make(name: str, file: Path) -> Path:
        monkeypatch.setattr(sources, f"{name}_SHA256", hash_file(file)[:8])
        monkeypatch.setattr(sources, f"{name}_URLS", ("http://127.0.0.1:9/weights.pth",))
        for variable, folder in (("TORCH_HOME", "torch"), ("SINTRO_DATA_MIRROR", "mirror"), ("SINTRO_DATA", "data")):
            monkeypatch.setenv(variable, str(tmp_path / folder))
        monkeypatch.delenv(f"SINTRO_{name}", raising=False)
        monkeypatch.chdir(tmp_path)
        return tmp_path / "data"

    return make


@pytest.fixture
def repository() -> Path:
    """The repository's root."""
    return Path(__file__).parents[1]


@pytest.fixture
def write_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Write a study file into a folder of the test's own, which is where studies are then found."""
    folder = tmp_path / "workflow" / "studies"
    folder.mkdir(parents=True)
    monkeypatch.chdir(tmp_path)

    def write(name: str, text: str) -> Path:
        path = folder / f"{name}.yaml"
        path.write_text(text)
        return path

    return write
