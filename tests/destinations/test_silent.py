"""Which destinations get no records here, and that the log says so at the start and when they are set.

Run by pytest over a real catalog.
"""

from pathlib import Path

from structlog.testing import capture_logs
from tests.destinations.test_records import ARNS

from sesame.destinations.routes import Routes
from sesame.destinations.silent import NAMED_MAX, tell_silent_destinations
from sesame.model import records
from sesame.model.configs import AsyncConfig, Destination, DestinationConfig, async_config_name
from sesame.model.kinds import KINDS
from sesame.store.catalog import Catalog
from sesame.store.sql.database import Database

QUEUE, BUS = "acs:mns:::/queues/q/messages", "acs:eventbridge:::eventbus/b"


async def test_the_log_names_destinations_of_services_that_are_not_here(tmp_path: Path) -> None:
    database = Database(tmp_path / "db")
    await database.open()
    catalog = Catalog(database, KINDS)
    await catalog.open()

    async def put(function: str, on_success: str, on_failure: str = "http://h/") -> None:
        destinations = DestinationConfig(on_success=Destination(on_success), on_failure=Destination(on_failure))
        config = AsyncConfig("s", function, "LATEST", destination_config=destinations)
        name = async_config_name(function, "LATEST")
        await catalog.edit(lambda tx: tx.put(records.ASYNC_CONFIG, "s", name, config))

    for number in range(NAMED_MAX + 2):
        await put(f"f{number:02}", QUEUE)
    await put("g", "services/s/functions/f", "acs:mq:::/instances/i/topic/t")
    with capture_logs() as at_start:
        tell_silent_destinations(catalog, Routes(ARNS, {"acs:eventbridge:": "http://eb/"}))
    assert {entry["log_level"] for entry in at_start} == {"warning"}
    assert [entry["destination"] for entry in at_start] == [QUEUE, "acs:mq:::/instances/i/topic/t"]
    assert at_start[0]["functions"].endswith("s/f09 …")
    with capture_logs() as later:
        await put("h", BUS)
        await put("h", "http://h/", QUEUE)
        await catalog.edit(lambda tx: tx.delete(records.ASYNC_CONFIG, "s", async_config_name("h", "LATEST")))
    (told,) = later
    assert (told["functions"], told["destination"]) == ("s/h", QUEUE)
    assert "--destinations" in told["reason"]
    await database.close()
