"""`.env` files are read as the templates' own tools read them; the shell takes precedence.

Run by pytest.
"""

from pathlib import Path

import pytest

from sesame.deploy import dotenv, serverless_devs
from sesame.deploy.project import TemplateError

S_YAML = """
edition: 3.0.0
name: app
resources:
  f:
    component: fc3
    props: {region: cn-shanghai, functionName: "${env('NAME_OF_TEST')}", runtime: python3.10, handler: i.h, code: .}
"""


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("A=b", "b"), ("A = b ", "b"), ("export A=b", "b"), ("A=", ""), ("A=b # c", "b"), ("A='b # c'", "b # c"),
        ('A="b\\nc"', "b\nc"), ("A='b\\nc'", "b\\nc"), ('A="b\nc"', "b\nc"), ("A=`b`", "b"), ("A=b\r", "b"),
        ('A="say \\"b\\""', 'say "b"'), ("A=b=c", "b=c"), ("B=1\nA=${B}2", "12"), ("B=1\nA=$B", "1"),
        ("A=${NONE:-d}", "d"), ("A=${NONE}", ""), ("A=\\$B", "$B"), ("B=1\nA='$B'", "$B"), ("A=1\nA=2", "2"),
        ("A=$SHELL_HAS", "it"), ("\ufeffA=b", "b"), ("# A=c\nA=b", "b"), ("A=中", "中"),
    ],
)  # fmt: skip
def test_lines(tmp_path: Path, line: str, value: str) -> None:
    (tmp_path / ".env").write_text(line + "\n", newline="")
    assert dotenv.environment(tmp_path / ".env", {"SHELL_HAS": "it"})["A"] == value


def test_the_shell_takes_precedence_and_a_file_that_is_not_there_adds_nothing(tmp_path: Path) -> None:
    shell = {"A": "shell"}
    assert dotenv.environment(tmp_path / ".env", shell) == shell
    (tmp_path / ".env").write_text("A=file\nB=file\n")
    assert dotenv.environment(tmp_path / ".env", shell) == {"A": "shell", "B": "file"}
    (tmp_path / ".env").write_bytes(b"A=\xff\n")
    with pytest.raises(TemplateError, match="not in UTF-8"):
        dotenv.environment(tmp_path / ".env", shell)


def test_an_s_yaml_has_the_variables_of_the_file_beside_it(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(S_YAML)
    options = serverless_devs.Options(account_id="123", region="cn-shanghai")
    assert "not set" in serverless_devs.read(tmp_path / "s.yaml", options).errors[0].text
    (tmp_path / ".env").write_text("NAME_OF_TEST=hello\n")
    assert serverless_devs.read(tmp_path / "s.yaml", options).functions[0].name == "hello"


def test_an_s_yaml_has_the_variables_of_its_folders_of_code(tmp_path: Path) -> None:
    """In the tool's order: the first file that has a name gives its value."""
    (tmp_path / "s.yaml").write_text(S_YAML.replace("code: .", "code: ./code"))
    options = serverless_devs.Options(account_id="123", region="cn-shanghai")
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / ".env").write_text("NAME_OF_TEST=of-code\n")
    (tmp_path / ".env").write_text("NAME_OF_TEST=beside\n")
    assert serverless_devs.read(tmp_path / "s.yaml", options).functions[0].name == "of-code"
    of_fc = '{service: {name: s}, function: {name: "${env(NAME_OF_TEST)}", runtime: python3, codeUri: ./code}}'
    (tmp_path / "s.yaml").write_text(f"edition: 1.0.0\nservices: {{f: {{component: fc, props: {of_fc}}}}}\n")
    assert serverless_devs.read(tmp_path / "s.yaml", options).functions[0].name == "beside"
    (tmp_path / ".env").unlink()
    assert serverless_devs.read(tmp_path / "s.yaml", options).functions[0].name == "of-code"
