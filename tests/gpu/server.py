#!/usr/bin/env python3
"""A small server with vLLM's endpoints whose tokens come from a random-weight transformer in
the shape of Qwen3 (RMS norm, grouped queries, rotary positions, gated MLP). It uses the GPU
through PyTorch: its figures are worth nothing, its use of the GPU is real.

    server.py MODEL --port N [--host H] [--cpu] [vLLM's flags]

--cpu computes on the CPU, with PyTorch where it is installed and with plain Python elsewhere.
Flags that it does not know are accepted: `--max-num-seqs` bounds the requests at once,
`--gpu-memory-utilization` is the share of the GPU's free memory that is taken at the start.
"""

import argparse
import json
import os
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

try:
    import torch
except ImportError:
    torch = None

HIDDEN, LAYERS, HEADS, KV_HEADS, HEAD_DIM, MLP, VOCABULARY = 512, 4, 8, 2, 64, 1536, 4096
LONGEST = 4096


class Plain:
    """Stands in for the model where there is no PyTorch: keeps the CPU busy for a while."""

    device = "python"

    def start(self, prompt):
        return sum(i * i % 97 for i in range(200 * len(prompt)))

    def step(self, state, position):
        return (state + sum(i * i % 97 for i in range(20000))) % VOCABULARY, state + 1


class Tiny:
    """Random weights in the shape of Qwen3."""

    def __init__(self, device):
        self.device = device
        make = torch.Generator().manual_seed(0)
        kind = torch.bfloat16 if device != "cpu" else torch.float32

        def weight(rows, columns):
            values = torch.randn(rows, columns, generator=make) * rows**-0.5
            return values.to(device, kind)

        self.embedding = weight(VOCABULARY, HIDDEN)
        self.layers = [
            {
                "q": weight(HIDDEN, HEADS * HEAD_DIM),
                "k": weight(HIDDEN, KV_HEADS * HEAD_DIM),
                "v": weight(HIDDEN, KV_HEADS * HEAD_DIM),
                "o": weight(HEADS * HEAD_DIM, HIDDEN),
                "gate": weight(HIDDEN, MLP),
                "up": weight(HIDDEN, MLP),
                "down": weight(MLP, HIDDEN),
            }
            for _ in range(LAYERS)
        ]
        positions = torch.arange(2 * LONGEST).float()
        pace = 1e6 ** (-torch.arange(0, HEAD_DIM, 2).float() / HEAD_DIM)
        angles = positions[:, None] * pace[None, :]
        self.cos, self.sin = angles.cos().to(device, kind), angles.sin().to(device, kind)

    @staticmethod
    def norm(x):
        return x * torch.rsqrt(x.float().pow(2).mean(-1, keepdim=True) + 1e-6).to(x.dtype)

    def rotate(self, x, start):
        cos = self.cos[start : start + x.shape[0], None, :]
        sin = self.sin[start : start + x.shape[0], None, :]
        left, right = x.chunk(2, dim=-1)
        return torch.cat((left * cos - right * sin, right * cos + left * sin), dim=-1)

    def forward(self, tokens, cache, start):
        """Scores of what follows `tokens`, which begin at position `start`."""
        x = self.embedding[tokens]
        for number, layer in enumerate(self.layers):
            h = self.norm(x)
            q = self.rotate((h @ layer["q"]).view(-1, HEADS, HEAD_DIM), start)
            k = self.rotate((h @ layer["k"]).view(-1, KV_HEADS, HEAD_DIM), start)
            v = (h @ layer["v"]).view(-1, KV_HEADS, HEAD_DIM)
            if number < len(cache):
                k, v = torch.cat((cache[number][0], k)), torch.cat((cache[number][1], v))
                cache[number] = (k, v)
            else:
                cache.append((k, v))
            repeated = [t.repeat_interleave(HEADS // KV_HEADS, dim=1).transpose(0, 1) for t in (k, v)]
            attended = torch.nn.functional.scaled_dot_product_attention(
                q.transpose(0, 1), *repeated, is_causal=len(tokens) > 1
            )
            x = x + attended.transpose(0, 1).reshape(-1, HEADS * HEAD_DIM) @ layer["o"]
            h = self.norm(x)
            x = x + (torch.nn.functional.silu(h @ layer["gate"]) * (h @ layer["up"])) @ layer["down"]
        return self.norm(x[-1:]) @ self.embedding.T

    @torch.inference_mode() if torch else (lambda f: f)
    def start(self, prompt):
        cache = []
        tokens = torch.tensor(prompt[:LONGEST], device=self.device)
        return self.forward(tokens, cache, 0).argmax(-1), cache, len(tokens)

    @torch.inference_mode() if torch else (lambda f: f)
    def step(self, state, position):
        token, cache, length = state
        scores = self.forward(token, cache, length)
        following = scores.argmax(-1)
        return int(following), (following, cache, length + 1)


class Counts:
    def __init__(self):
        self.lock = threading.Lock()
        self.running = self.waiting = self.requests = self.prompt = self.generated = 0

    def add(self, **more):
        with self.lock:
            for name, value in more.items():
                setattr(self, name, getattr(self, name) + value)

    def text(self, arguments):
        label = '{engine="0",model_name="%s"}' % arguments.model
        with self.lock:
            return (
                f"vllm:num_requests_running{label} {self.running}.0\n"
                f"vllm:num_requests_waiting{label} {self.waiting}.0\n"
                f'vllm:request_success_total{{engine="0",finished_reason="length"}} {self.requests}.0\n'
                f"vllm:prompt_tokens_total{label} {self.prompt}.0\n"
                f"vllm:generation_tokens_total{label} {self.generated}.0\n"
                f'vllm:cache_config_info{{block_size="16",enable_prefix_caching="False"}} 1.0\n'
                f"process_start_time_seconds {STARTED}\n"
            )


STARTED = time.time()


def tokens_of(body):
    texts = [body["prompt"]] if "prompt" in body else [
        message.get("content") or "" for message in body.get("messages", [])
    ]
    words = " ".join(text for text in texts if isinstance(text, str)).split()
    return [hash_of(word) for word in words] or [1]


def hash_of(word):
    value = 0
    for byte in word.encode():
        value = (value * 131 + byte) % VOCABULARY
    return value


def handler(arguments, model, counts, places, one_at_a_time):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def log_message(self, *_):
            pass

        def answer(self, status, body, kind="application/json"):
            data = (body if isinstance(body, str) else json.dumps(body)).encode()
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def do_GET(self):
            if self.path == "/health":
                self.answer(200, "", "text/plain")
            elif self.path == "/version":
                self.answer(200, {"version": "0.0.0-gpu-check"})
            elif self.path == "/metrics":
                self.answer(200, counts.text(arguments), "text/plain; version=0.0.4")
            elif self.path == "/v1/models":
                model = {"id": arguments.model, "object": "model", "max_model_len": LONGEST}
                self.answer(200, {"object": "list", "data": [model]})
            else:
                self.answer(404, {"detail": "Not Found"})

        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or "{}")
            if self.path not in ("/v1/chat/completions", "/v1/completions"):
                return self.answer(404, {"detail": "Not Found"})
            is_chat = self.path.startswith("/v1/chat")
            prompt = tokens_of(body)
            most = min(int(body.get("max_tokens") or 16), LONGEST)
            counts.add(waiting=1)
            with places:
                counts.add(waiting=-1, running=1)
                try:
                    if body.get("stream"):
                        self.stream(is_chat, prompt, most, body)
                    else:
                        texts = list(self.generate(prompt, most))
                        self.answer(200, self.whole(is_chat, "".join(texts), len(prompt), len(texts)))
                finally:
                    counts.add(running=-1)

        def generate(self, prompt, most):
            with one_at_a_time:
                state = model.start(prompt)
            counts.add(prompt=len(prompt))
            for position in range(most):
                with one_at_a_time:
                    token, state = model.step(state, position)
                counts.add(generated=1)
                yield f" t{token}"
            counts.add(requests=1)

        def usage(self, prompt, generated):
            return {
                "prompt_tokens": prompt,
                "completion_tokens": generated,
                "total_tokens": prompt + generated,
            }

        def whole(self, is_chat, text, prompt, generated):
            choice = {"index": 0, "finish_reason": "length"}
            if is_chat:
                choice["message"] = {"role": "assistant", "content": text}
            else:
                choice["text"] = text
            usage = self.usage(prompt, generated)
            return {"id": "x", "model": arguments.model, "choices": [choice], "usage": usage}

        def stream(self, is_chat, prompt, most, body):
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream; charset=utf-8")
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()

            def send(data):
                piece = f"data: {data}\n\n".encode()
                self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))

            def choice(content, finish):
                made = {"index": 0, "finish_reason": finish}
                made.update({"delta": {"content": content}} if is_chat else {"text": content})
                return json.dumps({"id": "x", "model": arguments.model, "choices": [made]})

            generated = 0
            for text in self.generate(prompt, most):
                generated += 1
                send(choice(text, "length" if generated == most else None))
            if (body.get("stream_options") or {}).get("include_usage"):
                send(json.dumps({"choices": [], "usage": self.usage(len(prompt), generated)}))
            send("[DONE]")
            self.wfile.write(b"0\r\n\r\n")

    return Handler


def main():
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("model")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--cpu", action="store_true")
    parser.add_argument("--max-num-seqs", type=int, default=8)
    parser.add_argument("--gpu-memory-utilization", type=float, default=0.0)
    arguments, _ = parser.parse_known_args()
    if torch is None and not arguments.cpu:
        sys.exit("RuntimeError: PyTorch is not installed: no GPU can be used")
    if not arguments.cpu and not torch.cuda.is_available():
        sys.exit("RuntimeError: Failed to infer device type: PyTorch sees no GPU")
    if arguments.cpu and torch is not None:
        torch.set_num_threads(max(1, (os.cpu_count() or 2) // 2))
    print(f"vLLM API server version 0.0.0-gpu-check, process {os.getpid()}", flush=True)
    if torch is None:
        model = Plain()
    else:
        model = Tiny("cpu" if arguments.cpu else "cuda")
    held = None
    if model.device == "cuda":
        free, total = torch.cuda.mem_get_info()
        wanted = int(total * arguments.gpu_memory_utilization)
        if wanted > free:
            gib = 2**30
            sys.exit(
                f"ValueError: Free memory on device cuda:0 ({free / gib:.2f}/{total / gib:.2f} GiB) on "
                f"startup is less than desired GPU memory utilization "
                f"({arguments.gpu_memory_utilization}, {wanted / gib:.2f} GiB)."
            )
        held = torch.empty(max(wanted - 2**28, 2**20), dtype=torch.uint8, device="cuda")
    print(f"Model loading took 0.1 GiB memory, on {model.device}", flush=True)
    model.step(model.start([1, 2, 3]), 0)
    places = threading.BoundedSemaphore(arguments.max_num_seqs)
    made = handler(arguments, model, Counts(), places, threading.Lock())
    server = ThreadingHTTPServer((arguments.host, arguments.port), made)
    server.daemon_threads = True
    print("Application startup complete.", flush=True)
    server.serve_forever()
    return held


if __name__ == "__main__":
    main()
