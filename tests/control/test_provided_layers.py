"""Layers of the cloud's public list: named by its ARNs, and provided by what the settings say stands for them.

Run by pytest.
"""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.control.conftest import ARNS, HELLO, OTHER, Account, code_of, hello
from tests.support.refusals import refused
from tests.support.requesters import THE_ACCOUNT
from tests.support.zips import zip_of

from sesame._provided_layers import provide_layers
from sesame.control.cleanup import live_packages
from sesame.control.inputs import FunctionInput, LayerInput
from sesame.deploy import archive
from sesame.deploy.project import Code
from sesame.model import records
from sesame.model.errors import ConfigurationError
from sesame.model.function import Package

OFFICIAL = "acs:fc:cn-shanghai:official:layers/Python39-Aliyun-SDK/versions/3"
OLD_FORM = "official#Python39-Aliyun-SDK#3"


async def provide(account: Account, **named: str) -> None:
    await provide_layers(named, account.catalog, account.packages)


async def package_of(account: Account, arn: str) -> Package:
    package: Package = (await account.layers.by_arn(arn)).document.package
    return package


async def with_layer(account: Account, arn: str) -> None:
    await account.service("s")
    await account.functions.create("s", hello(layers=(arn,)), by=THE_ACCOUNT)


@pytest.mark.parametrize("arn", [OFFICIAL, OLD_FORM, "acs:fc:cn-beijing:42:layers/theirs/versions/1"])
async def test_without_a_line_a_layer_of_others_is_refused_with_the_way_to_provide_it(
    account: Account, arn: str
) -> None:
    with refused("InvalidArgument", match=r"is not this account's.*\[layers\] of sesame.toml"):
        await with_layer(account, arn)
    with refused("LayerVersionNotFound"):
        await account.functions.create("s", hello(layers=(ARNS.layer("mine", 1),)), by=THE_ACCOUNT)


@pytest.mark.parametrize("arn", [OFFICIAL, OLD_FORM])
async def test_a_folder_or_a_zip_stands_for_it(account: Account, tmp_path: Path, arn: str) -> None:
    (tmp_path / "sdk" / "python").mkdir(parents=True)
    (tmp_path / "sdk" / "python" / "sdk.py").touch()
    (tmp_path / "sdk.zip").write_bytes(OTHER)
    await provide(account, **{OFFICIAL: str(tmp_path / "sdk")})
    await with_layer(account, arn)
    folder = await package_of(account, arn)
    assert b"python/sdk.py" in account.packages.archive(folder).read_bytes()
    await provide(account, **{OLD_FORM: str(tmp_path / "sdk.zip")})
    assert account.packages.archive(await package_of(account, arn)).read_bytes() == OTHER
    assert folder.sha256 not in live_packages(account.catalog)


async def test_the_account_s_own_layer_stands_for_it_by_its_newest_version_or_a_named_one(account: Account) -> None:
    for code in (HELLO, OTHER):
        await account.layers.create_version("sdk", LayerInput(code=code_of(code)), by=THE_ACCOUNT)
    await provide(account, **{OFFICIAL: "sdk"})
    assert account.packages.archive(await package_of(account, OFFICIAL)).read_bytes() == OTHER
    await provide(account, **{OFFICIAL: "sdk:1"})
    assert account.packages.archive(await package_of(account, OFFICIAL)).read_bytes() == HELLO
    assert [each.name for each in account.catalog.children(records.LAYER, "")] == ["sdk"]


async def test_what_cannot_be_provided_is_said_and_ends_no_start(
    account: Account, capsys: pytest.CaptureFixture[str]
) -> None:
    await account.layers.create_version("mine", LayerInput(code=code_of(OTHER)), by=THE_ACCOUNT)
    await provide(account, **{OFFICIAL: "absent", "acs:fc:r:official:layers/mine/versions/1": "mine"})
    said = "".join(capsys.readouterr())
    assert "there is no such version of the layer absent" in said
    assert "version 1 of the layer mine is the account's own" in said
    with refused("LayerVersionNotFound"):
        await account.layers.by_arn(OFFICIAL)


async def test_no_own_version_takes_its_number_and_no_call_deletes_it(account: Account) -> None:
    await account.layers.create_version("own", LayerInput(code=code_of(OTHER)), by=THE_ACCOUNT)
    foreign = "acs:fc:r:official:layers/theirs/versions/2"
    await provide(account, **{foreign: "own"})
    for number in ("1", "3"):
        made = await account.layers.create_version("theirs", LayerInput(code=code_of(HELLO)), by=THE_ACCOUNT)
        assert made.name == number
    assert account.packages.archive(await package_of(account, foreign)).read_bytes() == OTHER
    with refused("InvalidArgument", match=r"is provided by \[layers\] of sesame.toml"):
        await account.layers.delete_version("theirs", "2")


@pytest.mark.parametrize(
    ("arn", "source", "message"),
    [
        ("FFmpeg", "ffmpeg", "layers has 'FFmpeg'; expected acs:fc:"),
        (OFFICIAL, "two words", "expected a layer .NAME or NAME:VERSION."),
        (OFFICIAL, "./no-such-folder", "does not exist: expected a folder, a file or a zip"),
    ],
)
async def test_lines_that_cannot_be_meant_are_refused(account: Account, arn: str, source: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        await provide(account, **{arn: source})


async def test_without_its_line_functions_keep_it_and_no_other_gets_it(account: Account, tmp_path: Path) -> None:
    (tmp_path / "sdk.zip").write_bytes(zip_of({"python/sdk.py": "A = 1\n"}))
    await provide(account, **{OFFICIAL: str(tmp_path / "sdk.zip")})
    await with_layer(account, OFFICIAL)
    kept = await package_of(account, OFFICIAL)
    await provide(account)
    with refused("InvalidArgument", match="is not this account's"):
        await account.functions.create("s", hello(function_name="g", layers=(OFFICIAL,)), by=THE_ACCOUNT)
    assert kept.sha256 in live_packages(account.catalog)
    await account.functions.update("s", "f", FunctionInput(layers=()), by=THE_ACCOUNT)
    await provide(account)
    assert account.catalog.get(records.LAYER_VERSION, "Python39-Aliyun-SDK", "3") is None


async def test_a_folder_is_packed_again_only_when_its_files_have_changed(
    account: Account, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed: list[Path | None] = []

    def counted(code: Code) -> bytes:
        packed.append(code.path)
        return pack(code)

    pack = archive.packed
    monkeypatch.setattr(archive, "packed", counted)
    folder = tmp_path / "sdk"
    (folder / "python").mkdir(parents=True)
    sdk = folder / "python" / "sdk.py"
    sdk.write_text("A = 1")
    for _ in range(2):
        await provide(account, **{OFFICIAL: str(folder)})
    assert len(packed) == 1
    first = await package_of(account, OFFICIAL)
    changes: list[Callable[[], object]] = [
        lambda: sdk.write_text("A = 2"),
        lambda: sdk.chmod(0o755),
        lambda: sdk.rename(folder / "python" / "other.py"),
    ]
    for number, change in enumerate(changes):
        change()
        await provide(account, **{OFFICIAL: str(folder)})
        assert len(packed) == 2 + number
    assert (await package_of(account, OFFICIAL)).sha256 != first.sha256
    # What lost its directory is packed again.
    shutil.rmtree(account.packages.folder.code((await package_of(account, OFFICIAL)).sha256))
    await provide(account, **{OFFICIAL: str(folder)})
    assert len(packed) == 5
