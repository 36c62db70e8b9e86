"""What a DKIM signature costs: processor time a message, by part and in all.

    python benchmarks/sign.py [--messages N] [--tasks N] [--size OCTETS] [--bits N] [--threads N]

"in all" is the signer as the daemon uses it, threads and wake-ups included, under
uvloop; the parts before it run one after another in one thread.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import uvloop
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from postroad.adapters.dkim import DkimSigner
from postroad.config.model import DkimKey
from postroad.mail.canonical import relaxed_body_hash
from postroad.mail.dkim_fields import select
from postroad.mail.message import Content

HEAD = (
    b"Received: from client.example ([192.0.2.7])\r\n"
    b"\tby mail.example.com (Postroad) with ESMTPSA id ABCDEF123456\r\n"
    b"\tfor <bob@example.org>; Mon, 23 Nov 2026 01:15:12 +0000\r\n"
    b"From: Ann Example <ann@example.com>\r\nTo: Bob <bob@example.org>\r\nSubject: What a signature costs\r\n"
    b"Date: Mon, 23 Nov 2026 01:15:12 +0000\r\nMessage-ID: <1@example.com>\r\nMIME-Version: 1.0\r\n"
    b"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
)
LINE = b"It was a bright cold day in some month, and the queue was striking thirteen.\r\n"


def measure(name: str, count: int, run: Callable[[], object]) -> None:
    wall, cpu = time.perf_counter(), time.process_time()
    run()
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    print(f"{name:<28}{cpu / count * 1e6:8.0f} us CPU{wall / count * 1e6:8.0f} us wall")


async def sign_all(signer: DkimSigner, content: Content, count: int, tasks: int) -> None:
    async def some() -> None:
        for _ in range(count // tasks):
            await signer.sign("example.com", content)

    async with asyncio.TaskGroup() as group:
        for _ in range(tasks):
            group.create_task(some())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--messages", type=int, default=2000)
    parser.add_argument("--tasks", type=int, default=20)
    parser.add_argument("--size", type=int, default=4096)
    parser.add_argument("--bits", type=int, default=2048)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    count: int = options.messages
    body = LINE * max(1, (options.size - len(HEAD)) // len(LINE))
    content = Content(HEAD, body, dotted=False, eight_bit=False)
    key = generate_private_key(65537, options.bits)
    print(f"{count} messages of {content.size} octets, RSA {options.bits}, {options.threads} threads")
    measure("body hash", count, lambda: [relaxed_body_hash(body) for _ in range(count)])
    measure("choice of fields", count, lambda: [select(HEAD) for _ in range(count)])
    measure("key operation", count, lambda: [key.sign(HEAD, PKCS1v15(), SHA256()) for _ in range(count)])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "key.pem"
        path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        signer = DkimSigner([DkimKey("example.com", "s1", path)], threads=options.threads)
        for tasks in (1, options.tasks):
            work = sign_all(signer, content, count, tasks)
            measure(f"in all, {tasks} at a time", count, lambda work=work: uvloop.run(work))  # type: ignore[misc]
        signer.close()


if __name__ == "__main__":
    main()
