from pathlib import Path

HERE = Path(__file__).parent


def test_words_are_counted(sesame):
    count = sesame.deploy_template(HERE / "template.yml")["words/count"]
    result = count.invoke(b"to be or not to be")
    assert result.json() == {"to": 2, "be": 2, "or": 1, "not": 1}
    assert "[verbose] counting 6 words for count" in result.log
