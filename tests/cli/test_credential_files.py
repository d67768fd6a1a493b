"""The files that people have for the cloud are read last, whole, and what is wrong in them is told with its field."""

import json
import os
import time
from pathlib import Path

import pytest

from sesame.cli.server import Key, Named, choose
from sesame.data_dir import Credentials, DataDir, Endpoints
from sesame.model.errors import ConfigurationError

CLOUD = "https://123456.cn-hangzhou.fc.aliyuncs.com"
FCLI = f"endpoint: {CLOUD}\napi_version: 2016-08-15\naccess_key_id: 0123\naccess_key_secret: s3cr3t\ndebug: false\n"
INI = "[default]\ntype = access_key\naccess_key_id = of-ini\naccess_key_secret = s3cr3t\n"
ALIYUN = {
    "current": "mine",
    "profiles": [
        {"name": "other", "mode": "EcsRamRole", "ram_role_name": "r"},
        {"name": "mine", "mode": "StsToken", "access_key_id": "of-aliyun", "access_key_secret": "s3cr3t",
         "sts_token": "t0ken", "region_id": "cn-hangzhou"},
    ],
}  # fmt: skip


def home(tmp_path: Path, **files: str) -> dict[str, str]:
    """An environment whose home has these of the three files."""
    for name, text in files.items():
        path = tmp_path / {"fcli": ".fcli/config.yaml", "ini": ".alibabacloud/credentials.ini",
                           "aliyun": ".aliyun/config.json"}[name]  # fmt: skip
        path.parent.mkdir(parents=True)
        path.write_text(text)
    return {"HOME": str(tmp_path)}


def test_fclis_file_names_the_server_and_the_key(tmp_path: Path) -> None:
    found = choose(Named(tmp_path / "none"), home(tmp_path, fcli=FCLI, ini=INI))
    file = tmp_path / ".fcli" / "config.yaml"
    assert (found.endpoint, found.source, found.region) == (CLOUD, f"endpoint in {file}", "cn-hangzhou")
    assert found.key == Key("0123", "s3cr3t", str(file), account_id="123456")


def test_the_sdks_file_comes_before_the_aliyun_commands(tmp_path: Path) -> None:
    environ = home(tmp_path, ini=INI, aliyun=json.dumps(ALIYUN))
    found = choose(Named(tmp_path / "none", endpoint=CLOUD), environ).key
    assert (found.access_key_id, found.source) == ("of-ini", f"{tmp_path}/.alibabacloud/credentials.ini [default]")


def test_the_aliyun_commands_current_profile(tmp_path: Path) -> None:
    environ = home(tmp_path, aliyun=json.dumps(ALIYUN), ini=INI.replace("type", "enable = false\ntype"))
    found = choose(Named(tmp_path / "none", endpoint="http://127.0.0.1:2"), environ).key
    assert found == Key("of-aliyun", "s3cr3t", f"{tmp_path}/.aliyun/config.json, profile mine", "t0ken")
    with pytest.raises(ConfigurationError, match="there is no key for"):
        choose(Named(tmp_path / "none", endpoint=CLOUD), environ | {"ALIBABA_CLOUD_CLI_PROFILE_DISABLED": "true"})


def test_a_named_file_and_a_named_profile(tmp_path: Path) -> None:
    named = tmp_path / "keys.ini"
    named.write_text(INI + "[prod]\naccess_key_id = p\naccess_key_secret = q%s\n")
    environ = {"HOME": "", "ALIBABA_CLOUD_CREDENTIALS_FILE": str(named), "ALIBABA_CLOUD_PROFILE": "prod"}
    assert choose(Named(tmp_path / "none", endpoint=CLOUD), environ).key.secret == "q%s"
    with pytest.raises(
        ConfigurationError, match=r"keys.ini: ALIBABA_CLOUD_PROFILE is dev, but the file has no section"
    ):
        choose(Named(tmp_path / "none", endpoint=CLOUD), environ | {"ALIBABA_CLOUD_PROFILE": "dev"})
    named.unlink()
    with pytest.raises(ConfigurationError, match="but that file does not exist"):
        choose(Named(tmp_path / "none", endpoint=CLOUD), environ)


def test_flags_and_environment_come_first(tmp_path: Path) -> None:
    environ = home(tmp_path, fcli=FCLI) | {"FC_ENDPOINT": "http://127.0.0.1:2"}
    found = choose(Named(tmp_path / "none"), environ)
    assert (found.endpoint, found.key.access_key_id) == ("http://127.0.0.1:2", "0123")
    environ |= {"ACCESS_KEY_ID": "id", "ACCESS_KEY_SECRET": "s"}
    assert choose(Named(tmp_path / "none"), environ).key.access_key_id == "id"
    assert choose(Named(tmp_path / "none", endpoint="http://127.0.0.1:3"), environ).endpoint == "http://127.0.0.1:3"


def test_a_sesame_that_runs_comes_before_files_and_one_that_does_not_is_no_call_of_the_cloud(tmp_path: Path) -> None:
    environ = home(tmp_path, fcli=FCLI)
    with DataDir(tmp_path / "data") as held:
        endpoints = Endpoints(
            account_id="1234", region="r", fc="http://127.0.0.1:1", sandbox="plain", pid=os.getpid(),
            started_at=time.time(),
        )  # fmt: skip
        held.announce(endpoints, Credentials("1234", "LTAI", "directory-secret"))
        found = choose(Named(held.path), environ)
        assert (found.endpoint, found.key.access_key_id, found.region) == ("http://127.0.0.1:1", "LTAI", "r")
        held.withdraw()
    for named, more in (
        (Named(tmp_path / "data"), {}),
        (Named(tmp_path / "none", data_dir_given=True), {}),
        (Named(tmp_path / "none"), {"SESAME_DATA_DIR": "none"}),
    ):
        with pytest.raises(ConfigurationError, match="no Sesame runs on the data directory"):
            choose(named, environ | more)


@pytest.mark.parametrize(
    "names", [("ACCOUNT_ID", "REGION"), ("ACCOUNT_ID", "DEFAULT_REGION"),
              ("ALIBABA_CLOUD_ACCOUNT_ID", "ALIBABA_CLOUD_DEFAULT_REGION")],
)  # fmt: skip
def test_account_and_region_name_the_clouds_address(tmp_path: Path, names: tuple[str, str]) -> None:
    environ = {names[0]: "99", names[1]: "cn-beijing", "ACCESS_KEY_ID": "id", "ACCESS_KEY_SECRET": "s"}
    found = choose(Named(tmp_path / "none"), environ)
    assert (found.endpoint, found.source) == ("https://99.cn-beijing.fc.aliyuncs.com", " and ".join(names))
    assert (found.key.account_id, found.region) == ("99", "cn-beijing")


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({"fcli": FCLI.replace("access_key_secret: s3cr3t\n", "")}, "config.yaml: access_key_secret is missing"),
        ({"fcli": FCLI.replace("access_key_id: 0123\n", "")}, "config.yaml: access_key_id is missing"),
        ({"fcli": FCLI.replace("0123", "[a, b]")}, "config.yaml: access_key_id: expected a text, found a list"),
        ({"fcli": FCLI.replace("s3cr3t", "s3cr3t\\u00e9é")}, "config.yaml: access_key_secret: holds characters"),
        ({"fcli": "- a\n"}, "config.yaml: expected lines as `endpoint: https://…`, found a list"),
        ({"fcli": "a: [\n"}, "config.yaml is no YAML: while parsing"),
        ({"ini": INI.replace("type = access_key", "type = ram_role_arn")}, "[default]: type: expected access_key or"),
        ({"ini": "[default]\n"}, "credentials.ini [default]: access_key_id is missing"),
        ({"ini": INI.replace("access_key_secret = s3cr3t", "")}, "[default]: access_key_secret is missing"),
        ({"ini": "no section = 1\n"}, "credentials.ini is no INI file: File contains no section headers."),
        ({"aliyun": "{"}, "config.json is no JSON: "),
        ({"aliyun": "[]"}, "config.json: profiles: expected a list of objects"),
        ({"aliyun": json.dumps(ALIYUN).replace("mine", "yours", 1)}, "profiles: there is none of the name 'yours'"),
        ({"aliyun": json.dumps(ALIYUN | {"current": "other"})}, "profile other: mode: expected AK or StsToken"),
        ({"aliyun": json.dumps(ALIYUN).replace('"of-aliyun"', "7")}, "access_key_id: expected a text, found a int"),
        ({"aliyun": json.dumps(ALIYUN).replace('"of-aliyun"', '""')}, "profile mine: access_key_id is missing"),
    ],
)
def test_what_is_wrong_is_told_with_file_and_field_and_no_secret_is_shown(
    tmp_path: Path, files: dict[str, str], says: str
) -> None:
    with pytest.raises(ConfigurationError) as raised:
        choose(Named(tmp_path / "none", endpoint=CLOUD), home(tmp_path, **files))
    assert says in str(raised.value)
    assert "s3cr3t" not in str(raised.value)


@pytest.mark.parametrize(("name", "text"), [("fcli", "\n"), ("aliyun", '{"current": "", "profiles": []}'), ("ini", "")])
def test_an_empty_file_says_nothing(tmp_path: Path, name: str, text: str) -> None:
    with pytest.raises(ConfigurationError, match="there is no key for"):
        choose(Named(tmp_path / "none", endpoint=CLOUD), home(tmp_path, **{name: text}))


def test_an_address_in_fclis_file_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"endpoint in .*config.yaml is set to 'ftp://x'"):
        choose(Named(tmp_path / "none"), home(tmp_path, fcli=FCLI.replace(CLOUD, "ftp://x")))
