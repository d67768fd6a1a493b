import json
import urllib.request
from pathlib import Path

HERE = Path(__file__).parent


def test_paths_of_one_name_lead_to_two_functions(sesame):
    sesame.deploy_template(HERE / "template.yml")

    def ask(path):
        request = urllib.request.Request(sesame.endpoint + path, headers={"Host": "shop.localhost"})
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request) as answer:
            return answer.read().decode()

    assert ask("/about") == "<h1>/about</h1>"
    assert json.loads(ask("/api/orders")) == {"path": "/api/orders", "host": "shop.localhost"}
