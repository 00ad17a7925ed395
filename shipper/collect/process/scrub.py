"""Hide secrets in the arguments of processes, by tables of names, programs and formats.

The tables below are the whole list, which README.md describes. Secrets that the list does not cover are published.
"""

import itertools
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

HIDDEN: Final = "***"

# A name is secret if it contains one of these, or if one of WORDS is a word in it (--db-pass, dbPass, DB_PASS)
PARTS: Final = (
    *("password", "passwd", "passphrase", "passcode", "secret", "credential", "authorization", "bearer"),
    *("apikey", "accesskey", "privatekey", "keypass", "storepass", "userpass", "requirepass", "masterauth", "dbpass"),
)
WORDS: Final = ("pass", "pwd", "pw", "token", "cookie", "signature", "sig", "psk", "otp", "jwt", "auth", "dsn")
# A key is secret if one of these words stands before it: --api-key, AZURE_STORAGE_KEY
KEYS: Final = (
    *("api", "access", "secret", "private", "auth", "account", "shared", "master", "encryption", "signing", "storage"),
    *("service", "admin", "client", "host", "session", "license"),
)
# … but not if it ends in one of these: --password-file, --token-ttl
NOT_SECRET: Final = (
    *("file", "path", "dir", "stdin", "prompt", "fd", "ttl", "timeout", "length", "type", "name", "mode", "method"),
    *("expiry", "policy", "url", "uri", "endpoint", "issuer", "env", "version", "sock"),
)

# Short options of programs, or of their subcommands. The value follows, or is attached: redis-cli -a VALUE, mysql -pVALUE
SEPARATE: Final[Mapping[str, str]] = {
    **dict.fromkeys(("redis-cli", "valkey-cli", "redis-benchmark", "keydb-cli"), "-a"),
    **{f"{name} login": "-p" for name in ("docker", "podman", "nerdctl", "skopeo", "buildah", "az", "oc", "cf")},
    **dict.fromkeys(("sshpass", "mongo", "mongosh", "mongodump", "mongorestore", "mongoexport", "mongoimport"), "-p"),
    **dict.fromkeys(("cqlsh", "useradd", "usermod", "rdesktop"), "-p"),
    "nodetool": "-pw",
    **dict.fromkeys(("ldapsearch", "ldapmodify", "ldapadd", "ldapdelete", "ldappasswd", "ldapwhoami", "ldapcompare"), "-w"),
    **dict.fromkeys(("sqlcmd", "bcp", "ipmitool", "mosquitto_pub", "mosquitto_sub", "zip", "unzip", "tsql", "isql"), "-P"),
    **dict.fromkeys(("snmpget", "snmpwalk", "snmpset", "snmpbulkwalk", "snmpgetnext", "snmptrap"), "-c -A -X"),
}  # fmt: skip
ATTACHED: Final[Mapping[str, str]] = {
    **dict.fromkeys(("mysql", "mysqldump", "mysqladmin", "mysqlcheck", "mysqlimport", "mysqlshow", "mariadb"), "-p"),
    **dict.fromkeys(("mariadb-dump", "mariadb-admin", "sshpass", "7z", "7za", "7zr", "rar", "unrar"), "-p"),
    **dict.fromkeys(("redis-cli", "valkey-cli", "redis-benchmark"), "-a"),
    **dict.fromkeys(("ldapsearch", "ldapmodify", "ldapadd", "ldapdelete", "ldappasswd", "ldapwhoami"), "-w"),
    **dict.fromkeys(("sqlcmd", "bcp", "ipmitool", "zip", "unzip"), "-P"),
    **dict.fromkeys(("xfreerdp", "wfreerdp"), "/p:"),
}  # fmt: skip
# Options whose value is USER:PASSWORD or USER%PASSWORD
USERS: Final[Mapping[str, str]] = {
    "curl": "-u --user -U --proxy-user",
    "wget": "--user",
    "http": "-a --auth",
    "https": "-a --auth",
    "etcdctl": "--user",
    "ab": "-A -P",
    "smbclient": "-U --user",
    "rpcclient": "-U --user",
    "net": "-U --user",
}
# Subcommands after which all further arguments are secret: rabbitmqctl add_user NAME VALUE
AFTER: Final[Mapping[str, str]] = {
    "rabbitmqctl": "add_user change_password authenticate_user",
    "htpasswd": "-b -bc -cb -nb -bn",
    "vault": "login",
}
# Values with a known format, at any place
FORMS: Final = (
    r"gh[oprsu]_[A-Za-z0-9]{20,}", r"github_pat_\w{20,}", r"glpat-[\w-]{16,}", r"xox[abeoprs]-[\w-]{10,}",
    r"AKIA[0-9A-Z]{16}", r"ASIA[0-9A-Z]{16}", r"AIza[\w-]{30,}", r"hv[sb]\.[\w-]{16,}", r"dckr_pat_[\w-]{16,}",
    r"npm_[A-Za-z0-9]{30,}", r"pypi-[\w-]{40,}", r"sk-[\w-]{20,}", r"sk_live_\w{16,}",
    r"eyJ[\w-]{8,}\.eyJ[\w-]{8,}(?:\.[\w-]*)?", r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*",
)  # fmt: skip

_MOST: Final = 512  # arguments that are shown
_LONGEST: Final = 8192  # characters of an argument
_FORM: Final = re.compile("|".join(FORMS), re.DOTALL)
# user:password@ or token@ after a scheme; the password may contain an @
_USERINFO: Final = re.compile(r"(?<=://)([^/\s?#'\"]*)@")
_ASSIGNED: Final = re.compile(r"([A-Za-z_][\w.-]*)([\"']?\s*[=:]\s*)(?=\S)")
_ORACLE: Final = re.compile(r"(?<=:thin:)[^@\s]+(?=@)")
_NAME: Final = re.compile(r"-{0,2}([A-Za-z_][\w.-]*):?")
_CLUSTER: Final = re.compile(r"-[A-Za-z]{2,6}")
_CAMEL: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")


def is_secret(name: str) -> bool:
    """Whether a value with this name is a secret."""
    words = [word.lower() for word in _CAMEL.findall(name)]
    if not words or words[-1] in NOT_SECRET:
        return False
    joined = "".join(words)
    if any(part in joined for part in PARTS) or any(word in WORDS or word.endswith("token") for word in words):
        return True
    return any(word == "key" and before in KEYS for before, word in itertools.pairwise(words))


def scrubbed(arguments: Iterable[str]) -> list[str]:
    """The arguments, with known secrets replaced by HIDDEN."""
    return _scrub([argument[:_LONGEST] for argument, _ in zip(arguments, range(_MOST), strict=False)], scripts=True)


def _scrub(arguments: Sequence[str], *, scripts: bool) -> list[str]:
    shown: list[str] = []
    programs: set[str] = set()  # names of programs and subcommands so far
    rest_is_secret = False
    hides_next = ""  # "all" of the argument, or what follows the "user"
    for argument in arguments:
        if rest_is_secret and not argument.startswith("-"):
            shown.append(HIDDEN)
            continue
        if hides_next:
            shown.append(HIDDEN if hides_next == "all" else _without_password(argument))
            hides_next = ""
            continue
        hides_next = _announces(argument, programs, first=not shown)
        rest_is_secret |= argument in _options(AFTER, programs)
        shown.append(_attached(argument, programs) or _scrub_argument(argument, scripts=scripts))
        if (program := argument.rpartition("/")[2]) in _PROGRAMS:
            programs.add(program)
    return shown


_PROGRAMS: Final = frozenset(
    word for table in (SEPARATE, ATTACHED, USERS, AFTER) for key in table for word in key.split()
)


def _options(table: Mapping[str, str], programs: set[str]) -> list[str]:
    return [option for key, options in table.items() if programs.issuperset(key.split()) for option in options.split()]


def _announces(argument: str, programs: set[str], *, first: bool) -> str:
    """How to hide the next argument: ``all``, ``user`` (what follows the user), or not at all."""
    named = _NAME.fullmatch(argument)
    if named and not first and is_secret(named[1]):
        return "all"
    cluster = f"-{argument[-1]}" if _CLUSTER.fullmatch(argument) else argument  # -sSu is -s -S -u
    for table, how in ((SEPARATE, "all"), (USERS, "user")):
        options = _options(table, programs) if programs else []
        if argument in options or cluster in options:
            return how
    return ""


def _attached(argument: str, programs: set[str]) -> str:
    """The argument with the value of its option hidden; empty if no option of the programs is in it."""
    for option in _options(ATTACHED, programs) if programs else ():
        if argument.startswith(option) and len(argument) > len(option) and not argument.startswith("--"):
            return option + HIDDEN
    for option in _options(USERS, programs) if programs else ():
        value = argument.removeprefix(option)
        is_long = option.startswith("--")
        if value != argument and value.strip("=") and (value.startswith("=") or not is_long):
            return f"{option}{'=' if is_long else ''}{_without_password(value.removeprefix('=') if is_long else value)}"
    return ""


def _without_password(text: str) -> str:
    """``USER:PASSWORD`` → ``USER:***``; a single word is hidden, because it may be a token."""
    user, sign, _ = text.partition(":") if ":" in text else text.partition("%")
    return f"{user}{sign}{HIDDEN}" if sign else HIDDEN


def _scrub_argument(argument: str, *, scripts: bool) -> str:
    """One argument: assignments, headers, addresses and known formats; a script is scrubbed word by word first."""
    if scripts and len(words := _words(argument)) > 1:
        hidden = _scrub(words, scripts=False)
        if hidden != words:
            argument = " ".join(hidden)
    for match in _ASSIGNED.finditer(argument):
        if is_secret(match[1]) and not argument.startswith("//", match.end()):
            argument = argument[: match.end()] + HIDDEN
            break
    argument = _ORACLE.sub(HIDDEN, argument)
    argument = _USERINFO.sub(lambda match: _userinfo(match[1]), argument)
    return _FORM.sub(HIDDEN, argument)


def _words(argument: str) -> list[str]:
    if argument[:1] in "{[<" or not any(char.isspace() for char in argument):
        return [argument]
    try:
        return shlex.split(argument)
    except ValueError:
        return argument.split()


def _userinfo(text: str) -> str:
    user, colon, _ = text.partition(":")
    return f"{user}:{HIDDEN}@" if colon else f"{HIDDEN}@"
