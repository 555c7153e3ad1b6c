"""An APNs by somebody else's HTTP/2: one stream until a provider token has proven who asks, then as many as it is told.

Reads one JSON object as the first line of stdin, and answers with its port in a line on stdout. Serves until stdin ends,
then says in a last line what came; tests/it/push/apns/peers.rs compares.
"""

import asyncio
import json
import sys

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import h2.settings
import jwt

STREAMS = h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS
seen = {"requests": 0, "connections": 0, "most_before": 0, "most_after": 0, "broken": 0, "tokens": [], "first": None}


class Server(asyncio.Protocol):
    def __init__(self, told):
        self.told = told
        self.wire = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding="utf-8"))
        self.open, self.raised = {}, False
        seen["connections"] += 1

    def connection_made(self, transport):
        self.transport = transport
        self.wire.local_settings = h2.settings.Settings(client=False, initial_values={STREAMS: 1})
        self.wire.initiate_connection()
        self.flush()

    def flush(self):
        self.transport.write(self.wire.data_to_send())

    def data_received(self, data):
        try:
            events = self.wire.receive_data(data)
        except h2.exceptions.ProtocolError:
            seen["broken"] += 1
            self.flush()
            self.transport.close()
            return
        for event in events:
            if isinstance(event, h2.events.RequestReceived):
                self.open[event.stream_id] = (dict(event.headers), bytearray())
                phase = "most_after" if self.raised else "most_before"
                seen[phase] = max(seen[phase], len(self.open))
            elif isinstance(event, h2.events.DataReceived):
                self.open[event.stream_id][1].extend(event.data)
                self.wire.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            elif isinstance(event, h2.events.StreamEnded):
                asyncio.get_running_loop().call_later(self.told["hold"], self.answer, event.stream_id)
        self.flush()

    def answer(self, stream):
        headers, body = self.open[stream]
        seen["requests"] += 1
        token = headers["authorization"].removeprefix("bearer ")
        claims = jwt.decode(token, self.told["public_key"], algorithms=["ES256"], issuer=self.told["team"])
        if token not in seen["tokens"]:
            seen["tokens"].append(token)
        if seen["first"] is None:
            header = jwt.get_unverified_header(token)
            seen["first"] = {"headers": headers, "body": json.loads(body), "claims": claims, "header": header}
        self.wire.send_headers(stream, [(":status", "200"), ("apns-id", headers["apns-id"])], end_stream=True)
        del self.open[stream]
        if not self.raised:
            self.raised = True
            self.wire.update_settings({STREAMS: self.told["streams"]})
        self.flush()


async def main():
    told = json.loads(sys.stdin.readline())
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Server(told), "127.0.0.1", 0)
    print(json.dumps({"port": server.sockets[0].getsockname()[1]}), flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    seen["tokens"] = len(seen["tokens"])
    print(json.dumps(seen), flush=True)
    server.close()


asyncio.run(main())
