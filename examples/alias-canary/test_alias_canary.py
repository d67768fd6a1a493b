from pathlib import Path

HERE = Path(__file__).parent
CALLS = 60


def test_a_part_of_the_calls_goes_to_the_newer_version(sesame):
    gross = sesame.deploy_template(HERE / "template.yml")["prices/gross"]
    assert gross.publish("live") == "1"
    sesame.deploy_template(HERE / "template.yml", {"Rate": "0.16"})
    newer = gross.publish()
    assert gross.invoke({"net": 100}, qualifier="live").json() == {"gross": 119.0, "version": "1"}

    sesame.fc_client().update_alias("prices", "live", "1", additionalVersionWeight={newer: 0.5})
    answers = [gross.invoke({"net": 100}, qualifier="live").json() for _ in range(CALLS)]
    # That all of 60 calls go one way happens once in 10^17 runs.
    assert {(each["gross"], each["version"]) for each in answers} == {(119.0, "1"), (116.0, newer)}

    sesame.fc_client().update_alias("prices", "live", newer, additionalVersionWeight={})
    assert gross.invoke({"net": 100}, qualifier="live").json() == {"gross": 116.0, "version": newer}
