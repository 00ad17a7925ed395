"""What a single right would mend is one line, which names the right."""

from shipper.agent.problems import grouped
from shipper.kernel.source import Problem


def test_files_that_may_not_be_read_are_one_line() -> None:
    refused = [
        Problem(f"var/lib/docker/containers/{number}/config.v2.json", "Permission denied") for number in range(55)
    ]
    found = list(grouped([refused[0], Problem("proc/stat", "not a number"), *refused[1:]]))
    rights = "run as root, or with CAP_DAC_READ_SEARCH and CAP_SYS_PTRACE"
    what = "var/lib/docker/containers/0/config.v2.json and 54 more files: permission denied"
    assert found == [("proc/stat", "proc/stat: not a number"), ("refused", f"{what}; {rights}")]
    (one,) = grouped(refused[:1])
    assert one == ("refused", f"{refused[0].file}: permission denied; {rights}")
    assert list(grouped([])) == []
