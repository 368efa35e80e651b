# SPDX-License-Identifier: GPL-2.0-or-later
"""The web server that NetworkManager's connectivity check asks, and the one of a captive portal.

Run as `web.py PORT` or `web.py --portal PORT`.
"""

from __future__ import annotations

import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

ANSWER = "online"


class Online(BaseHTTPRequestHandler):
    """Says what the check expects."""

    def do_GET(self) -> None:
        """Answer."""
        self.send_response(200)
        self.send_header("X-NetworkManager-Status", ANSWER)
        self.send_header("Content-Length", str(len(ANSWER)))
        self.end_headers()
        self.wfile.write(ANSWER.encode())


class Portal(BaseHTTPRequestHandler):
    """Sends everybody to the log-in page."""

    def do_GET(self) -> None:
        """Answer."""
        self.send_response(302)
        self.send_header("Location", "/log-in")
        self.send_header("Content-Length", "0")
        self.end_headers()


def main() -> None:
    """Serve until killed."""
    handler = Portal if "--portal" in sys.argv else Online
    ThreadingHTTPServer(("", int(sys.argv[-1])), handler).serve_forever()


if __name__ == "__main__":
    main()
