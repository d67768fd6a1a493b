"""Container images in the jail, made by root and by an ordinary user: roots of their own, which nothing writes to."""

import asyncio
import os
import shutil
import stat
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from tests.runtime.conftest import FUNCTIONS
from tests.security.grades import GRADES
from tests.support.images import PYTHON, ContainerStage, image_root, python_root
from tests.support.jails import Traces, jail, jail_only

from sesame.model.command import Command
from sesame.model.errors import StartProblem
from sesame.model.nas import NasMount
from sesame.model.web_server import WebServer
from sesame.sandbox.interface import ProgramFailed, SandboxStartFailed
from sesame.sandbox.jail.driver import JailDriver
from sesame.sandbox.process.driver import PlainDriver
from sesame.sandbox.runtimes import web_servers
from sesame.sandbox.volumes import NasVolumes

pytestmark = [jail_only, pytest.mark.asyncio(loop_scope="module")]

PROGRAM = WebServer(command=("/srv/bootstrap",))
APP = 1000
# Below links of an image: to a directory, to nothing, and to itself.
MOUNTED = ["/var/nas", "/data/deep", "/loop/deep"]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = python_root(tmp_path_factory.mktemp("image"))
    shutil.copy(FUNCTIONS / "custom_eval" / "bootstrap", made / "srv" / "bootstrap")
    (made / "srv" / "file").write_text("of the image")
    (made / "srv" / "data").mkdir()
    (made / "srv" / "data" / "kept").write_text("kept")
    return made


# An ordinary user's is tried as nobody in `make test` (test_jail_user.py), as root makes it by `make test-all`.
@pytest.fixture(
    scope="module",
    params=[pytest.param(each, marks=() if each == next(iter(GRADES)) else pytest.mark.thorough) for each in GRADES],
)
def grade(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def driver(tmp_path_factory: pytest.TempPathFactory, grade: str) -> AsyncIterator[JailDriver]:
    async with jail(tmp_path_factory.mktemp("jail"), **GRADES[grade]) as made:
        yield made


@pytest_asyncio.fixture(loop_scope="module")
async def stage(driver: JailDriver, root: Path) -> AsyncIterator[ContainerStage]:
    made = ContainerStage(driver, root)
    yield made
    await made.clear()


async def start(stage: ContainerStage, **more: Any) -> Any:
    return await stage.start("unused", **{"web_server": PROGRAM, "code_dir": None, **more})


async def run(actor: Any, expression: str) -> Any:
    return await actor.json(expression.encode())


async def test_its_root_is_the_image_and_nothing_of_the_host(stage: ContainerStage, root: Path) -> None:
    actor = await start(stage)
    of_image = set(os.listdir(root))
    assert set(await run(actor, "os.listdir('/')")) == of_image | {"proc", "dev", "sys", "tmp", "var"}
    assert await run(actor, f"os.path.exists({str(root)!r})") is False
    assert await run(actor, "os.path.exists('/.host') or os.path.exists('/var/sesame/runtime')") is False
    roots = "[f'/proc/{pid}/{link}' for pid in os.listdir('/proc') if pid.isdigit() for link in ('root', 'cwd')]"
    seen = f"[path for path in {roots} if os.path.exists(path + '/var/sesame/runtime')]"
    assert await run(actor, seen) == []
    assert b"listening on 9000" in actor.output


async def test_it_has_what_programs_expect(stage: ContainerStage) -> None:
    actor = await start(stage)
    assert await run(actor, "pwd.getpwuid(os.getuid()).pw_dir") == "/root"
    assert await run(actor, "pwd.getpwnam('app').pw_uid") == APP
    assert await run(actor, "socket.gethostname() == read('/etc/hostname').strip()")
    assert await run(actor, "socket.gethostbyname(socket.gethostname())") == "127.0.1.1"
    assert await run(actor, "write('/dev/null', 'x') and write('/dev/shm/x', 'x') and write('/tmp/x', 'x')")
    assert await run(actor, "len(os.urandom(8)), os.path.exists('/dev/fd/0')") == [8, True]
    assert await run(actor, "int(os.readlink('/proc/self')) == os.getpid()")


async def test_what_an_instance_writes_is_its_own(stage: ContainerStage, root: Path) -> None:
    before = seen(root)
    first, second = await start(stage), await start(stage)
    assert await run(first, "write('/srv/file', 'changed') and write('/etc/new', '') and write('/new', '')")
    assert await run(first, "[os.remove('/usr/bin/env'), os.remove('/srv/data/kept'), os.rmdir('/srv/data')]")
    assert await run(first, "read('/srv/file')") == "changed"
    third = await start(stage)
    for other in (second, third):
        assert await run(other, "read('/srv/file'), os.listdir('/srv/data')") == ["of the image", ["kept"]]
        assert await run(other, "os.path.exists('/new') or not os.path.exists('/usr/bin/env')") is False
    await stage.clear()
    assert seen(root) == before


def seen(root: Path) -> dict[str, tuple[int, int, int]]:
    """Everything below the root, and what a change of it would change."""
    found = {path: path.lstat() for path in root.rglob("*")}
    return {str(path): (each.st_mtime_ns, each.st_mode, each.st_uid) for path, each in found.items()}


async def test_what_it_writes_is_bounded_with_tmp(stage: ContainerStage) -> None:
    actor = await start(stage, memory_mb=3072)
    assert await run(actor, "failure(fill, '/srv/large', 600)") in ("ENOSPC", "EDQUOT")
    assert await run(actor, "failure(fill, '/tmp/large', 300)") in ("ENOSPC", "EDQUOT")
    assert await run(actor, "os.remove('/srv/large')") is None
    assert await run(actor, "failure(fill, '/tmp/large', 300)") is None


@pytest.mark.skipif("root" not in GRADES, reason="an ordinary user cannot make files of others")
@pytest.mark.parametrize("grade", ["root"], indirect=True)
async def test_files_of_the_images_user_are_its_own(driver: JailDriver, root: Path, tmp_path: Path) -> None:
    stage = ContainerStage(driver, root)
    secret = root / "home" / "app"
    secret.mkdir(mode=0o700, exist_ok=True)
    (secret / "private").write_text("mine")
    (secret / "private").chmod(0o600)
    for path in (secret, secret / "private"):
        os.chown(path, APP, APP)
    app = await start(stage, image=image_root(root, user_id=APP, group_id=APP, home="/home/app"))
    assert await run(app, "read('/home/app/private'), os.stat('/home/app').st_uid == os.getuid()") == ["mine", True]
    assert await run(app, "write('/home/app/private', 'changed')")
    assert await run(app, "failure(write, '/etc/passwd', '')") == "EACCES"
    other = await start(stage)
    assert await run(other, "failure(read, '/home/app/private')") == "EACCES"
    assert await run(other, "write('/etc/passwd', '')")
    await stage.clear()
    assert (secret / "private").read_text() == "mine"
    shutil.rmtree(secret)


async def test_no_privileges_and_devices_come_with_an_image(stage: ContainerStage, root: Path) -> None:
    program, device = root / "srv" / "python", root / "srv" / "zero"
    shutil.copy(PYTHON, program)
    program.chmod(0o6755)
    if os.geteuid() == 0:
        os.mknod(device, 0o666 | stat.S_IFCHR, os.makedev(1, 5))
        device.chmod(0o666)
    actor = await start(stage)
    users = "import os; print(len({os.getuid(), os.geteuid(), os.getgid(), os.getegid()}))"
    assert await executed(actor, ("/srv/python", "-c", users)) == (0, b"1\n")
    assert await run(actor, "failure(read, '/srv/zero')") == ("EACCES" if os.geteuid() == 0 else "ENOENT")
    await stage.clear()
    for path in (program, device):
        path.unlink(missing_ok=True)


async def test_links_of_an_image_lead_nowhere_on_the_host(driver: JailDriver, root: Path, tmp_path: Path) -> None:
    hostile = tmp_path / "root"
    shutil.copytree(root, hostile, symlinks=True)
    target = tmp_path / "of-the-host"
    target.mkdir()
    target.chmod(0o777)
    shutil.rmtree(hostile / "etc")
    shutil.rmtree(hostile / "tmp")
    for name in ("etc", "tmp", "proc", "dev", "sys", "code", "mnt", "run"):
        (hostile / name).symlink_to(target)
    (hostile / "var").symlink_to(f"/.host{target}")
    stage = ContainerStage(driver, hostile)
    volumes = NasVolumes(tmp_path / "nas", {})
    mounted = volumes.provide(NasMount(server_addr="nas:/", mount_dir="/mnt/data", user_id=APP, group_id=APP))
    actor = await start(
        stage, code_dir=FUNCTIONS / "hello", volumes=(mounted,),
        image=image_root(hostile, working_dir="/run/work"),
    )  # fmt: skip
    assert "index.py" in await run(actor, "os.listdir('/code')")
    assert await run(actor, "write('/mnt/data/x', 'shared') and write('/tmp/x', '')")
    assert await run(actor, "os.path.samefile(os.getcwd(), '/run/work')")
    assert await run(actor, "len(read('/etc/hosts')) > 0 and os.readlink('/etc')") == str(target)
    await stage.clear()
    assert list(target.iterdir()) == []
    assert (tmp_path / "nas" / "nas" / "x").read_text() == "shared"


@pytest.mark.parametrize("linked", ["etc", "etc/passwd", "tmp"])
async def test_a_link_to_a_name_that_is_too_long_is_none(
    driver: JailDriver, root: Path, tmp_path: Path, linked: str
) -> None:
    odd = tmp_path / "root"
    shutil.copytree(root, odd, symlinks=True)
    if (odd / linked).is_dir():
        shutil.rmtree(odd / linked)
    (odd / linked).unlink(missing_ok=True)
    (odd / linked).symlink_to("x" * 256)
    stage = ContainerStage(driver, odd)
    actor = await start(stage)
    assert await run(actor, "len(read('/etc/hosts')) > 0 and write('/tmp/x', '')")
    await stage.clear()


async def test_links_of_an_image_hide_nothing_of_it(driver: JailDriver, root: Path, tmp_path: Path) -> None:
    linked = tmp_path / "root"
    shutil.copytree(root, linked, symlinks=True)
    (linked / "usr" / "state" / "log").mkdir(parents=True)
    (linked / "usr" / "state" / "log" / "kept").write_text("of the image")
    (linked / "etc").rename(linked / "usr" / "etc")
    (linked / "usr" / "etc" / "passwd").rename(linked / "usr" / "users")
    (linked / "usr" / "etc" / "passwd").symlink_to("../users")
    (linked / "usr" / "etc" / "motd").write_text("of the image")
    links = {"etc": "usr/etc", "var": "/usr/state", "app": "srv", "data": "/usr/state/data"}
    for name, target in {**links, "loop": "/loop"}.items():
        (linked / name).symlink_to(target)
    stage = ContainerStage(driver, linked)
    mounts = [
        NasMount(server_addr=f"nas{n}:/", mount_dir=at, user_id=APP, group_id=APP) for n, at in enumerate(MOUNTED)
    ]
    volumes = tuple(NasVolumes(tmp_path / "nas", {}).provide(mount) for mount in mounts)
    actor = await start(stage, volumes=volumes, image=image_root(linked, working_dir="/app"))
    assert await run(actor, "read('/etc/motd'), read('/var/log/kept'), read('file')") == ["of the image"] * 3
    assert await run(actor, f"[os.readlink('/' + name) for name in {list(links)}]") == list(links.values())
    assert await run(actor, "read('/usr/etc/hosts') == read('/etc/hosts') and socket.gethostname()") == await run(
        actor, "read('/etc/hostname').strip()"
    )
    assert await run(actor, "pwd.getpwuid(os.getuid()).pw_dir, pwd.getpwnam('app').pw_uid") == ["/root", APP]
    assert await run(actor, "write('/var/tmp/x', 'x') and os.stat('/usr/state/tmp').st_mode & 0o7777") == 0o1777
    assert await run(actor, f"[write(path + '/x', path) for path in {MOUNTED}]") == [True] * len(MOUNTED)
    await stage.clear()
    assert [(tmp_path / "nas" / f"nas{n}" / "x").read_text() for n in range(len(MOUNTED))] == MOUNTED


async def test_an_image_of_one_static_program(driver: JailDriver, tmp_path: Path) -> None:
    program = tmp_path / "root" / "server"
    program.parent.mkdir()
    command = ["gcc", "-static", "-O1", "-D_GNU_SOURCE", "-o", str(program), str(FUNCTIONS / "custom_c" / "server.c")]
    try:
        await asyncio.to_thread(subprocess.run, command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("there is no static C library to link with")
    stage = ContainerStage(driver, program.parent)
    actor = await start(stage, web_server=WebServer(command=("/server",)))
    assert (await actor.invoke(b"x")).ok
    assert (await executed(actor, ("/server-that-is-not-there",)))[0] == 127
    await stage.clear()


async def test_code_and_layers_lie_in_it(stage: ContainerStage, tmp_path: Path) -> None:
    layers = [tmp_path / "one", tmp_path / "two"]
    for layer in layers:
        layer.mkdir()
        (layer / layer.name).touch()
    actor = await start(stage, code_dir=FUNCTIONS / "hello", layer_dirs=tuple(layers))
    assert await run(actor, "sorted(os.listdir('/opt'))") == ["one", "two"]
    assert await run(actor, "failure(write, '/code/index.py', ''), failure(write, '/opt/x', '')") == ["EROFS", "EROFS"]


async def test_it_starts_where_the_image_says(stage: ContainerStage, root: Path) -> None:
    program = WebServer(command=("../../bootstrap",), port=8080)
    image = image_root(root, working_dir="/srv/data/new")
    actor = await start(stage, image=image, web_server=program, variables={"FC_SERVER_PORT": "8080"})
    assert await run(actor, "os.getcwd(), PORT") == ["/srv/data/new", 8080]


async def test_a_command_runs_in_the_image(stage: ContainerStage, root: Path) -> None:
    actor = await start(stage, image=image_root(root, working_dir="/srv"))
    assert await executed(actor, ("cat", "file")) == (0, b"of the image")
    assert (await executed(actor, ("/bin/sh", "-c", "test -e /var/sesame/runtime || test -e /.host")))[0] == 1
    assert (await executed(actor, ("nothing",)))[0] == 127


async def executed(actor: Any, argv: tuple[str, ...]) -> tuple[int, bytes]:
    execution = await actor.sandbox.exec(Command(argv=argv, stdin=False))
    output = b""
    while (piece := await execution.read()) is not None:
        output += piece[1]
    return await execution.wait(), output


@pytest.mark.parametrize(
    ("command", "problem", "said"),
    [
        (("/nothing",), StartProblem.MISSING, "the file /nothing is not exist"),
        (("nothing",), StartProblem.EXITED, "no such file or directory"),
        (("/etc/passwd",), StartProblem.PERMISSION, "may not be executed"),
        (("/bin/sh", "-c", "echo my last words; exit 3"), StartProblem.EXITED, "Logs:\nmy last words"),
    ],
)
async def test_a_start_that_fails_is_told(
    stage: ContainerStage, command: tuple[str, ...], problem: StartProblem, said: str
) -> None:
    with pytest.raises(ProgramFailed) as caught:
        await start(stage, web_server=WebServer(command=command))
    assert (caught.value.problem, said in str(caught.value)) == (problem, True), str(caught.value)


async def test_a_working_directory_that_cannot_be_entered_is_told(stage: ContainerStage, root: Path) -> None:
    image = image_root(root, working_dir="/proc/nothing")
    with pytest.raises(ProgramFailed, match="the working directory /proc/nothing cannot be entered: no such file"):
        await start(stage, image=image)


async def test_nothing_of_it_is_left(tmp_path: Path, root: Path, grade: str) -> None:
    traces = Traces()
    async with jail(tmp_path, ready_resources=0, ready_prewarmed=0, **GRADES[grade]) as driver:
        stage = ContainerStage(driver, root)
        actor = await start(stage)
        actor.sandbox.freeze()
        actor.sandbox.thaw()
        assert await run(actor, "1 + 1") == 2
        await stage.clear()
    assert await traces.settled() == {}


async def test_without_a_jail_there_are_no_images(tmp_path: Path, root: Path) -> None:
    driver = PlainDriver(lambda _runtime: web_servers.launch(), tmp_path)
    await driver.open()
    try:
        with pytest.raises(SandboxStartFailed, match="--sandbox jail"):
            await start(ContainerStage(driver, root))
    finally:
        await driver.close()
