"""A FastAPI application whose answers go on: a WebSocket at /chat that sends each message back twice, and server-sent
events at /events/{count}.

Arguments: the port.
"""

import asyncio
import sys

import uvicorn
from fastapi import FastAPI, WebSocket, WebSocketDisconnect
from fastapi.responses import StreamingResponse

app = FastAPI()


@app.get("/hello")
async def hello():
    return "hello"


@app.websocket("/chat")
async def chat(socket: WebSocket):
    await socket.accept()
    try:
        while True:
            message = await socket.receive_text()
            await socket.send_text(message)
            await socket.send_text(message)
    except WebSocketDisconnect:
        pass


@app.get("/events/{count}")
async def events(count: int):
    async def each():
        for number in range(count):
            yield f"data: {number:08}\n\n"
            await asyncio.sleep(0.01)

    return StreamingResponse(each(), media_type="text/event-stream")


if __name__ == "__main__":
    uvicorn.run(
        app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning", ws="websockets", ws_per_message_deflate=False
    )
