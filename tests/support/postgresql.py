"""A PostgreSQL of the tests' own: on a free port of loopback, in a temporary folder, as an ordinary user.

Its fixtures are imported by `tests/conftest.py`. Each pytest process has one server, started when a test first asks for
it, and each test a database of its own, copied from one that has all tables; the next test has it again, emptied, as to
make and to remove one takes longer than most tests.
"""

import asyncio
import atexit
import base64
import contextlib
import fcntl
import functools
import hashlib
import hmac
import itertools
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest
from tests.support import tied
from tests.support.pauses import Pauses

# PostgreSQL refuses to be started by root.
NOBODY = 65534
USER, PASSWORD = "sesame", "pass:word/@"
PASSWORD_IN_URL = "pass%3Aword%2F%40"
TEMPLATE = "template_sesame"
START_PATIENCE_S = 30.0
# Names, in each process of a parallel run, the folder that all of them share; set by `tests/conftest.py`.
SHARED = "SESAME_TEST_SHARED"
DONE = "-- done --"
# How `psql` ends where its connection was ended.
CONNECTION_LOST = 2
# Sorts as a language does, so that nothing is sorted right by chance. Every kill here is one of processes, which costs
# nothing that the kernel has; fsync would only slow the tests.
INITDB = ("--locale-provider=icu", "--icu-locale=en", "--locale=C.UTF-8", "--encoding=UTF8", "--no-sync")
OPTIONS = (
    "fsync=off", "full_page_writes=off", "shared_buffers=16MB", "max_connections=60", "log_min_messages=fatal",
    "autovacuum=off",
)  # fmt: skip
# What tells a database whose tables are those of the template: their columns, indexes, functions and triggers.
SHAPE = """
SELECT md5(string_agg(said, ';' ORDER BY said)) FROM (
    SELECT concat_ws(' ', relkind, relname, attname, atttypid, attnotnull) FROM pg_class
        JOIN pg_attribute ON attrelid = pg_class.oid WHERE relnamespace = 'public'::regnamespace AND attnum > 0
    UNION ALL SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace
    UNION ALL SELECT tgname FROM pg_trigger WHERE NOT tgisinternal
) AS each(said)
"""
# Ends its other connections, and leaves of its rows and numbers nothing.
EMPTIED = """
DO $$
DECLARE
    each regclass;
    filled boolean;
    names text[];
BEGIN
    PERFORM pg_terminate_backend(pid, 30000) FROM pg_stat_activity
        WHERE datname = current_database() AND pid <> pg_backend_pid();
    FOR each IN SELECT oid FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace LOOP
        EXECUTE format('SELECT EXISTS (SELECT FROM %s)', each) INTO filled;
        IF filled THEN names := names || each::text; END IF;
    END LOOP;
    IF names IS NOT NULL THEN EXECUTE 'TRUNCATE ' || array_to_string(names, ', ') || ' CASCADE'; END IF;
    PERFORM setval(oid::regclass, 1, false) FROM pg_class
        WHERE relkind = 'S' AND relnamespace = 'public'::regnamespace;
    DELETE FROM pg_statistic WHERE starelid IN (SELECT oid FROM pg_class WHERE relnamespace = 'public'::regnamespace);
END $$
"""
TABLES = "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"

_NAMES = itertools.count(1)


def binaries() -> Path | None:
    """The folder of `initdb` and `postgres`: that of PATH, else Debian's newest."""
    found = [Path(path).resolve() for path in (shutil.which("initdb"),) if path]
    found += sorted(
        Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]), reverse=True
    )
    return next((path.parent for path in found if (path.parent / "postgres").exists()), None)


class Server:
    """One cluster. `start`, `stop`, `kill` and `pause` may follow each other as often as one likes."""

    def __init__(self, folder: Path, bin_folder: Path, also: str = "", made: Path | None = None) -> None:
        """It listens at loopback, and at `also`, there with a password. Begins with the data of one that has ended."""
        self.folder = folder
        self._listens = ",".join(filter(None, ("127.0.0.1", also)))
        self._bin = bin_folder
        self._data = folder / "data"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._process: subprocess.Popen[bytes] | None = None
        self._psqls: dict[str, subprocess.Popen[str]] = {}
        self._idle: list[str] = []
        # Of the template: `SHAPE`, and what puts its rows into an emptied database.
        self._shape, self._refill = "", ""
        password = folder / "password"
        password.write_text(PASSWORD)
        if os.getuid() == 0:
            for path in (folder, password):
                os.chown(path, NOBODY, NOBODY)
        if made is None:
            how = ("--auth-host=scram-sha-256", "--auth-local=trust", f"--pwfile={password}")
            self._run("initdb", "-D", str(self._data), "-U", USER, *how, *INITDB)
        else:
            # With its owner and its modes.
            subprocess.run(["cp", "-a", str(made), str(self._data)], check=True)
        if also:
            with (self._data / "pg_hba.conf").open("a") as rules:
                rules.write("host all all 10.0.0.0/8 scram-sha-256\n")

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def url(self, database: str, *, user: str = USER, password: str = PASSWORD_IN_URL, options: str = "") -> str:
        return f"postgresql://{user}:{password}@127.0.0.1:{self.port}/{database}{options}"

    def start(self) -> None:
        where = (f"port={self.port}", f"listen_addresses={self._listens}", f"unix_socket_directories={self.folder}")
        self._process = subprocess.Popen(
            [str(self._bin / "postgres"), "-D", str(self._data), *(f"--{option}" for option in (*where, *OPTIONS))],
            stderr=(self.folder / "log").open("ab"), preexec_fn=tied.to_this_process(signal.SIGQUIT),
            **self._as_user(),
        )  # fmt: skip
        deadline, pauses = time.monotonic() + START_PATIENCE_S, Pauses(0.02)
        while self._try("SELECT 1") is None:
            assert self._process.poll() is None, (self.folder / "log").read_text()
            assert time.monotonic() < deadline, "PostgreSQL does not answer"
            pauses.block()

    def stop(self) -> None:
        """At once, with its clients' connections, but in order."""
        self._end_psql()
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(START_PATIENCE_S)
            self._process = None

    def kill(self) -> None:
        """Every process of it, as when its container is taken away."""
        assert self._process is not None
        self._end_psql()
        try:
            processes = psutil.Process(self._process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            processes = []
        self._process.kill()
        self._process.wait()
        self._process = None
        for process in processes:
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue
        psutil.wait_procs(processes, START_PATIENCE_S)

    def pause(self, *, on: bool) -> None:
        """Stops or continues every process: the server is there and says nothing."""
        assert self._process is not None
        main = psutil.Process(self._process.pid)
        for process in (main, *main.children(recursive=True)):
            try:
                process.send_signal(signal.SIGSTOP if on else signal.SIGCONT)
            except psutil.NoSuchProcess:
                continue

    def sql(self, statement: str, database: str = "postgres") -> str:
        """What `psql` prints: rows as lines, columns split by `|`."""
        found = self._try(statement, database)
        assert found is not None, statement
        return found

    def template_made(self) -> None:
        """From here on `borrow` has copies of it."""
        self._shape = self._do(SHAPE, TEMPLATE)
        for table in self._do(TABLES, TEMPLATE).splitlines():
            rows = self._do(f"SELECT json_agg(t) FROM {table} t", TEMPLATE).replace("'", "''")
            if rows:
                self._refill += f"; INSERT INTO {table} SELECT * FROM json_populate_recordset(NULL::{table}, '{rows}')"

    def borrow(self) -> str:
        """A database as the template; returns its name. The one that was given back last, if there is any."""
        return self._idle.pop() if self._idle else self.create()

    def give_back(self, name: str) -> None:
        """Empties a database for the next who borrows one. One whose tables were changed is dropped."""
        look = f"SELECT coalesce(({SHAPE}) = '{self._shape}', false) AS same \\gset"
        same = self._do(f"{look}\n\\if :same\n{EMPTIED}{self._refill};\n\\endif\nSELECT :'same'", name)
        if same == "t":
            self._idle.append(name)
        else:
            self.drop(name)

    def create(self, template: str = TEMPLATE, options: str = "") -> str:
        """A new database; returns its name."""
        name = f"d{os.getpid()}_{next(_NAMES)}"
        # Nobody else may be connected to what is copied.
        self._end_psql(template)
        self._do(f"CREATE DATABASE {name} TEMPLATE {template} {options}")
        return name

    def drop(self, name: str) -> None:
        self._end_psql(name)
        self._do(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def _do(self, statement: str, database: str = "postgres") -> str:
        """By a `psql` that stays with its database, as to connect takes longer than most statements."""
        said, code = self._ask(statement, database)
        if code == CONNECTION_LOST:
            # A test may end every connection to its database.
            said, code = self._ask(statement, database)
        assert code is None, f"{statement}: {said}"
        return said.strip()

    def _ask(self, statement: str, database: str) -> tuple[str, int | None]:
        """What it prints, and how it ended if it did, as it does at the first error."""
        if database not in self._psqls:
            self._psqls[database] = subprocess.Popen(
                [*self._psql_command, self._local_url(database)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            )  # fmt: skip
        psql = self._psqls[database]
        assert psql.stdin is not None
        assert psql.stdout is not None
        psql.stdin.write(f"{statement};\n\\echo {DONE}\n")
        psql.stdin.flush()
        said: list[str] = []
        for line in psql.stdout:
            if line == f"{DONE}\n":
                return "".join(said), None
            said.append(line)
        code = psql.wait()
        self._end_psql(database)
        return "".join(said), code

    def _end_psql(self, *databases: str) -> None:
        """Those of these databases, or all."""
        for each in databases or list(self._psqls):
            if psql := self._psqls.pop(each, None):
                psql.kill()
                psql.communicate()

    def _local_url(self, database: str) -> str:
        """By its socket, where it asks for no password, which takes longer to check than most statements."""
        return f"postgresql://{USER}@/{database}?host={self.folder}&port={self.port}"

    @property
    def _psql_command(self) -> list[str]:
        return [str(self._bin / "psql"), "-XAtq", "-v", "ON_ERROR_STOP=1"]

    def _try(self, statement: str, database: str = "postgres") -> str | None:
        command = [*self._psql_command, "-c", statement, self._local_url(database)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return done.stdout.strip() if done.returncode == 0 else None

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [str(self._bin / program), *arguments], capture_output=True, text=True, check=False, **self._as_user()
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def _as_user(self) -> dict[str, Any]:
        own: dict[str, Any] = {"cwd": self.folder}
        return {**own, "user": NOBODY, "group": NOBODY, "extra_groups": []} if os.getuid() == 0 else own


@contextlib.contextmanager
def own_server(also: str = "") -> Iterator[Server]:
    """A started server that nothing else uses; skips the test where PostgreSQL is not installed.

    Machines of the test's own reach it at the address `also`.
    """
    found = binaries()
    if found is None:
        pytest.skip("PostgreSQL is not installed: apt install postgresql")
    with tempfile.TemporaryDirectory(prefix="sesame-postgresql-", ignore_cleanup_errors=True) as folder:
        server = Server(Path(folder), found, also, _made_data(found))
        server.start()
        try:
            yield server
        finally:
            server.stop()


def _made_data(bin_folder: Path) -> Path:
    """Of a server that ended in order, with `TEMPLATE`, which has all tables. To copy takes less than to make it.

    Made once for all processes of a parallel run, by the first that needs it, in the folder that they share.
    """
    shared = _shared_folder()
    with (shared / "postgresql.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        folder = shared / "postgresql"
        if not (shared / "postgresql.made").exists():
            folder.mkdir()
            server = Server(folder, bin_folder)
            server.start()
            try:
                server.sql(f"ALTER ROLE {USER} PASSWORD '{_verifier()}'")
                server.sql(f"CREATE DATABASE {TEMPLATE}")
                # In a thread, as the test that asks may have a loop of its own.
                with ThreadPoolExecutor(1) as thread:
                    thread.submit(asyncio.run, _make_tables(server.url(TEMPLATE))).result()
            finally:
                server.stop()
            (shared / "postgresql.made").touch()
    return folder / "data"


def _verifier() -> str:
    """What the server keeps of the password (RFC 5803): of one round, where each connection computes 4,096."""
    salt, rounds = b"of tests", 1
    salted = hashlib.pbkdf2_hmac("sha256", PASSWORD.encode(), salt, rounds)
    client, server = (hmac.digest(salted, name, "sha256") for name in (b"Client Key", b"Server Key"))
    kept = [base64.b64encode(each).decode() for each in (salt, hashlib.sha256(client).digest(), server)]
    return f"SCRAM-SHA-256${rounds}:{kept[0]}${kept[1]}:{kept[2]}"


async def _make_tables(url: str) -> None:
    # Imported here, as each run of pytest imports this file and few need a database.
    from sesame.store.sql.database import Database

    database = Database(url)
    await database.open()
    await database.close()


@functools.cache
def _shared_folder() -> Path:
    """Removed when this process ends, or, in a parallel run, when the whole run does."""
    given = os.environ.get(SHARED, "")
    # Tests run others as another user.
    if os.access(given, os.W_OK):
        return Path(given)
    made = tempfile.TemporaryDirectory(prefix="sesame-made-", ignore_cleanup_errors=True)
    atexit.register(made.cleanup)
    Path(made.name).chmod(0o755)
    return Path(made.name)


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[Server]:
    """A server with a database that has all tables, `TEMPLATE`; skips where PostgreSQL is not installed."""
    with own_server() as server:
        server.template_made()
        yield server


@pytest.fixture
def postgresql_url(postgresql_server: Server) -> Iterator[str]:
    """The URL of a database of the test's own, with empty tables."""
    name = postgresql_server.borrow()
    yield postgresql_server.url(name)
    postgresql_server.give_back(name)
