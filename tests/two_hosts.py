"""Two hosts in one machine: namespaces with a name, an address and process ids of their own, and a shaped link.

Needs root, and ``ip`` and ``tc``. A host is held by a process that ends with whoever started it, and nothing
of it has a name outside: when that process ends, the kernel ends the others of the host and takes the link away.
"""

import contextlib
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import psutil

LINK, RATE = "link0", "200mbps"  # in the words of tc, whose mbps are megabytes a second
TOOLS = ("ip", "tc", "unshare", "nsenter", "hostname")
_SPACES = ("--net", "--uts", "--pid", "--mount")


def tool(name):
    """Find a program where an administrator has it; None where it is missing."""
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")


def whats_missing():
    """Tell why there can be no two hosts here; None where there can."""
    if absent := [name for name in TOOLS if tool(name) is None]:
        return f"no program {', '.join(absent)}"
    tried = subprocess.run(
        [tool("unshare"), *_SPACES, "--fork", "--mount-proc", tool("ip"), "link", "add", LINK, "type", "veth"],
        capture_output=True, text=True,
    )  # fmt: skip
    return None if tried.returncode == 0 else f"no namespaces with a link: {tried.stderr.strip()}"


@dataclass
class Host:
    """A host: its name, its address, and the process that holds it."""

    name: str
    address: str
    holder: subprocess.Popen
    started: list[subprocess.Popen] = field(default_factory=list)

    @property
    def inside(self):
        """Words before a command that is to run on the host."""
        (first,) = psutil.Process(self.holder.pid).children()
        return [tool("nsenter"), f"--target={first.pid}", *_SPACES]

    def run(self, *command):
        """Run a command on the host until it ends."""
        subprocess.run([*self.inside, *command], check=True)

    def start(self, *command, **options):
        """Start a process on the host."""
        self.started.append(subprocess.Popen([*self.inside, *map(str, command)], **options))
        return self.started[-1]

    def python(self, module, *arguments, **options):
        """Start a module of Python on the host."""
        return self.start(sys.executable, "-m", module, *arguments, **options)

    def cut(self):
        """Take the host off the network."""
        self.run(tool("ip"), "link", "set", LINK, "down")

    def join(self):
        """Put the host on the network again."""
        self.run(tool("ip"), "link", "set", LINK, "up")

    def end(self):
        """End every process of the host."""
        self.holder.stdin.close()
        for process in (self.holder, *self.started):
            process.wait()


def _host(name, address):
    """Begin a host without a link."""
    code = f"{tool('hostname')} {name} && echo ready && exec cat"
    holder = subprocess.Popen(
        [tool("unshare"), *_SPACES, "--fork", "--kill-child", "--mount-proc", "sh", "-c", code],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    with holder.stdout:
        assert holder.stdout.readline() == b"ready\n"
    return Host(name, address, holder)


def _first_process(host):
    return psutil.Process(host.holder.pid).children()[0].pid


def _join(one, other):
    """Lay a link between two hosts, at both ends no quicker than ``RATE``."""
    ends = [["netns", str(_first_process(host))] for host in (one, other)]
    subprocess.run(
        [tool("ip"), "link", "add", LINK, *ends[0], "type", "veth", "peer", "name", LINK, *ends[1]],
        check=True,
    )
    for host in (one, other):
        host.run(tool("ip"), "address", "add", f"{host.address}/24", "dev", LINK)
        host.run(tool("ip"), "link", "set", "lo", "up")
        host.run(
            tool("tc"),
            "qdisc",
            "add",
            "dev",
            LINK,
            "root",
            "tbf",
            "rate",
            RATE,
            "burst",
            "1mb",
            "latency",
            "50ms",
        )
        host.join()


@contextlib.contextmanager
def two_hosts():
    """Give two hosts with a link between them for the ``with`` block."""
    with contextlib.ExitStack() as stack:
        hosts = []
        for number in (1, 2):
            hosts.append(_host(f"l3ae-host-{number}", f"10.57.0.{number}"))
            stack.callback(hosts[-1].end)
        _join(*hosts)
        yield hosts


def tls_variables(folder):
    """Make the certificate of a cluster as an operator does; returns the variables of Dask that name it."""
    script = Path(__file__).parents[1] / "cluster" / "dask" / "certificates.sh"
    subprocess.run([str(script), str(folder)], check=True, stdout=subprocess.DEVNULL)
    prefix = "DASK_DISTRIBUTED__COMM__"
    files = {
        f"{prefix}TLS__{role}__{kind}": str(folder / file)
        for role in ("SCHEDULER", "WORKER", "CLIENT")
        for kind, file in (("CERT", "cert.pem"), ("KEY", "key.pem"))
    }
    return {f"{prefix}TLS__CA_FILE": str(folder / "ca.pem"), f"{prefix}REQUIRE_ENCRYPTION": "true", **files}
