"""Words of the API of 2016-08-15 for every kind of error that packages below raise."""

import errno
import re
from pathlib import Path

import pytest

from sesame.fc.errors import ErrorAnswers, ErrorForm
from sesame.fc.headers import DateHeader
from sesame.fc.v2023.errors import worded as worded_in_2023
from sesame.fc.wording import spelled, worded
from sesame.model import errors, records

FIELD = "log_config.project"
# Of what only that version can ask.
ONLY_IN_2023 = {"CONCURRENCY_CONFIG", "PROVISION_CONFIG", "SCALING_CONFIG", "SESSION", "SESSION_SNAPSHOT"}
SOURCES = Path(__file__).parents[2] / "src" / "sesame"


@pytest.mark.parametrize(
    ("error", "status", "code", "text"),
    [
        (errors.Missing(FIELD), 400, "InvalidArgument", "LogConfig.Project is required but not provided"),
        (
            errors.Missing("service_name", needed_by="qualifier"),
            400,
            "InvalidArgument",
            "Service name is required if qualifier is provided",
        ),
        (
            errors.Missing("code"),
            400,
            "InvalidArgument",
            "Either ossBucketName/ossObjectName or zipFile must be set",
        ),
        (
            errors.Invalid("cpu", "0.05 to 16", 17),
            400,
            "InvalidArgument",
            "CPU is set to an invalid value (allowed: 0.05 to 16, actual: '17')",
        ),
        (errors.Unusable("is broken", field="code.zip_file"), 400, "InvalidArgument", "code.zipFile is broken"),
        (errors.Unusable("the package is broken"), 400, "InvalidArgument", "the package is broken"),
        (
            errors.Malformed("scheduled_actions.start_time", errors.UTC_TIME, "now"),
            400,
            "InvalidArgument",
            "The StartTime is not in UTC time format (example: '2020-10-10T10:10:10Z', actual: 'now')",
        ),
        (
            errors.Malformed("scheduled_actions.schedule_expression", errors.SCHEDULE, "x"),
            400,
            "InvalidArgument",
            "The ScheduleExpression should be atTime or cron expression (example: ['at(2020-10-10T10:10:10Z)', "
            "'cron(0 */30 * * * *)'], actual: 'x')",
        ),
        (
            errors.Duplicate("scheduled_actions", "a"),
            400,
            "InvalidArgument",
            "Duplicate action name 'a' in ScheduledActions is not allowed",
        ),
        (
            errors.TooMany("scheduled_actions", 100, 110),
            400,
            "InvalidArgument",
            "ScheduledActions contains too many values (max: 100, actual: 110)",
        ),
        (errors.NotEmpty(records.SERVICE, "s", "aliases"), 409, "ServiceNotEmpty", "service 's' has aliases"),
        (
            errors.Unchanged(records.SERVICE, "s", "1"),
            400,
            "VersionPublishError",
            "service 's' has not changed since version '1': nothing to publish",
        ),
        (
            errors.PreconditionFailed(),
            412,
            "PreconditionFailed",
            "the resource being modified has been changed",
        ),
        (errors.Forbidden("no"), 403, "AccessDenied", "no"),
        (errors.Exhausted("full"), 429, "ResourceExhausted", "full"),
        (errors.NotStarted("No Python."), 412, "FunctionNotStarted", "The function cannot be started. No Python."),
    ],
)
def test_kinds_have_the_words_of_the_api(error: errors.CallerError, status: int, code: str, text: str) -> None:
    answer = worded(error)
    assert (answer.status, answer.code, str(answer)) == (status, code, text)
    assert worded(answer) is answer


def names_raised(kind: str) -> set[str]:
    """The kinds of resources that packages below raise this error for, by the names of their constants.

    What the store of logstores raises reaches callers of the Log Service alone.
    """
    packages = ("control", "engine", "identity", "store")
    paths = (path for package in packages for path in (SOURCES / package).rglob("*.py"))
    text = "".join(path.read_text() for path in paths if not path.is_relative_to(SOURCES / "store" / "logs"))
    return set(re.findall(kind + r"\((?:records\.)?([A-Z_]+),", text))


@pytest.mark.parametrize(("error", "status"), [(errors.NotFound, 404), (errors.AlreadyExists, 409)])
def test_every_kind_of_resource_has_words(
    error: type[errors.NotFound] | type[errors.AlreadyExists], status: int
) -> None:
    names = names_raised(error.__name__)
    assert "SERVICE" in names
    for name in names:
        kind = getattr(records, name, None) or getattr(errors, name)
        raised = error(kind, "{0}", ("p{1}", "q", "r"))
        for words in (worded_in_2023,) if name in ONLY_IN_2023 else (worded, worded_in_2023):
            answer = words(raised)
            assert answer.status == status
            assert "{0}" in str(answer) or name == "CONCURRENCY_CONFIG"


def test_a_function_that_stands_alone_is_named_alone() -> None:
    for error, text in (
        (errors.NotFound(records.SERVICE, "$f"), "function 'f' does not exist."),
        (errors.NotFound(records.FUNCTION, "f", ("s",)), "function 's$f' does not exist."),
        (errors.NotFound(records.VERSION, "1", ("$f",)), "version '1' of function 'f' does not exist"),
        (errors.NotFound(records.TRIGGER, "t", ("s", "f")), "trigger 't' does not exist in function 's$f'"),
        (
            errors.NotFound(errors.ASYNC_INVOCATION, "i", ("$f", "LATEST", "f")),
            "async task 'i' of function 'f' does not exist",
        ),
        (
            errors.NotFound(errors.HTTP_TRIGGER, "1", ("$f", "f")),
            "function 'f' has no HTTP trigger for qualifier '1': create one",
        ),
        (errors.NotEmpty(records.SERVICE, "$f", "aliases"), "function 'f' has aliases: delete them first"),
    ):
        assert str(worded_in_2023(error)) == text
    disabled = worded_in_2023(errors.Disabled("f", "paused"))
    assert (disabled.status, disabled.code) == (403, "FunctionInvocationDisabled")


@pytest.mark.parametrize(
    "kind", [records.VERSION, records.ALIAS, records.TRIGGER, errors.HTTP_TRIGGER, errors.INSTANCE]
)
def test_what_belongs_to_a_function_that_stands_alone_is_named_so_outside_its_api_too(kind: str) -> None:
    """On a custom domain, for example, whose refusals are in the words of the first API."""
    error = errors.NotFound(kind, "1", ("$f", "f"))
    assert "function 'f'" in str(worded(error))
    assert "$" not in str(worded(error))


def test_fields_are_spelled_as_the_api_does() -> None:
    assert spelled("nas_config.mount_points.server_addr") == "NasConfig.MountPoints.ServerAddr"
    assert spelled("tls_config.min_version") == "TLSConfig.MinVersion"
    assert [spelled(field) for field in ("ca_port", "custom_dns")] == ["CAPort", "CustomDNS"]


@pytest.mark.parametrize("full", [True, False])
def test_a_full_disk_is_told_to_the_caller_and_other_failures_are_not(full: bool) -> None:
    error = RuntimeError("the change could not be committed")
    error.__cause__ = OSError(errno.ENOSPC if full else errno.EIO, "a secret path")
    form = ErrorForm(worded=worded)
    status, failure = ErrorAnswers(form, DateHeader(lambda: 0.0)).of(error, "id", ("PUT", "/2016-08-15/services/s"))
    assert (status, failure.error_code) == ((503, "ServiceUnavailable") if full else (500, "InternalServerError"))
    assert ("free some space on the disk of the data directory" in failure.error_message) == full
    assert "secret" not in failure.error_message


@pytest.mark.parametrize("error", [errors.Unavailable("secret"), errors.StoreUnavailable("secret")])
def test_what_is_away_for_a_moment_is_no_error_of_ours_and_says_when_to_come_again(error: Exception) -> None:
    answers = ErrorAnswers(ErrorForm(worded=worded), DateHeader(lambda: 0.0))
    status, failure = answers.of(error, "id", ("POST", "/2016-08-15/services/s/functions/f/invocations"))
    assert (status, failure.error_code) == (503, "ServiceUnavailable")
    assert "secret" not in failure.error_message
    assert (b"Retry-After", b"2") in answers.answer("id", (status, failure)).headers
    assert b"Retry-After" not in dict(answers.answer("id", (500, failure)).headers)
