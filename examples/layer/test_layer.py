import importlib.util
from pathlib import Path

HERE = Path(__file__).parent


def publisher():
    spec = importlib.util.spec_from_file_location("publish_layer", HERE / "publish_layer.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_function_uses_a_module_of_its_layer(sesame, monkeypatch):
    arn = publisher().publish("salutations", HERE / "layer", sesame.environ())
    monkeypatch.setenv("LAYER", arn)
    greet = sesame.deploy_template(HERE / "s.yaml")["letters/greet"]
    assert greet.invoke({"name": "Ada"}).text == "Dear Ada,"
    assert greet.invoke({"name": "Ada", "language": "de"}).text == "Liebe Ada,"
