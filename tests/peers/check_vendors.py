"""How the vendors' own libraries sign the requests that they are told, and the receipts that they would send.

Reads one JSON object from stdin and answers with one on stdout; tests/it/peers/vendors.rs compares. Nothing is sent.
"""

import hashlib
import json
import sys
from datetime import datetime, timezone

import jwt
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from messagebird.request_validator import RequestValidator
from plivo.utils import signature_v3
from tencentcloud.common.abstract_client import AbstractClient
from tencentcloud.common.credential import Credential
from tencentcloud.common.http.request import RequestInternal


def aws(case):
    """The `Authorization` of the same request at the same time."""
    headers = {name: case["headers"][name] for name in ("content-type", "x-amz-target")}
    request = AWSRequest(method="POST", url=case["url"], data=case["body"].encode(), headers=headers)
    request.context["timestamp"] = case["headers"]["x-amz-date"]
    auth = SigV4Auth(Credentials("AKIDEXAMPLE", "secret"), "sms-voice", "eu-west-1")
    auth._modify_request_before_signing(request)
    text = auth.string_to_sign(request, auth.canonical_request(request))
    auth._inject_signature_to_request(request, auth.signature(text, request))
    return request.headers["Authorization"]


def tencent(case):
    client = AbstractClient(Credential("id", "key"), "ap-guangzhou")
    seconds = int(case["headers"]["x-tc-timestamp"])
    headers = {"Content-Type": case["headers"]["content-type"], "Host": case["host"], "X-TC-Timestamp": str(seconds)}
    request = RequestInternal(host=case["host"], method="POST", uri="/", header=headers, data=case["body"].encode())
    date = datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%d")
    return client._get_tc3_signature({}, request, date, "sms", "key")


def plivo(case):
    if case["method"] == "GET":
        url = signature_v3.construct_get_url(case["url"], dict(case["fields"]))
    else:
        url = signature_v3.construct_post_url(case["url"], dict(case["fields"]))
    return signature_v3.get_signature_v3(b"tok", url, b"12345").decode()


def messagebird(case, now):
    """A token such as they send, which their own library holds to be theirs."""
    claims = {"iss": "MessageBird", "nbf": now, "exp": now + 60, "jti": "j"}
    claims["url_hash"] = hashlib.sha256(case["url"].encode()).hexdigest()
    if case["body"]:
        claims["payload_hash"] = hashlib.sha256(case["body"].encode()).hexdigest()
    token = jwt.encode(claims, "a-signing-key-of-32-bytes-at-least", algorithm="HS256")
    RequestValidator("a-signing-key-of-32-bytes-at-least").validate_signature(token, case["url"], case["body"].encode())
    return token


def main():
    told = json.load(sys.stdin)
    answer = {
        "aws": [aws(case) for case in told["aws"]],
        "tencent": [tencent(case) for case in told["tencent"]],
        "plivo": [plivo(case) for case in told["plivo"]],
        "messagebird": [messagebird(case, told["now"]) for case in told["messagebird"]],
    }
    json.dump(answer, sys.stdout)


main()
