"""A shop that asks another service for everything, and what that one is like is said by a file.

  shop_app.py PORT backend MODE_FILE        the other service: a thread per connection
  shop_app.py PORT shop BACKEND_PORT        the shop: FastAPI on uvicorn, which asks it with httpx

The mode is fast, slow (0.7 s) or failing (500).
"""

import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PORT, ROLE, ARGUMENT = int(sys.argv[1]), sys.argv[2], sys.argv[3]


def backend():
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True
        wbufsize = -1  # head and body in one write

        def do_GET(self):
            with open(ARGUMENT) as file:
                mode = file.read().strip()
            if mode == "slow":
                time.sleep(0.7)
            self.send_response(500 if mode == "failing" else 200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *arguments):
            pass

    ThreadingHTTPServer(("127.0.0.1", PORT), Handler).serve_forever()


def shop():
    import httpx
    import uvicorn
    from fastapi import FastAPI, HTTPException

    app = FastAPI()
    client = httpx.AsyncClient(base_url=f"http://127.0.0.1:{ARGUMENT}", timeout=10)

    @app.get("/orders/{number}")
    async def order(number: int):
        answer = await client.get(f"/stock/{number}")
        if answer.status_code != 200:
            raise HTTPException(502)
        return {"number": number}

    uvicorn.run(app, host="127.0.0.1", port=PORT, log_level="warning")


backend() if ROLE == "backend" else shop()
