from pathlib import Path

HERE = Path(__file__).parent


def test_connections_are_opened_once_for_an_instance(sesame):
    lookup = sesame.deploy_template(HERE / "s.yaml")["catalogue/lookup"]
    answers = [lookup.invoke({"name": name}).json() for name in ("tea", "cup", "nothing")]
    assert [each["price"] for each in answers] == [4.5, 7.0, None]
    assert [each["connectionsOpened"] for each in answers] == [2, 2, 2]
    assert [each.cold for each in lookup.invocations] == [True, False, False]
