"""A real Prometheus that scrapes real nodes."""

import contextlib
import json
import socket
import subprocess
import urllib.error
import urllib.parse
import urllib.request

import yaml

from support.relay import wait_until


class Prometheus:
    def __init__(self, port):
        self.url = f"http://127.0.0.1:{port}"

    def query(self, expression):
        """The result of an instant query: [(labels, value)]."""
        form = urllib.parse.urlencode({"query": expression}).encode()
        try:
            with urllib.request.urlopen(f"{self.url}/api/v1/query", data=form, timeout=10) as answer:
                data = json.loads(answer.read())["data"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{expression}: {error.read().decode()}") from error
        return [(item["metric"], float(item["value"][1])) for item in data["result"]]

    def ready(self):
        try:
            with urllib.request.urlopen(f"{self.url}/-/ready", timeout=5) as answer:
                return answer.status == 200
        except OSError:
            return False


@contextlib.contextmanager
def prometheus(folder, jobs):
    """Scrapes these jobs, {name: [address]}, each second."""
    config = {
        "global": {"scrape_interval": "1s"},
        "scrape_configs": [{"job_name": job, "static_configs": [{"targets": targets}]} for job, targets in jobs.items()],
    }
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    for attempt in range(5):
        # Prometheus does not tell which port it picked, so one is picked for it; another program may be faster.
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        with open(folder / f"log-{attempt}", "w") as log:
            process = subprocess.Popen(
                [
                    "prometheus",
                    f"--config.file={folder}/prometheus.yml",
                    f"--storage.tsdb.path={folder}/data-{attempt}",
                    f"--web.listen-address=127.0.0.1:{port}",
                ],
                stdout=log,
                stderr=log,
            )
        running = Prometheus(port)
        try:
            wait_until(lambda: running.ready() or process.poll() is not None, "a ready Prometheus")
            if process.poll() is None:
                yield running
                return
        finally:
            if process.poll() is None:
                process.kill()
            process.wait(timeout=20)
    raise AssertionError((folder / f"log-{attempt}").read_text())
