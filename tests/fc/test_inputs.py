"""What bodies become for `control`: every field that is sent arrives there, under the same name."""

import msgspec
import pytest
from msgspec import UNSET

from sesame.control import inputs as control
from sesame.fc.services import inputs

BODIES = [
    found
    for name, found in vars(inputs).items()
    if name.endswith("Input") and isinstance(found, type) and hasattr(found, "neutral")
]


# What `control` takes and these bodies do not say: a header says it, or another API version.
UNSAID = {
    "FunctionInput": {"expected_checksum", "later"},
    "ServiceInput": {"oss_mount_config"},
    "ProvisionInput": {"always_allocate_gpu"},
    "LayerInput": {"license", "expected_checksum"},
    "CustomDomainInput": {"cors_config", "is_e2b", "auth_config"},
}


@pytest.mark.parametrize("body", BODIES, ids=lambda body: body.__name__)
def test_a_body_says_what_control_takes(body: type[msgspec.Struct]) -> None:
    taken = getattr(control, body.__name__)
    announced = UNSAID.get(body.__name__, set())
    assert set(body.__struct_fields__) | announced == set(taken.__struct_fields__)
    assert {field.encode_name for field in msgspec.structs.fields(taken)} == set(taken.__struct_fields__)


def test_what_was_not_sent_stays_unset_and_the_checksum_comes_from_its_header() -> None:
    sent = inputs.FunctionInput(function_name="f", code=inputs.CodeInput(zip_file="x"))
    assert sent.neutral("7") == control.FunctionInput(
        function_name="f", code=control.CodeInput(zip_file="x"), expected_checksum="7"
    )
    assert inputs.FunctionInput().neutral(None) == control.FunctionInput()
    assert inputs.FunctionInput().neutral(None).code is UNSET
