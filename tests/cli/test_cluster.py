"""What `sesame start --cluster` sends to the machines, and what it refuses. Ray itself runs in tests/on_ray."""

import stat
from pathlib import Path

import pytest
from tests.support.command_line import sesame

from sesame.cli.cluster import named
from sesame.cli.cluster_order import order_of
from sesame.cluster.keys import make_key
from sesame.model.errors import ConfigurationError
from sesame.on_ray.order import LOST, Report, filled
from sesame.settings import Settings, load

DATABASE = "postgresql://user:pass%20word@10.0.0.9/name"
OBJECTS = "s3://bucket/prefix?endpoint=http://10.0.0.9:8333&region=us-east-1"
NEEDED = ("--cluster", "--database", DATABASE, "--objects", OBJECTS)


def sent(settings: Settings, folder: Path) -> Settings:
    """What a machine at 10.0.0.1 makes of it."""
    key = folder / "key"
    make_key(key)
    order = order_of(settings, key, 9010)
    config = folder / "sent.toml"
    config.write_text(filled(order.files["SESAME_CONFIG"], "a", "10.0.0.1"))
    return load({}, {}, config)


def test_every_setting_arrives_as_it_was_set(tmp_path: Path) -> None:
    given = tmp_path / "given.toml"
    given.write_text(
        f'database = "{DATABASE}"\nobjects = "{OBJECTS}"\ndata_dir = "/var/lib/sesame"\nhost = "0.0.0.0"\n'
        'network_allow = ["10.0.0.9:5432"]\nkeep_alive_s = 1.5\nregion = "cn-hangzhou"\nport = 8000\n'
        'access_key_secret = "a \\"quoted\\" \\\\ \\u007f 密"\ninterpreters = {"python3.10" = "/usr/bin/python3.10"}\n'
        '[roles.caller]\npolicies = ["AliyunFCInvocationAccess"]\n[mounts]\n"nas:/" = "/srv/nas"\n'
    )
    settings = load({}, {}, given)
    assert sent(settings, tmp_path) == settings


def test_a_node_listens_where_the_others_reach_it_unless_it_is_told_where(tmp_path: Path) -> None:
    settings = load({"database": DATABASE, "objects": OBJECTS, "data_dir": "relative"}, {})
    arrived = sent(settings, tmp_path)
    assert arrived.host == "10.0.0.1"
    assert arrived.data_dir == Path("relative").absolute()


def test_a_command_line_of_a_node_holds_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "s3-key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s3-secret")
    make_key(tmp_path / "key")
    settings = load({"database": DATABASE, "objects": OBJECTS}, {})
    order = order_of(settings, tmp_path / "key", 9010)
    assert order.environment["AWS_SECRET_ACCESS_KEY"] == "s3-secret"
    assert order.files["SESAME_CLUSTER_KEY_FILE"] == (tmp_path / "key").read_text()
    for secret in ("pass%20word", "s3-secret", (tmp_path / "key").read_text().strip()):
        assert secret not in " ".join(order.command)


def test_each_thing_that_a_cluster_needs_is_asked_for(tmp_path: Path) -> None:
    data = ("--data-dir", str(tmp_path))
    assert "needs --database and --objects" in sesame("start", "--cluster", *data, expect=1).stderr
    assert "needs --objects" in sesame("start", "--cluster", "--database", DATABASE, *data, expect=1).stderr
    assert "cannot read the key of the cluster" in sesame("start", *NEEDED, *data, expect=1).stderr
    refused = sesame("start", *NEEDED, *data, "--agents", "2", expect=1)
    assert "agents is '2'; expected 1" in refused.stderr
    assert sesame("cluster", "key", *data).stderr.startswith(f"The key is in {tmp_path / 'cluster.key'}.")
    assert stat.S_IMODE((tmp_path / "cluster.key").stat().st_mode) == 0o600
    assert "is there already" in sesame("cluster", "key", *data, expect=1).stderr
    sesame("cluster", "key", "--data-dir", str(tmp_path / "new"))
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o700


def test_options_of_a_cluster_are_refused_without_one() -> None:
    said = sesame("start", "--detach", "--ray-address", "10.0.0.1:6379", expect=2).stderr
    assert "--cluster is not given: leave --ray-address, --detach away" in said


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--node", "a b"), "node is 'a b'; expected a name of letters"),
        (("--node", "x" * 65), "of at most 64"),
        (("--node-address", "0.0.0.0"), "node_address is '0.0.0.0'; expected the address at which the other nodes"),
        (("--node-address", "::"), "node_address is '::'; expected"),
        (("--node-address", "db.internal"), "node_address is 'db.internal'; expected"),
    ],
)
def test_a_node_that_others_could_not_know_or_reach_is_refused(
    tmp_path: Path, flags: tuple[str, ...], said: str
) -> None:
    data = ("--data-dir", str(tmp_path), "--database", DATABASE, "--objects", OBJECTS)
    assert said in sesame("node", *data, *flags, expect=1).stderr.replace("\n", " ")


def test_a_machine_is_named_by_its_address_or_host_also_while_ray_has_not_given_up_the_one_before() -> None:
    first, before = Report("1", "10.0.0.1", "first", "running"), Report("2", "10.0.0.2", "second", LOST)
    second = Report("3", "10.0.0.2", "second", "running")
    assert named([first, before, second], "second") == named([first, before, second], "10.0.0.2") == second
    assert named([first, before], "second") == before
    with pytest.raises(ConfigurationError, match=r"no machines .* 'third'; expected .*: 10.0.0.1 \(first\)"):
        named([first], "third")
