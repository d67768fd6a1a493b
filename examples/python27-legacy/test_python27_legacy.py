from pathlib import Path

import pytest

HERE = Path(__file__).parent
TEXTS = ["", "a", "one two one", "drei"]


@pytest.mark.parametrize("text", TEXTS)
def test_the_newer_function_answers_as_the_old_one(sesame, text):
    functions = sesame.deploy_template(HERE / "template.yml")
    old, new = functions["archive/words"], functions["archive/words-new"]
    assert new.invoke({"text": text}).json() == old.invoke({"text": text}).json()
    old.assert_logged("counting the words of {} characters".format(len(text)))
