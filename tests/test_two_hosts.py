"""Two hosts that share no address and no loopback: two network namespaces with a wire between them."""

import os
import shutil
import subprocess
import sys
import uuid
from contextlib import ExitStack

import pytest

ADDRESSES = "10.213.77.1", "10.213.77.2"
COMMAND = [sys.executable, "-m", "selfattention.parallel", "--tokens", "13", "--dtype", "float64"]
PORT = "29500"


def ip(*words, check=True):
    return subprocess.run(["ip", *words], capture_output=True, text=True, check=check)


@pytest.fixture
def hosts():
    """(name, wire) of two hosts; skipped, with what the system says, where it makes none."""
    if not shutil.which("ip"):
        pytest.skip("ip is not installed, so there are no network namespaces")
    mark = uuid.uuid4().hex[:6]
    names = [f"host-{mark}-{i}" for i in range(2)]
    wires = [f"w{mark}{i}" for i in range(2)]
    with ExitStack() as made:
        for name in names:
            done = ip("netns", "add", name, check=False)
            if done.returncode:
                pytest.skip(f"this machine makes no network namespaces: {done.stderr.strip()}")
            made.callback(ip, "netns", "del", name, check=False)
        ends = [["name", wire, "netns", name] for wire, name in zip(wires, names, strict=True)]
        done = ip("link", "add", *ends[0], "type", "veth", "peer", *ends[1], check=False)
        if done.returncode:
            pytest.skip(f"this machine makes no wire between two namespaces: {done.stderr.strip()}")
        for name, wire, address in zip(names, wires, ADDRESSES, strict=True):
            ip("-n", name, "address", "add", f"{address}/24", "dev", wire)
            ip("-n", name, "link", "set", wire, "up")
            ip("-n", name, "link", "set", "lo", "up")
        yield list(zip(names, wires, strict=True))


def started(rank, name, wire):
    told = {"RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": ADDRESSES[0], "MASTER_PORT": PORT}
    told |= {"GLOO_SOCKET_IFNAME": wire, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        ["ip", "netns", "exec", name, *COMMAND],
        env=os.environ | told,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )


def test_two_hosts_divide_a_block_each_way(hosts):
    """Rank 0 prints what both held and sent; neither is off from one process, or the command would say so."""
    for (name, _), other in zip(hosts, ADDRESSES[::-1], strict=True):
        assert other not in ip("-n", name, "address").stdout  # no address of the other's
    ranks = [started(rank, *host) for rank, host in enumerate(hosts)]
    try:
        said = [rank.communicate(timeout=600) for rank in ranks]
    finally:
        for rank in ranks:
            rank.kill()
            rank.wait()
    assert [rank.returncode for rank in ranks] == [0, 0], said
    ways = said[0][0].strip().split("\n\n")
    assert [way.partition(":")[0] for way in ways] == ["heads", "ring", "all-to-all"]
    for way in ways:
        sent = [int(line.split()[3].replace(",", "")) for line in way.splitlines()[2:]]
        assert len(sent) == 2
        assert min(sent) > 0
