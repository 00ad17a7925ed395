"""One module per command, imported only when chosen: ``add_arguments(parser)``, ``run(args, config) -> int``.

A module may have ``SECTIONS``, the sections of the configuration that it reads (all, if it has none); an empty tuple
means that it needs no configuration and gets the defaults. For --help it may have ``DETAILS``, more sentences, and
``EXAMPLES``, which maps command lines without ``shipper`` to what they do. ``args.whole_parser()`` is the parser of all
commands.
"""

from collections.abc import Mapping
from typing import Final

# In the order of --help; a command is available if its module is installed
HELP: Final[Mapping[str, str]] = {
    "run": "collect every period and ship to Elasticsearch until a signal",
    "once": "read twice, one period apart, and print the documents",
    "demo": "start Elasticsearch here, ship this machine's metrics to it and read them back",
    "setup": "bring Elasticsearch in line with the configuration: templates, streams, keys",
    "render": "write the rendered files: mappings, dashboards, alert rules, units, documentation",
    "check": "check configuration, host view, spool and (--online) server",
    "doctor": "find the mistakes that people make most, and say what mends each",
    "status": "show the running agent: what became of every document, delivery, last tick, problems",
    "top": "show all hosts and what runs on them, now or at an earlier time, from Elasticsearch",
    "why": "say which resource of a host, container or unit is short, since when, who uses it, and what changed before",
    "compare": "compare what a host, container, unit or image uses before and after a change",
    "forecast": "say when filesystems, limits and kernel tables will be full at their present growth",
    "usage": "print the core-hours and GiB-hours that each container, image, pod, namespace or label used",
    "report": "write the dashboards for a time range into one HTML page, for offline use or an incident",
    "fields": "print the fields that match a word, or all that is known of one field",
    "alerts": "judge the alert rules against Elasticsearch; exit status 0 ok, 1 warning, 2 critical, 3 unknown",
    "spool": "show the documents on disk: those waiting for the server and those it rejected",
    "dashboards": "install the dashboards in Grafana or Kibana, or write them into files",
    "units": "list, print or install the units, manifests and jobs that run the shipper on every host",
    "completion": "print the completion of this command line for a shell",
}
