#!/usr/bin/env python3
"""Stands in for a Docker daemon that has the image and starts nothing: it notes which GPUs a
container that is to be created asks for, and refuses to create it.

    daemon.py SOCKET FILE       one line of JSON for each container, into FILE
"""

import json
import os
import re
import socketserver
import sys
from http.server import BaseHTTPRequestHandler

DIGEST = "sha256:" + 64 * "1"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def address_string(self):
        return "socket"

    def answer(self, status, body):
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Api-Version", "1.47")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self):
        path = re.sub(r"^/v[0-9.]+", "", self.path).split("?")[0]
        if path == "/version":
            self.answer(200, {"Version": "27.0.0", "ApiVersion": "1.47", "MinAPIVersion": "1.24"})
        elif path == "/info":
            self.answer(200, {"ID": "stand-in", "Name": "stand-in", "Runtimes": {"nvidia": {}, "runc": {}}})
        elif path.startswith("/images/") and path.endswith("/json"):
            self.answer(200, {"Id": DIGEST, "RepoDigests": [], "Config": {"Env": [], "Entrypoint": ["vllm", "serve"]}})
        elif path.endswith("/json") and path != "/containers/json":
            self.answer(404, {"message": "No such container"})
        elif path == "/_ping":
            self.answer(200, "OK")
        else:
            self.answer(200, {"Volumes": [], "Warnings": []} if path == "/volumes" else [])

    def do_POST(self):
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length) or b"{}")
        if "/containers/create" in self.path:
            asked = (body.get("HostConfig") or {}).get("DeviceRequests") or []
            with open(sys.argv[2], "a", encoding="utf-8") as file:
                file.write(json.dumps({"gpus": asked, "labels": body.get("Labels")}) + "\n")
        self.answer(400, {"message": "this daemon starts nothing"})

    def do_DELETE(self):
        self.answer(404, {"message": "No such container"})


class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True

    def get_request(self):
        request, _ = super().get_request()
        return request, ("socket", 0)


if os.path.exists(sys.argv[1]):
    os.unlink(sys.argv[1])
Server(sys.argv[1], Handler).serve_forever()
