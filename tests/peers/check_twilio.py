"""What Twilio's own library sends for the messages that it is told, and how it reads the TwiML of ours.

Reads one JSON object from stdin and answers with one on stdout; tests/it/peers.rs compares. Nothing is sent:
the library's HTTP client is replaced by one that keeps what it is given.
"""

import json
import logging
import sys
from base64 import b64encode
from urllib.parse import parse_qsl, urlencode
from xml.etree import ElementTree

from twilio.http import HttpClient
from twilio.http.response import Response
from twilio.rest import Client
from twilio.twiml.voice_response import Say, VoiceResponse


class Kept(HttpClient):
    """Keeps the last request, and says that it was taken."""

    def request(self, method, uri, params=None, data=None, headers=None, auth=None, timeout=None, allow_redirects=False):
        self.last = {
            "method": method,
            "url": uri,
            # As a form is written, so as text.
            "form": dict(parse_qsl(urlencode(data), keep_blank_values=True)),
            "authorization": "Basic " + b64encode(":".join(auth).encode()).decode(),
        }
        return Response(201, json.dumps({"sid": "XX0"}))


def twiml(case):
    """The instructions of a call, as the library writes them."""
    response = VoiceResponse()
    response.pause(length=1)
    say = Say(case["text"], voice=case["voice"], language=case["language"], loop=2)
    say.break_(time="1s")
    response.append(say)
    return str(response)


def sent(case, client, kept):
    if case["channel"] == "voice":
        extension = case.get("extension")
        client.calls.create(
            to=case["to"],
            from_=case["sender"],
            twiml=twiml(case),
            timeout=case["validity"],
            time_limit=90,
            **({"send_digits": f"WW{extension}WWWWWWWW"} if extension else {}),
        )
        # Written in two ways, read as one.
        kept.last["form"]["Twiml"] = ElementTree.canonicalize(kept.last["form"]["Twiml"])
    else:
        client.messages.create(
            to=case["to"], from_=case["sender"], body=case["text"], validity_period=case["validity"]
        )
    return kept.last


def main():
    told = json.load(sys.stdin)
    kept = Kept(logging.getLogger(__name__), is_async=False)
    client = Client(told["account_sid"], told["auth_token"], http_client=kept)
    answer = {
        "sent": [sent(case, client, kept) for case in told["cases"]],
        "twiml": [ElementTree.canonicalize(xml) for xml in told["twiml"]],
    }
    json.dump(answer, sys.stdout)


main()
