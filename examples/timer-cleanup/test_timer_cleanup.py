from pathlib import Path

HERE = Path(__file__).parent


def test_objects_go_after_a_week(sesame):
    uploads = sesame.bucket("uploads")
    parameters = {"OssEndpoint": sesame.oss_endpoint}
    cleanup = sesame.deploy_template(HERE / "template.yml", parameters)["upkeep/cleanup"]
    uploads.put("old.txt", "x")
    sesame.clock.advance(days=6)
    uploads.put("new.txt", "y")
    assert uploads.keys() == ["new.txt", "old.txt"]

    sesame.clock.advance(days=2)
    assert uploads.keys() == ["new.txt"]
    cleanup.assert_logged("removed old.txt")
    assert len(cleanup.invocations) == 8
