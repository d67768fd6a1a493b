from pathlib import Path

HERE = Path(__file__).parent


def test_an_order_is_added_up(sesame):
    total = sesame.deploy_template(HERE / "s.yaml")["orders/total"]
    assert total.invoke((HERE / "event.json").read_bytes()).json() == {"total": 16.0, "count": 3}
    assert total.invoke({"items": [{"price": 0.1, "count": 3}]}).json()["total"] == 0.3


def test_an_empty_order_is_an_error_with_its_type(sesame):
    total = sesame.deploy_template(HERE / "s.yaml")["orders/total"]
    result = total.invoke({"items": []}, check=False)
    assert result.error == "UnhandledInvocationError"
    assert result.json()["errorType"] == "EmptyOrder"
    assert result.json()["errorMessage"] == "an order needs at least one item"
