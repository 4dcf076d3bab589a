"""`make install` and `make uninstall` for real, in a private view of the directories that they write to."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.kernel.mounts import with_mounts
from tests.needs import ROOT

PLACES = [Path("/opt"), Path("/usr/local/bin"), Path("/usr/local/share"), Path("/etc/systemd/system"), Path("/var/cache")]
MANAGER = Path("/run/systemd")  # so that the systemd of the machine, if one runs, hears nothing of it

# an administrator enables the service in between, as `systemctl enable` does
ALL = f"""
set -e
deploy/install.sh install 2>&1
mkdir /var/cache/tcptrace; touch /var/cache/tcptrace/kept.json
setpriv --reuid=65534 --regid=65534 --clear-groups sh -c 'cd / && /usr/local/bin/tcptrace --version'
bash -c '. /usr/local/share/bash-completion/completions/tcptrace && complete -p tcptrace'
test -s /usr/local/share/zsh/site-functions/_tcptrace
systemd-analyze verify --man=no /etc/systemd/system/tcptrace.service 2>&1
mkdir /etc/systemd/system/multi-user.target.wants
ln -s ../tcptrace.service /etc/systemd/system/multi-user.target.wants
deploy/install.sh uninstall 2>&1
find {" ".join(map(str, PLACES))} -not -type d >&2
"""


@pytest.mark.kernel
@pytest.mark.needs("systemd-analyze", "setpriv")
def test_what_is_installed_works_for_everybody_and_leaves_nothing_behind() -> None:
    command = with_mounts("bash", "-c", ALL, empty=[*PLACES, MANAGER])
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=280)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert any("sudo systemctl enable --now tcptrace" in line for line in lines)
    assert [line for line in lines if line.startswith("tcptrace 0.")] != []
    assert "complete -o default -F _tcptrace tcptrace" in lines
    assert "tcptrace: removed /etc/systemd/system/tcptrace.service" in lines


FOREIGN = """
printf '[Service]\\nExecStart=/usr/bin/tcptrace\\n' > /etc/systemd/system/tcptrace.service
deploy/install.sh "$1"
status=$?
cat /etc/systemd/system/tcptrace.service
exit $status
"""


@pytest.mark.kernel
@pytest.mark.parametrize("verb", ["install", "uninstall"])
def test_a_unit_of_somebody_else_is_left_alone(verb: str) -> None:
    command = with_mounts("bash", "-c", FOREIGN, "bash", verb, empty=[*PLACES, MANAGER])
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert "tcptrace.service exists and does not start /usr/local/bin/tcptrace" in done.stderr
    assert done.stdout == "[Service]\nExecStart=/usr/bin/tcptrace\n"
