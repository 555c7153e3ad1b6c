"""What Google's own library makes of our assertion, and of our simulated token endpoint.

Reads one JSON object from stdin and answers with one on stdout; tests/it/fcm/peers.rs compares.
"""

import json
import sys

from google.auth import exceptions, jwt
from google.auth.transport.requests import AuthorizedSession, Request
from google.oauth2 import service_account


def refused(account, scope):
    """Whether the endpoint gives this account no token for this scope, and with which word."""
    credentials = service_account.Credentials.from_service_account_info(account, scopes=[scope])
    try:
        credentials.refresh(Request())
    except exceptions.RefreshError as error:
        return error.args[1]["error"]
    return None


def main():
    told = json.load(sys.stdin)
    account, scope = told["account"], told["scope"]
    # Checks the signature, the times, and whom it is for.
    claims = jwt.decode(told["assertion"], certs=told["public_key"], audience=account["token_uri"])
    header = jwt.decode_header(told["assertion"])

    credentials = service_account.Credentials.from_service_account_info(account, scopes=[scope])
    session = AuthorizedSession(credentials)
    sent = session.post(told["send_url"], json={"message": told["message"]}, timeout=10)
    answer = {
        "claims": claims,
        "header": header,
        "sent": [sent.status_code, sent.json()],
        "lives_beyond_now": credentials.valid,
        "refused": {
            "another key": refused({**account, "private_key": told["another_key"]}, scope),
            "another account": refused({**account, "client_email": "x@example.com"}, scope),
            "another scope": refused(account, "https://www.googleapis.com/auth/cloud-platform"),
        },
    }
    json.dump(answer, sys.stdout)


main()
