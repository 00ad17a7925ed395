"""API keys and roles with the least privileges for three users: setup, the agent, and readers."""

import base64
from typing import Any, Final

from shipper.base.errors import ServerError
from shipper.deliver.client import Connection, call
from shipper.schema import stream_names
from shipper.server.plan import Body, Request, Step
from shipper.settings.config import Config

_PATH: Final = "/_security/api_key"
_ALL: Final = ["metrics-shipper.*", "shipper-*"]
_SHIPPING: Final = ["create_doc", "auto_configure"]
_CLOCK: Final = ["cluster:monitor/health"]  # the smallest privilege that returns the server's time; see client.skew_ms
_LABEL: Final = {"managed_by": "shipper"}
ROLES: Final[dict[str, Body]] = {
    "shipper_setup": {
        "cluster": ["monitor", "manage_index_templates", "manage_ilm", "manage_own_api_key"],
        # "manage": streams, mappings, settings, lifecycle and rollover; a key has no more privileges than its owner
        "indices": [{"names": _ALL, "privileges": ["manage", *_SHIPPING]}],
        "metadata": _LABEL,
    },
    "shipper_agent": {"cluster": _CLOCK, "indices": [{"names": _ALL, "privileges": _SHIPPING}], "metadata": _LABEL},
    "shipper_reader": {
        "cluster": [],
        "indices": [{"names": _ALL, "privileges": ["read", "view_index_metadata"]}],
        "metadata": _LABEL,
    },
}


def pattern(config: Config) -> str:
    """The names that an agent's key may write to."""
    return "shipper-*" if config.index.layout == "dated" else stream_names.stream("*", config.index.namespace)


def key_body(config: Config) -> Body:
    """The least privileges for shipping: create documents and the streams for them, and ask for the server's time."""
    rights = {"names": [pattern(config)], "privileges": _SHIPPING}
    return {
        "name": f"shipper {pattern(config)}",
        "role_descriptors": {"shipper": {"cluster": _CLOCK, "index": [rights]}},
        "metadata": _LABEL,
    }


def requests(config: Config, *, with_key: bool) -> list[Request]:
    """The requests for roles, and for the key if wanted, as ``setup --print`` shows them."""
    roles = [Request("PUT", f"/_security/role/{name}", body, "by --create-roles") for name, body in ROLES.items()]
    key = [Request("POST", _PATH, key_body(config), "creates a new key each time")] if with_key else []
    return [*roles, *key]


def create_key(client: Connection, config: Config) -> str:
    """Create an API key and return it as ``id:key``, the form that ``elasticsearch.api_key_file`` holds.

    Raises ServerError, also for a key that could not ship: a key has no privilege that its owner lacks.
    """
    made = _asked(client, "POST", _PATH, key_body(config))
    key = f"{made['id']}:{made['api_key']}"
    with_key = Connection(client.transport, {"authorization": f"ApiKey {base64.b64encode(key.encode()).decode()}"})
    lacking = missing_rights(with_key, [pattern(config)])
    if lacking:
        call(client, "DELETE", _PATH, {"ids": [made["id"]], "owner": True})
        raise ServerError(
            f"no key was created: {_owner(client)} lacks {', '.join(lacking)}, and a key has no more privileges than "
            "its owner; give the owner the role shipper_setup or shipper_agent (see shipper setup --create-roles)"
        )
    return key


def missing_rights(client: Connection, names: list[str]) -> list[str]:
    """Privileges for shipping to ``names`` that these credentials lack. Raises ServerError."""
    wanted = {"index": [{"names": names, "privileges": _SHIPPING}]}
    answer = call(client, "POST", "/_security/user/_has_privileges", wanted)
    return [
        f"{right} on {name}" for name, rights in answer["index"].items() for right, has in rights.items() if not has
    ]


def _asked(client: Connection, method: str, path: str, body: Body | None = None) -> Any:
    """Like ``call``, for what only a server with security supports."""
    try:
        return call(client, method, path, body)
    except ServerError as error:
        if "no handler found" in str(error):
            raise ServerError(
                "security is off on this server, so agents need no keys and roles; "
                "to turn security on, set xpack.security.enabled: true",
                error.status,
            ) from error
        raise


def _owner(client: Connection) -> str:
    try:
        answer: Any = call(client, "GET", "/_security/_authenticate")
        return f"user {answer['username']}"
    except (ServerError, KeyError, TypeError):
        return "this user"


def role_steps(client: Connection) -> list[Step]:
    """A step for each role; a role that somebody changed is overwritten only with consent. Raises ServerError."""
    return [_role_step(client, name, body) for name, body in ROLES.items()]


def _role_step(client: Connection, name: str, body: Body) -> Step:
    path = f"/_security/role/{name}"
    answer = _asked(client, "GET", path)
    put = [Request("PUT", path, body)]
    if not answer:
        return Step(f"created    role {name}", put)
    present = answer[name]
    if _rights(present) == _rights(body):
        return Step(f"unchanged  role {name}")
    return Step(f"updated    role {name}", put, [f"role {name}: {_rights(present)} → {_rights(body)}"])


def _rights(role: Body) -> dict[str, Any]:
    indices = sorted((sorted(entry["names"]), sorted(entry["privileges"])) for entry in role.get("indices", ()))
    return {"cluster": sorted(role.get("cluster", ())), "indices": indices}
