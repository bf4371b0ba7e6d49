"""As much of a Kubernetes API as Helm asks for in a dry run, over loopback, with Secrets of the test's choice."""

import base64
import contextlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

VERSION = {"major": "1", "minor": "37", "gitVersion": "v1.37.0"}
KINDS = {
    "v1": {"secrets": "Secret", "configmaps": "ConfigMap", "services": "Service", "serviceaccounts": "ServiceAccount", "pods": "Pod"},
    "apps/v1": {"deployments": "Deployment", "statefulsets": "StatefulSet"},
    "policy/v1": {"poddisruptionbudgets": "PodDisruptionBudget"},
    "autoscaling/v2": {"horizontalpodautoscalers": "HorizontalPodAutoscaler"},
    "networking.k8s.io/v1": {"ingresses": "Ingress", "networkpolicies": "NetworkPolicy"},
    "gateway.networking.k8s.io/v1": {"httproutes": "HTTPRoute"},
    "monitoring.coreos.com/v1": {"servicemonitors": "ServiceMonitor", "prometheusrules": "PrometheusRule"},
}


def discovery():
    """What the API says of itself: path -> answer."""
    groups, answers = [], {}
    for version, kinds in KINDS.items():
        resources = [
            {"name": plural, "singularName": kind.lower(), "namespaced": True, "kind": kind, "verbs": ["get", "list"]}
            for plural, kind in kinds.items()
        ]
        path = f"/apis/{version}" if "/" in version else f"/api/{version}"
        answers[path] = {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version, "resources": resources}
        if "/" in version:
            group, _, short = version.partition("/")
            preferred = {"groupVersion": version, "version": short}
            groups.append({"name": group, "versions": [preferred], "preferredVersion": preferred})
    return answers | {
        "/version": VERSION,
        "/api": {"kind": "APIVersions", "versions": ["v1"]},
        "/apis": {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups},
    }


@contextlib.contextmanager
def cluster(secrets=()):
    """The address of an API that knows these Secrets: (namespace, name, data)."""
    known = {
        f"/api/v1/namespaces/{namespace}/secrets/{name}": {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": name, "namespace": namespace},
            "data": {key: base64.b64encode(value.encode()).decode() for key, value in data.items()},
        }
        for namespace, name, data in secrets
    }
    answers = discovery() | known

    class Api(BaseHTTPRequestHandler):
        def do_GET(self):
            path = self.path.partition("?")[0]
            answer = answers.get(path)
            body = json.dumps(answer or not_found(path)).encode()
            self.send_response(200 if answer else 404)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Api)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def not_found(path):
    return {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "message": path, "code": 404}
