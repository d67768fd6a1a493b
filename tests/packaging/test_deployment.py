"""The files in deploy/ for servers: systemd accepts the unit, Sesame the settings, and the container's steps hold."""

import configparser
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from sesame import settings
from sesame.cli.main import cli
from sesame.identity import role_definitions

DEPLOY = Path(__file__).parents[2] / "deploy"


def containerfile() -> list[tuple[str, str]]:
    """(instruction, arguments) of each step, continued lines joined."""
    text = re.sub(r"^#.*\n", "", (DEPLOY / "Containerfile").read_text(), flags=re.MULTILINE)
    lines = text.replace("\\\n", " ").splitlines()
    return [(step[0], " ".join(step[1].split())) for line in lines if (step := line.split(None, 1))]


def unit() -> configparser.SectionProxy:
    read = configparser.ConfigParser(strict=False, interpolation=None)
    read.optionxform = str  # type: ignore[assignment]
    read.read(DEPLOY / "sesame.service")
    return read["Service"]


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed")
def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    """With a program and a user that are here: on this machine Sesame is not installed for systemd."""
    text = (DEPLOY / "sesame.service").read_text()
    here = shlex.quote(str(Path(sys.executable).with_name("sesame")))
    copy = tmp_path / "sesame.service"
    copy.write_text(text.replace("/opt/sesame/bin/sesame", here).replace("=sesame\n", "=root\n", 2))
    done = subprocess.run(["systemd-analyze", "verify", copy], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "sesame.service" not in done.stderr
    copy.write_text(copy.read_text().replace("Delegate=", "Delegates="))
    done = subprocess.run(["systemd-analyze", "verify", copy], capture_output=True, text=True, check=False)
    assert "Delegates" in done.stderr


def test_the_service_starts_what_the_page_installs() -> None:
    page = (DEPLOY.parent / "docs" / "team.md").read_text()
    service = unit()
    program = shlex.split(service["ExecStart"])
    assert program == ["/opt/sesame/bin/sesame", "start"]
    assert f"python3 -m venv {Path(program[0]).parents[1]}" in page
    assert f"useradd --system --home-dir /var/lib/sesame {service['User']}" in page
    config = service["Environment"].partition("=")[2]
    assert f"deploy/sesame.toml {config}" in page
    loaded = settings.load({}, {}, DEPLOY / "sesame.toml")
    assert loaded.data_dir.is_relative_to(Path("/var/lib") / service["StateDirectory"])
    assert float(service["TimeoutStopSec"]) > loaded.drain_s


def test_sesame_accepts_the_settings_and_their_roles() -> None:
    loaded = settings.load({}, {}, DEPLOY / "sesame.toml")
    assert loaded.roles
    for name, table in loaded.roles.items():
        role_definitions.check(role_definitions.of_table(name, table))


def test_the_container_runs_sesame_with_settings_that_exist() -> None:
    steps = containerfile()
    names = {row.environment for row in settings.TABLE.values()}
    (given,) = (arguments for instruction, arguments in steps if instruction == "ENV")
    variables = dict(pair.split("=", 1) for pair in shlex.split(given))
    assert set(variables) <= names
    assert settings.load({}, variables, None).sandbox == "plain"
    exposed = next(arguments for instruction, arguments in steps if instruction == "EXPOSE").split()
    usual = settings.Settings()
    assert exposed == [str(usual.resolved_port(name)) for name in ("port", "oss_port", "sls_port", "sts_port")]
    (volume,) = (arguments for instruction, arguments in steps if instruction == "VOLUME")
    assert Path(variables["SESAME_DATA_DIR"]).is_relative_to(volume)
    assert [each for each, _arguments in steps if each in ("USER", "CMD")] == ["USER", "CMD"]


def test_the_container_can_keep_objects_in_a_bucket(tmp_path: Path) -> None:
    """The step that installs the wheel, with `echo` in the place of pip."""
    (install,) = (
        command
        for instruction, arguments in containerfile() if instruction == "RUN"
        for command in arguments.split("&&") if "pip install" in command
    )  # fmt: skip
    wheel = tmp_path / "sesame_fc-1.2.3-py3-none-any.whl"
    wheel.touch()
    script = install.replace("/opt/sesame/bin/pip", "echo").replace("/tmp/", f"{tmp_path}/")
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split()[-1] == f"{wheel}[s3]"


def test_each_shell_step_of_the_container_is_one_that_a_shell_reads() -> None:
    runs = [arguments for instruction, arguments in containerfile() if instruction == "RUN"]
    assert runs
    for script in runs:
        done = subprocess.run(["sh", "-n", "-c", script], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


def kuberay() -> dict[str, dict[str, Any]]:
    """By kind: there is one of each."""
    documents = list(yaml.safe_load_all((DEPLOY / "kuberay" / "sesame.yaml").read_text()))
    found = {document["kind"]: document for document in documents}
    assert len(found) == len(documents)
    return found


def test_the_pods_of_kuberay_run_commands_that_exist() -> None:
    head = kuberay()["RayCluster"]["spec"]["headGroupSpec"]["template"]["spec"]["containers"][0]["lifecycle"]
    shell, flag, script = head["postStart"]["exec"]["command"]
    assert subprocess.run([shell, "-n", flag, script], check=False).returncode == 0
    commands = [shlex.split(line, comments=True) for line in script.splitlines()] + [head["preStop"]["exec"]["command"]]
    parsed = [words[1:] for words in commands if words[:1] == ["sesame"]]
    assert [words[:2] for words in parsed] == [["start", "--cluster"], ["cluster", "stop"]]
    for words in parsed:
        command: click.Command = cli
        context = click.Context(cli)
        while isinstance(command, click.Group):
            name, *words = words
            found = command.get_command(context, name)
            assert found is not None
            command = found
        # It refuses what it does not know.
        command.make_context(command.name, words)


def test_the_pods_of_kuberay_get_settings_and_secrets_that_exist() -> None:
    found = kuberay()
    spec = found["RayCluster"]["spec"]
    container = spec["headGroupSpec"]["template"]["spec"]["containers"][0]
    names = {row.environment for row in settings.TABLE.values()}
    assert {each["name"] for each in container["env"] if each["name"].startswith("SESAME_")} <= names
    secrets = [each["valueFrom"]["secretKeyRef"] for each in container["env"] if "valueFrom" in each]
    assert {each["key"] for each in secrets} | {"cluster.key"} == found["Secret"]["stringData"].keys()
    assert {each["name"] for each in secrets} == {found["Secret"]["metadata"]["name"]}
    assert spec["authOptions"] == {"mode": "token"}
    usual = settings.Settings()
    ports = [usual.resolved_port(name) for name in ("port", "oss_port", "sls_port", "sts_port")]
    assert [each["port"] for each in found["Service"]["spec"]["ports"]] == ports
    worker = spec["workerGroupSpecs"][0]["template"]
    assert [each["containerPort"] for each in worker["spec"]["containers"][0]["ports"]] == ports
    assert found["Service"]["spec"]["selector"] == worker["metadata"]["labels"]


def test_the_image_of_kuberay_has_the_ray_that_the_cluster_names() -> None:
    steps = (DEPLOY / "kuberay" / "Containerfile").read_text()
    assert f"rayproject/ray:{kuberay()['RayCluster']['spec']['rayVersion']}-py3" in steps
    variables = dict(pair.split("=") for pair in re.findall(r"SESAME_\w+=\S+", steps))
    assert settings.load({}, variables, None).sandbox == "plain"
