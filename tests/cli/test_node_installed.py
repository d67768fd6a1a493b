"""What is installed on a machine says how its settings differ from those of the cluster that runs."""

from pathlib import Path

import msgspec
import sqlalchemy as sa
from tests.support.databases import new_database

from sesame._shared_settings import shared
from sesame.cli.node_installed import installed
from sesame.cluster.sameness import Same, encoded
from sesame.settings import Settings
from sesame.store.sql.backends import backend_of
from sesame.store.sql.cluster_schema import LEADERSHIP, cluster_leadership

KEY = b"k" * 32


def same(**changed: object) -> Same:
    return shared(msgspec.structs.replace(Settings(), **changed), KEY)


def test_settings_that_nodes_must_share_are_compared_with_those_of_the_cluster(tmp_path: Path) -> None:
    place = str(new_database(tmp_path / "db"))
    checked: list[bool] = []
    found = installed(place, lambda: checked.append(True), same)
    assert (found.differs, found.problem, checked) == ("", "", [True])
    assert found.database == max(found.knows)
    backend = backend_of(place)
    row = {"name": LEADERSHIP, "epoch": 1, "node": "a", "address": "", "renewed_at": 1.0}
    with sa.create_engine(f"sqlite:///{place}").begin() as connection:
        connection.execute(sa.insert(cluster_leadership), {**row, "settings": encoded(same(max_instances=7))})
    backend.close()
    assert installed(place, lambda: None, same).differs == (
        "max_instances is 100 on what is installed and 7 on the cluster that runs"
    )
    assert installed(place, lambda: None, lambda: same(max_instances=7)).differs == ""
    assert installed(None, lambda: None, same).differs == ""
