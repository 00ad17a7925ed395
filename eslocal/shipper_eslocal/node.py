"""One node of a cluster: its folder, its settings, its process and its log."""

import contextlib
import json
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from shipper_eslocal import jvm, secure

FOLDERS = ("config", "data", "logs", "plugins", "tmp")
LOGGING = """\
status = error
appender.console.type = Console
appender.console.name = console
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = [%d{ISO8601}][%-5p][%c{1}] %m%n
rootLogger.level = info
rootLogger.appenderRef.console.ref = console
"""
TELLING = re.compile(r"^Caused by: |(Exception|Error)\b.*: |\[(ERROR|FATAL)")


@dataclass
class Node:
    """One node, whose folder is ``home``; ``process`` is None while it is not running."""

    home: Path
    port: int
    transport_port: int
    process: psutil.Process | None = None

    @property
    def log(self) -> Path:
        """Output of the process."""
        return self.home / "logs" / "server.log"

    @property
    def dump(self) -> Path:
        """The class archive that a clean stop writes."""
        return self.home / "classes.jsa"

    def write(self, settings: dict[str, Any], secrets: Path | None) -> None:
        """Write the node's folder. `secrets`: the folder of certificates and password; None without security."""
        for folder in FOLDERS:
            (self.home / folder).mkdir(parents=True, exist_ok=True)
        config = self.home / "config"
        (config / "log4j2.properties").write_text(LOGGING)
        own = {"node.name": self.home.name, "http.port": self.port, "transport.port": self.transport_port}
        if secrets:
            shutil.copytree(
                secrets / "tls", config / "tls", dirs_exist_ok=True
            )  # a node reads files only below its config
            secure.write_administrator(config, (secrets / "password").read_text())
        (config / "elasticsearch.yml").write_text(json.dumps(settings | own, indent=1) + "\n")  # JSON is YAML

    def launch(self, install: Path, *, heap: str, tuned: bool, write_archive: bool, ephemeral: Path | None) -> None:
        """Start the process in its own session. With `ephemeral` it ends with this process and removes that folder."""
        self.dump.unlink(missing_ok=True)  # left by a failed start
        archive = jvm.class_archive(install)
        command = jvm.command(
            install,
            self.home,
            heap=heap,
            tuned=tuned,
            archive=archive if archive.exists() else jvm.base_archive(install),
            dump=self.dump if write_archive and not tuned and not archive.exists() else None,
            ephemeral=ephemeral,
        )
        with self.log.open("wb") as log:
            self.process = psutil.Popen(
                command,
                stdin=subprocess.PIPE if ephemeral else subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.home,
                env=jvm.environment(),
                start_new_session=True,
            )

    def find(self) -> None:
        """Set `process` to the running process of this home, which another command may have started."""
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if str(self.home) in process.cmdline():
                    self.process = process
                    return

    def is_running(self) -> bool:
        """Whether the process exists and is no zombie."""
        if self.process is None:
            return False
        try:
            return self.process.is_running() and self.process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False

    def adopt_archive(self, install: Path) -> None:
        """Move the class archive that a clean stop has written into the cache, atomically."""
        if self.dump.exists() and self.dump.stat().st_size:
            part = jvm.class_archive(install).with_name(f"classes-{self.port}.part")
            shutil.move(self.dump, part)
            part.replace(jvm.class_archive(install))

    def last_words(self) -> str:
        """The most informative log line: the last cause, error or exception, else the last line."""
        try:
            lines = [line.strip() for line in self.log.read_text(errors="replace").splitlines() if line.strip()]
        except OSError:
            return "no log"
        plain = [re.sub(r"^\[[^\]]*\]\[WARN \]\[stderr\] ", "", line) for line in lines]
        telling = [line for line in plain if TELLING.search(line) and not line.startswith("at ")]
        return (telling or plain or ["empty log"])[-1][:400]
