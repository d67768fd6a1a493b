"""Settings: one table, four sources in their order, and errors that name where a bad value came from."""

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from sesame import settings
from sesame.cli.start import start
from sesame.model.errors import ConfigurationError

DOCS = Path(__file__).parents[2] / "docs" / "settings.md"


def test_each_source_wins_over_the_next(tmp_path: Path) -> None:
    file = tmp_path / "sesame.toml"
    file.write_text('port = 1\nregion = "from-file"\nsandbox = "plain"\n')
    environ = {"SESAME_PORT": "2", "SESAME_REGION": "from-environment"}
    settled = settings.load({"port": 3, "region": None}, environ, file)
    assert (settled.port, settled.region, settled.sandbox) == (3, "from-environment", "plain")
    assert settled.oss_port == settings.Settings().oss_port


def test_the_file_is_named_by_the_environment_or_lies_in_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sesame.toml").write_text("port = 1\n")
    (tmp_path / "other.toml").write_text("port = 2\n")
    monkeypatch.chdir(tmp_path)
    assert settings.load({}, {}).port == 1
    assert settings.load({}, {"SESAME_CONFIG": str(tmp_path / "other.toml")}).port == 2


@pytest.mark.parametrize(
    ("flags", "environ", "content", "says"),
    [
        ({}, {"SESAME_PORT": "many"}, "", "SESAME_PORT is set to an invalid value 'many'"),
        ({}, {"SESAME_PORT": "many"}, "", "expected a whole number"),
        ({}, {"SESAME_PORT": "tcp://10.0.0.1:9000"}, "", "enableServiceLinks: false"),
        ({}, {}, "oss_port = 1.5", "expected a whole number"),
        ({}, {"SESAME_DRAIN_S": "long"}, "", "expected a number"),
        ({}, {"SESAME_MAX_MEMROY_MB": "500"}, "", "did you mean SESAME_MAX_MEMORY_MB?"),
        ({}, {"SESAME_DATADIR": "x"}, "", "did you mean SESAME_DATA_DIR?"),
        ({}, {"SESAME_REGOIN": "x"}, "", "did you mean SESAME_REGION?"),
        ({}, {"SESAME_INTERPRETERS": "python2.7"}, "", "expected RUNTIME=PATH"),
        ({"port": 70000}, {}, "", "expected 0 to 65535"),
        ({}, {}, "prot = 1", "did you mean 'port'"),
        ({}, {}, "zzz = 1", "expected one of port"),
        ({}, {}, "port = ", "not valid TOML"),
        ({}, {"SESAME_SANDBOX": "docker"}, "", "expected one of auto, jail, plain"),
        ({"cpu": "all"}, {}, "", "expected one of shares, cloud"),
        ({"keep_alive_s": 0}, {}, "", "more than 0"),
        ({"max_instances": 0}, {}, "", "at least 1"),
        ({"max_memory_mb": 1}, {}, "", "at least 128"),
        ({"https_port": 65536}, {}, "", "https_port is 65536; expected 0 to 65535"),
        ({}, {"SESAME_KEEP_ALIVE_S": "nan"}, "", "expected a number that ends"),
        ({}, {}, "keep_alive_s = inf", "expected a number that ends"),
        ({"log_retention_days": float("inf")}, {}, "", "expected a number that ends"),
        ({"log_retention_days": float("nan")}, {}, "", "expected a number that ends"),
        ({"region": "cn shanghai"}, {}, "", "such as cn-shanghai"),
        ({"region": "a:b"}, {}, "", "such as cn-shanghai"),
        ({"region": ""}, {}, "", "such as cn-shanghai"),
        ({}, {}, 'port = "x"', "sesame.toml is set to an invalid value 'x'"),
    ],
)
def test_a_bad_value_is_refused_with_its_source(
    tmp_path: Path, flags: dict[str, object], environ: dict[str, str], content: str, says: str
) -> None:
    file = tmp_path / "sesame.toml"
    file.write_text(content)
    with pytest.raises(ConfigurationError) as raised:
        settings.load(flags, environ, file)
    assert says in str(raised.value)


def test_variables_that_resemble_no_setting_may_be_another_programs(tmp_path: Path) -> None:
    """A cluster of Kubernetes names services so, Sesame's own processes get such ones, and tests are told by some."""
    source = "\n".join(path.read_text() for path in (Path(__file__).parents[2] / "src").rglob("*.py"))
    own = set(re.findall(r"\bSESAME_[A-Z_]+[A-Z]\b", source)) - {row.environment for row in settings.TABLE.values()}
    assert "SESAME_CLUSTER_KEY_FILE" in own
    others = {"SESAME_SERVICE_PORT", "SESAME_SERVICE_HOST", "SESAME_PORT_9000_TCP_ADDR", "SESAME_TEST_OBJECTS"}
    (tmp_path / "empty.toml").touch()
    settings.load({}, dict.fromkeys(own - {"SESAME_CONFIG"} | others, "x"), tmp_path / "empty.toml")


def test_a_missing_file_that_was_named_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot read"):
        settings.load({}, {}, tmp_path / "nothing.toml")


def test_interpreters_come_as_pairs_or_as_a_table(tmp_path: Path) -> None:
    file = tmp_path / "sesame.toml"
    file.write_text('[interpreters]\n"python2.7" = "/a"\n')
    expected = {"python2.7": Path("/a")}
    assert settings.load({}, {}, file).interpreters == expected
    file.write_text("")
    assert settings.load({}, {"SESAME_INTERPRETERS": "python2.7=/a"}, file).interpreters == expected


def test_destinations_are_mapped_by_pairs_or_by_a_table(tmp_path: Path) -> None:
    file = tmp_path / "sesame.toml"
    file.write_text('[destinations]\n"acs:mns:" = "http://h/q?a=b"\n')
    expected = {"acs:mns:": "http://h/q?a=b"}
    assert settings.load({}, {}, file).destinations == expected
    file.write_text("")
    assert settings.load({"destinations": "acs:mns:=http://h/q?a=b"}, {}, file).destinations == expected


@pytest.mark.parametrize("raw", ["acs:mns:", "mns=http://h/", "acs:mns:=file:///etc/passwd", "acs:mns:=http://"])
def test_a_destination_is_an_arn_and_a_url(tmp_path: Path, raw: str) -> None:
    with pytest.raises(ConfigurationError, match="expected"):
        settings.load({"destinations": raw}, {}, None)


@pytest.mark.parametrize("url", ["http://user:s3cr3t@h/", "http://s3cr3t@h/", "ftp://user:s3cr3t@h/"])
def test_a_destination_has_no_password_and_none_is_repeated(tmp_path: Path, url: str) -> None:
    with pytest.raises(ConfigurationError, match="without user name and password") as refusal:
        settings.load({"destinations": f"acs:mns:={url}"}, {}, None)
    assert "s3cr3t" not in str(refusal.value)


def test_every_setting_is_a_flag_of_start_and_a_row_of_the_documentation() -> None:
    said = CliRunner().invoke(start, ["--help"]).output
    for row in settings.TABLE.values():
        assert row.flag in said
        assert row.environment in "".join(said.split())
    assert settings.as_markdown() in DOCS.read_text(encoding="utf-8"), "put the text of settings.as_markdown() there"


def test_the_file_that_is_wrong_is_named_as_it_is_called(tmp_path: Path) -> None:
    file = tmp_path / "other.toml"
    file.write_text("port = []\n")
    with pytest.raises(ConfigurationError, match=r"other.toml is set to an invalid value"):
        settings.load({}, {}, file)


def test_a_secret_is_not_repeated_when_it_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "sesame.toml"
    file.write_text("access_key_secret = 918273645\n")
    with pytest.raises(ConfigurationError) as raised:
        settings.load({}, {}, file)
    assert "918273645" not in str(raised.value)
    assert "access_key_secret" in str(raised.value)


@pytest.mark.parametrize(
    ("given", "port"),
    [({}, 9002), ({"oss_port": 7001}, 7002), ({"oss_port": 0}, 0), ({"oss_port": 65535}, 0), ({"sls_port": 80}, 80)],
    ids=str,
)
def test_the_log_service_is_on_the_port_after_that_of_object_storage(given: dict[str, int], port: int) -> None:
    assert settings.load(given, {}).resolved_port("sls_port") == port


@pytest.mark.parametrize("flag", ["--console-port"])
def test_an_endpoint_that_is_not_served_has_no_setting(flag: str) -> None:
    assert flag not in CliRunner().invoke(start, ["--help"]).output
    assert flag not in DOCS.read_text(encoding="utf-8")
    said = CliRunner().invoke(start, [flag, "0"])
    assert said.exit_code == 2
    assert "No such option" in said.stderr


@pytest.mark.parametrize(
    ("network", "allowed", "expected"),
    [
        ("egress", ["db.internal:5432"], "expected ADDRESS:PORT"),
        ("host", ["127.0.0.1:5432"], "expected --network egress or none"),
        ("none", ["127.0.0.1:5432", "10.0.0.0/8"], "has '10.0.0.0/8', which is reached by the way to the outside"),
        ("egress", [f"10.0.0.1:{port}" for port in range(1, 200)], "names 199 services; expected at most 100"),
    ],
)
def test_what_functions_may_reach_is_something_that_they_can_reach(
    network: str, allowed: list[str], expected: str
) -> None:
    with pytest.raises(ConfigurationError, match=expected):
        settings.load({"network": network, "network_allow": allowed}, {})
    assert settings.load({"network": "none", "network_allow": ["127.0.0.1:5432"]}, {}).network == "none"


@pytest.mark.parametrize("name", ["FC_PORT", "FC_SERVICE_PORT", "DB_HOST", "0_PORT", "TEST_PORT", "DATABASE_URL"])
def test_variables_of_others_may_end_as_a_setting_does(name: str) -> None:
    assert settings.load({}, {f"SESAME_{name}": "tcp://10.0.0.1:9000"}) == settings.load({}, {})
