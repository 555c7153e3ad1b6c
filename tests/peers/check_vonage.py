"""What Vonage's own libraries send for the messages that they are told, and what PyJWT finds in a token of ours.

Reads one JSON object from stdin and answers with one on stdout; tests/it/peers.rs compares. Nothing is sent:
the library's session is replaced by one that keeps what it is given.
"""

import json
import sys
from urllib.parse import parse_qsl, urlencode
from xml.etree import ElementTree

import jwt
from vonage_http_client import Auth, HttpClient
from vonage_sms import Sms, SmsMessage
from vonage_voice import Voice
from vonage_voice.models import CreateCallRequest, Phone, Talk, ToPhone


class Kept:
    """Keeps the last request, and says that it was taken."""

    status_code = 200
    headers = {"Content-Type": "application/json"}
    url = ""

    def __init__(self, answer):
        self.content = json.dumps(answer).encode()
        self.text = self.content.decode()

    def request(self, **request):
        self.last = request
        return self

    def json(self):
        return json.loads(self.content)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None


def with_session(answer, **auth):
    client = HttpClient(Auth(**auth))
    client._session = Kept(answer)
    return client


def message(told, case):
    part = {"to": "1", "message-id": "0", "status": "0", "remaining-balance": "1", "message-price": "1", "network": "1"}
    client = with_session(
        {"message-count": "1", "messages": [part]}, api_key=told["api_key"], api_secret=told["api_secret"]
    )
    Sms(client).send(
        SmsMessage(
            to=case["to"],
            from_=case["sender"],
            text=case["text"],
            type=case["type"],
            ttl=case["validity"],
            client_ref=case["reference"],
        )
    )
    last = client._session.last
    form = {name: value for name, value in last["data"].items() if value is not None}
    return {
        "method": last["method"],
        "url": last["url"],
        "form": dict(parse_qsl(urlencode(form), keep_blank_values=True)),
        "authorization": last["headers"]["Authorization"],
    }


def call(told, case):
    client = with_session(
        {"uuid": "0", "status": "started", "direction": "outbound", "conversation_uuid": "CON-0"},
        application_id=told["application_id"],
        private_key=told["private_key"],
    )
    speech = ElementTree.fromstring(case["ssml"])
    extension = case.get("extension")
    Voice(client).create_call(
        CreateCallRequest(
            to=[ToPhone(number=case["to"], dtmf_answer=f"pp{extension}" if extension else None)],
            from_=Phone(number=case["sender"]),
            ringing_timer=case["validity"],
            length_timer=90,
            machine_detection="hangup",
            ncco=[Talk(text=case["ssml"], language=case["language"], style=case["style"], loop=2)],
        )
    )
    last = client._session.last
    scheme, token = case["authorization"].split(" ")
    theirs = last["headers"]["Authorization"].decode().removeprefix("Bearer ")
    return {
        "method": last["method"],
        "url": last["url"],
        "json": last["json"],
        "scheme": scheme,
        "header": jwt.get_unverified_header(token),
        "claims": verified(token, told),
        "their_header": jwt.get_unverified_header(theirs),
        "their_claims": sorted(verified(theirs, told)),
        "spoken": [speech.tag, *[child.tag for child in speech]],
        "text": "".join(speech.itertext()),
    }


def verified(token, told):
    """The claims of a token that was signed by the application's key and holds at this moment."""
    required = {"require": ["iat", "exp", "jti", "application_id"]}
    return jwt.decode(token, told["public_key"], algorithms=["RS256"], options=required)


def main():
    told = json.load(sys.stdin)
    answer = {
        "messages": [message(told, case) for case in told["messages"]],
        "calls": [call(told, case) for case in told["calls"]],
    }
    json.dump(answer, sys.stdout)


main()
