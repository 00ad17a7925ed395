"""Whether a configuration is usable, checked before anything depends on it."""

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

from shipper.base.errors import ConfigError, UserError
from shipper.deliver import credentials
from shipper.deliver.spool import Spool
from shipper.kernel import hostview
from shipper.kernel.source import Root
from shipper.settings.config import Config


@dataclass(frozen=True)
class Reload:
    """What a reload would do. ``fault``: why it is impossible; ``spool``: the new directory, if the spool moves."""

    fault: str = ""
    spool: str = ""


def connection_faults(config: Config, environ: Mapping[str, str] = os.environ) -> Iterator[ConfigError]:
    """Every secret and certificate that is unusable; sends nothing."""
    wanted = config.elasticsearch
    parts: tuple[Callable[[], object], ...] = (
        lambda: credentials.authorization(wanted, environ),
        lambda: credentials.tls(replace(wanted, client_cert_file="", client_key_file="")),
        lambda: credentials.tls(replace(wanted, ca_file="")),
    )
    for part in parts:
        try:
            part()
        except ConfigError as error:
            yield error


def reload(load: Callable[[], Config], running: Config) -> Reload:
    """Check everything that can fail with the configuration of ``load``, while the ``running`` one continues."""
    try:
        config = load()
        faults = [str(fault) for fault in connection_faults(config)]
        if faults:
            return Reload("; ".join(faults))
        if config.host.verify:
            hostview.require(hostview.examine(Root(config.collect.host_root), config.host.name))
        if config.spool.directory == running.spool.directory:
            return Reload()
        Spool(config.spool.directory, config.spool.max_bytes).close()
        return Reload(spool=config.spool.directory)
    except UserError as error:
        return Reload(str(error))
    except Exception as error:  # noqa: BLE001 – whatever is wrong with the new one, the running one goes on
        return Reload(f"{type(error).__name__}: {error}")
