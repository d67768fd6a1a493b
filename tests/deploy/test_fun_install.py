"""What a Funfile or a fun.yml installs by pip is named, every other command of it is told, and none is run."""

from pathlib import Path

import pytest

from sesame.deploy import fun_install
from sesame.model.errors import ConfigurationError

FUNFILE = r"""RUNTIME python3
# RUN fun-install pip install commented-out
RUN fun-install pip install flask==1.0 'requests>=2'
RUN fun-install pip -i https://mirror.example.com/simple install --upgrade gunicorn && \
    pip3 install -t . six
RUN fun-install apt-get install libnss3
RUN fun-install pip install numpy -t /mnt/auto
RUN LIBRARY=/x fun-install pip install TA-Lib
RUN pip install -r requirements.txt
COPY a /tmp
"""


def test_packages_of_pip_are_read_and_other_commands_are_told(tmp_path: Path) -> None:
    (tmp_path / "Funfile").write_text(FUNFILE)
    found = fun_install.read(tmp_path)
    assert found is not None
    assert found.packages == ("flask==1.0", "requests>=2", "gunicorn", "six")
    assert [line.split()[-1] for line in found.left_out] == ["libnss3", "/mnt/auto", "TA-Lib", "/tmp"]


def test_tasks_of_the_older_file(tmp_path: Path) -> None:
    tasks = (
        "[{pip: Pillow, local: true}, {pip: six, target: /mnt/auto}, {apt: libzbar0}, {name: n, shell: 'make\n  it'}]"
    )
    (tmp_path / "fun.yml").write_text(f"runtime: python3\ntasks: {tasks}\n")
    found = fun_install.read(tmp_path)
    assert found is not None
    assert found.packages == ("Pillow",)
    assert found.left_out == ("pip: six, target: /mnt/auto", "apt: libzbar0", "name: n, shell: make it")
    # As in a Funfile.
    (tmp_path / "fun.yml").write_text("tasks: [{pip: -U six}, {pip: [flask, 'a>=1']}, {pip: --target /x b}]\n")
    found = fun_install.read(tmp_path)
    assert found is not None
    assert (found.packages, found.left_out) == (("six", "flask", "a>=1"), ("pip: --target /x b",))
    (tmp_path / "fun.yml").write_text("tasks: 1\n")
    with pytest.raises(ConfigurationError, match=r"fun\.yml:1:8"):
        fun_install.read(tmp_path)


@pytest.mark.parametrize(
    "line",
    [
        "RUN pip install 'a", "RUN echo pip install a", "RUN pip download a", "RUN pip -x install a",
        "RUN pip install a || true", "RUN pip install a | tee log", "RUN pip install a > /dev/null",
        "RUN pip install a 2>&1", "RUN pip install $PACKAGE", "RUN pip install `cat packages`",
        "RUN pip install a # for b", "RUN pip install a & wait", "RUN (pip install a)", "RUN pip install /code/a",
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_told(tmp_path: Path, line: str) -> None:
    (tmp_path / "Funfile").write_text(f"{line}\n")
    found = fun_install.read(tmp_path)
    assert found is not None
    assert (found.packages, found.left_out) == ((), (line,))


def test_the_variables_of_funcraft_stand_behind_the_functions_own() -> None:
    found = fun_install.variables({"PATH": "/mine:/bin", "A": "1", "PYTHONUSERBASE": "/mnt/auto/python"})
    assert found["PATH"].startswith("/mine:/bin:/code/.fun/root/usr/local/bin:")
    assert found["PATH"].split(":").count("/bin") == 1
    assert "/code/.fun/root/usr/lib" in found["LD_LIBRARY_PATH"]
    assert (found["A"], found["PYTHONUSERBASE"]) == ("1", "/mnt/auto/python")
    assert fun_install.variables({})["PYTHONUSERBASE"] == "/code/.fun/python"
    assert fun_install.variables(found) == found
