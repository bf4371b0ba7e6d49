"""GitHub and GitLab as far as a keyless job and the relay know them: keys, and tokens that say whose job it is."""

import base64
import contextlib
import json
import subprocess
import threading
import time
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

REQUEST_TOKEN = "what-only-this-job-has"


def encode(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def openssl(*arguments, given=b""):
    return subprocess.run(["openssl", *arguments], input=given, check=True, capture_output=True).stdout


class Issuer:
    """Signs with a key of its own, which it publishes."""

    def __init__(self, folder, port):
        self.url = f"http://127.0.0.1:{port}"
        self.key = folder / "issuer.pem"
        openssl("genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", str(self.key))

    def documents(self):
        modulus = openssl("rsa", "-in", str(self.key), "-noout", "-modulus").decode().strip().split("=")[1]
        key = {"kty": "RSA", "alg": "RS256", "use": "sig", "kid": "1", "n": encode(bytes.fromhex(modulus)), "e": "AQAB"}
        return {
            "/.well-known/openid-configuration": {"issuer": self.url, "jwks_uri": f"{self.url}/keys"},
            "/keys": {"keys": [key]},
        }

    def token(self, audience, **claims):
        now = int(time.time())
        claims = {"iss": self.url, "aud": audience, "iat": now, "nbf": now - 5, "exp": now + 300} | claims
        parts = ({"typ": "JWT", "alg": "RS256", "kid": "1"}, claims)
        message = ".".join(encode(json.dumps(part).encode()) for part in parts)
        signature = openssl("dgst", "-sha256", "-sign", str(self.key), given=message.encode())
        return f"{message}.{encode(signature)}"


@contextlib.contextmanager
def issuer(folder, **claims):
    """One that signs these claims for the job that asks, as GitHub does; its token and URL come by the environment."""

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self):
            url = urllib.parse.urlsplit(self.path)
            answer = self.server.documents.get(url.path)
            if url.path == "/job":
                query = urllib.parse.parse_qs(url.query)
                assert query["api-version"] == ["2.0"]
                if self.headers["Authorization"] == f"Bearer {REQUEST_TOKEN}":
                    answer = {"count": 1, "value": self.server.issuer.token(query["audience"][0], **claims)}
            self.send_response(200 if answer else 403)
            self.end_headers()
            self.wfile.write(json.dumps(answer).encode())

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    server.issuer = Issuer(folder, server.server_port)
    server.documents = server.issuer.documents()
    server.issuer.environment = {
        "ACTIONS_ID_TOKEN_REQUEST_URL": f"{server.issuer.url}/job?api-version=2.0",
        "ACTIONS_ID_TOKEN_REQUEST_TOKEN": REQUEST_TOKEN,
    }
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.issuer
    finally:
        server.shutdown()
