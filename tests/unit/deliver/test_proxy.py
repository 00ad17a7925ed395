"""Which proxy leads to a server."""

import pytest

from shipper.deliver import proxy

ENVIRON = {
    "https_proxy": "http://u:p%40ss@proxy:3128",
    "HTTP_PROXY": "plain:80",
    "NO_PROXY": "direct.example,.inside.example,10.0.0.7:9200",
}


@pytest.mark.parametrize(
    ("server", "configured", "expected"),
    [
        ("https://es.example:9200", "", "http://u:p%40ss@proxy:3128"),
        ("http://es.example:9200", "", "http://plain:80"),
        ("https://es.example:9200", "http://other:1", "http://other:1"),
        ("https://es.example:9200", "none", ""),
        ("https://direct.example:9200", "", ""),
        ("https://a.inside.example", "", ""),
        ("http://10.0.0.7:9200", "", ""),
        ("http://127.0.0.1:9200", "", ""),
        ("http://[::1]:9200", "", ""),
        ("https://localhost:9200", "", ""),
    ],
)
def test_a_server_is_reached_through(server: str, configured: str, expected: str) -> None:
    assert proxy.of(server, configured, ENVIRON) == expected


def test_without_variables_there_is_no_proxy() -> None:
    assert proxy.of("https://es.example", "", {"HTTPS_PROXY": ""}) == ""
