from pathlib import Path

HERE = Path(__file__).parent


def test_results_go_where_they_belong(sesame, monkeypatch):
    monkeypatch.setenv("REGION", sesame.region)
    functions = sesame.deploy_template(HERE / "s.yaml")
    make, made, failed = (functions["reports/" + name] for name in ("make", "made", "failed"))

    call = make.invoke_async({"month": 3})
    assert call.result().text == "report of month 3"
    sesame.settle()
    made.assert_logged("made: report of month 3")

    call = make.invoke_async({"month": 13})
    # A failed call is tried once more, some minutes later.
    sesame.clock.advance(hours=1)
    assert len(call.attempts()) == 2
    failed.assert_logged(r'failed: \{"month": ?13\} after 2 attempts')
