from pathlib import Path

HERE = Path(__file__).parent
IMAGE = "P2\n4 2\n255\n0 10 100 120\n20 30 140 160\n"


def test_an_image_that_is_put_is_scaled_down(sesame, monkeypatch):
    # The template reads both, as `eval "$(sesame env)"` sets them.
    monkeypatch.setenv("OSS_ENDPOINT", sesame.oss_endpoint)
    monkeypatch.setenv("REGION", sesame.region)
    photos = sesame.bucket("photos")
    sesame.deploy_template(HERE / "s.yaml")
    photos.put("in/cat.pgm", IMAGE)
    photos.put("other/cat.pgm", IMAGE)
    sesame.settle()
    photos.assert_object("out/cat.pgm", "P2\n2 1\n255\n15 130\n")
    assert photos.keys("out/") == ["out/cat.pgm"]
