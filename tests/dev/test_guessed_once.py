"""A folder without a template that is read amid an edit keeps what it was found to be.

Run by pytest.
"""

from pathlib import Path

import pytest

from sesame.deploy import sources
from sesame.deploy.folder import Wanted
from sesame.deploy.project import TemplateError
from sesame.dev.guessed_once import GuessedOnce


def test_what_was_guessed_of_a_folder_outlasts_a_broken_file(tmp_path: Path) -> None:
    source = tmp_path / "main.py"
    source.write_text("def handler(environ, start_response):\n    return []\n")
    context = sources.Context(account_id="1", region="cn-shanghai")
    read = GuessedOnce(tmp_path, context, Wanted(runtimes=("python3.10",))).read
    assert read().functions[0].fields["handler"] == "main.handler"
    source.write_text("def handler(environ, start_response:\n    print 'half'\n")
    project = read()
    assert (project.functions[0].fields["handler"], project.functions[0].runtime) == ("main.handler", "python3.10")
    assert len(project.triggers) == 1
    source.write_text("def my_handler(event, context):\n    return 1\n")
    assert (read().functions[0].fields["handler"], read().triggers) == ("main.my_handler", ())
    (tmp_path / "template.yml").write_text("ROSTemplateFormatVersion: [\n")
    with pytest.raises(TemplateError):
        read()
