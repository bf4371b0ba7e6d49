"""Runs the same scenarios against every peer, in turn, and prints one table of medians.

Each run starts its server anew. Run 1 of every peer comes before run 2 of any, so that what changes on the machine
meanwhile strikes all alike.
"""

import argparse
import contextlib
import datetime
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import scenarios
import table
from peers import everyone
from place import Place, Unavailable, split_cpus

# Seconds: the longest that one run of one scenario may take, and in it all handshakes, or a delivery.
RUN_TIMEOUT = 300
SLOWEST = 60

HERE = Path(__file__).resolve().parent
TARGET = HERE.parent.parent / "target"


def arguments():
    names = [peer.name for peer in everyone()]
    parser = argparse.ArgumentParser(prog="tests/bench/run.sh", description=__doc__.splitlines()[0])
    parser.add_argument("peers", nargs="*", metavar="peer", help=f"of {', '.join(names)}; by default all")
    parser.add_argument("--connections", type=int, default=10_000, metavar="N")
    parser.add_argument("--runs", type=int, default=5, metavar="K", help="runs of each, of which the median is told")
    known = [scenario.name for scenario in scenarios.SCENARIOS]
    parser.add_argument("--scenario", action="append", choices=known, help="once for each; by default all")
    parser.add_argument("--json", type=Path, default=TARGET / "bench/results.json", metavar="FILE", help="every run, and the medians")
    parser.add_argument("--serve", action="store_true", help="start one peer, print how to load it, and wait for Ctrl-C")
    given = parser.parse_args()
    unknown = set(given.peers) - set(names)
    if unknown:
        parser.error(f"no such peer: {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    if given.runs < 1 or given.connections < 1:
        parser.error("--runs and --connections are at least 1")
    if given.serve and len(given.peers) != 1:
        parser.error("--serve takes one peer")
    return given


def install(peers):
    """Those that are there, and why the others are not."""
    there, missing = [], {}
    for peer in peers:
        try:
            peer.install(TARGET / "tools/bench")
            there.append(peer)
        except Unavailable as reason:
            missing[peer.name] = str(reason)
    return there, missing


@contextlib.contextmanager
def running(peer, cpus, nodes, numbered):
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-"))
        # Programs that give up their rights, such as nginx's workers, go through it.
        os.chmod(folder, 0o755)
        yield peer.start(Place(cpus, TARGET / "tools/bench", Path(folder), stack), nodes, numbered)


def measure(peer, scenario, cpus, connections):
    """The figures of one run, with their ratios to the floor's."""
    with running(peer, cpus, scenario.nodes, scenario.numbered) as server, tempfile.NamedTemporaryFile(suffix=".json") as result:
        command = ["taskset", "--cpu-list", cpus.generator, os.environ["RELAY_BINARY"], "bench", scenario.bench]
        command += ["--connections", str(min(connections, scenario.most_connections)), *scenario.load, *server.target]
        command += ["--server-cpus", cpus.servers, "--json", result.name, "--timeout", str(SLOWEST)]
        for pid in server.pids:
            command += ["--server-pid", str(pid)]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=RUN_TIMEOUT)
        if done.returncode != 0:
            raise RuntimeError(done.stderr.strip().splitlines()[-1] if done.stderr.strip() else f"exit code {done.returncode}")
        report = json.load(result)
    return report


def run_all(peers, chosen, cpus, given):
    """Every report, by scenario and peer; and what failed."""
    reports, failures = {}, {}
    for number in range(1, given.runs + 1):
        for scenario in chosen:
            for peer in peers:
                key = (scenario.name, peer.name)
                if (scenario.nodes > 1 and not peer.redis) or key in failures:
                    continue
                print(f"run {number} of {given.runs}: {scenario.name}, {peer.name}", file=sys.stderr, flush=True)
                try:
                    reports.setdefault(key, []).append(measure(peer, scenario, cpus, given.connections))
                except (RuntimeError, OSError, subprocess.TimeoutExpired) as reason:
                    failures[key] = " ".join(str(reason).split())
    return reports, failures


def notes(peers, missing, failures, cpus, given):
    lines = [f"{given.runs} runs of each, interleaved; medians. {given.connections} sockets (latency: 100 and 500 at most)."]
    if cpus.shared:
        lines.append(f"This machine has too few CPUs: servers and generator share CPUs {cpus.servers}.")
    else:
        lines.append(f"Servers and Redis on CPUs {cpus.servers}, the generator on {cpus.generator}.")
    lines += dict.fromkeys(note for peer in peers for note in peer.notes)
    lines += [f"not measured: {name}: {reason}" for name, reason in missing.items()]
    lines += [f"failed: {peer}, {scenario}: {reason}" for (scenario, peer), reason in failures.items()]
    return lines


def serve(peer, cpus):
    with running(peer, cpus, nodes=1, numbered=False) as server:
        pids = [word for pid in server.pids for word in ("--server-pid", str(pid))]
        print("refresh-relay bench broadcast", *(f"'{word}'" for word in [*server.target, *pids]), flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            input("Enter or Ctrl-C stops it. ")


def main():
    given = arguments()
    # Every child inherits it: a socket is an open file.
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    cpus = split_cpus()
    wanted = [peer for peer in everyone() if not given.peers or peer.name in given.peers]
    peers, missing = install(wanted)
    if given.serve:
        if missing:
            sys.exit(f"{wanted[0].name}: {missing[wanted[0].name]}")
        return serve(peers[0], cpus)
    chosen = scenarios.by_name(given.scenario)
    reports, failures = run_all(peers, chosen, cpus, given)
    foot = notes(peers, missing, failures, cpus, given)
    print(table.render(chosen, [peer.name for peer in peers], reports))
    print(*foot, sep="\n")
    given.json.parent.mkdir(parents=True, exist_ok=True)
    given.json.write_text(json.dumps(record(chosen, reports, foot), indent=1))
    print(f"all runs: {given.json}")
    return 1 if failures or missing else 0


def record(chosen, reports, foot):
    return {
        "at": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "machine": {"kernel": platform.release(), "cpus": os.cpu_count(), "model": model()},
        "notes": foot,
        "medians": {
            scenario.name: {
                peer: dict(table.medians(scenario, runs)) for (name, peer), runs in reports.items() if name == scenario.name
            }
            for scenario in chosen
        },
        "runs": {f"{scenario} {peer}": runs for (scenario, peer), runs in reports.items()},
    }


def model():
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


if __name__ == "__main__":
    sys.exit(main())
