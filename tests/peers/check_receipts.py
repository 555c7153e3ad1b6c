"""How the vendors' own libraries sign the receipts that they are told.

Reads one JSON object from stdin and answers with one on stdout; tests/it/peers/receipts.rs compares.
"""

import json
import sys

from twilio.request_validator import RequestValidator
from vonage_http_client.auth import Auth


def main():
    told = json.load(sys.stdin)
    twilio = RequestValidator(told["twilio_token"])
    answer = {
        "twilio": [twilio.compute_signature(case["url"], case["fields"]) for case in told["twilio"]],
        "vonage": [
            Auth(
                api_key="k", api_secret="s", signature_secret=told["vonage_secret"], signature_method=case["method"]
            ).sign_params(case["fields"])
            for case in told["vonage"]
        ],
    }
    json.dump(answer, sys.stdout)


main()
