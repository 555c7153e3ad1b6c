"""What http_ece opens of our Web Push, what PyJWT finds in our proof, and what pywebpush sends.

Reads one JSON object from stdin and answers with one on stdout; tests/it/push/webpush.rs compares.
"""

import base64
import json
import os
import sys

import http_ece
import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from py_vapid import Vapid
from pywebpush import webpush


def url(raw):
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def raw(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def browser():
    key = ec.generate_private_key(ec.SECP256R1())
    point = key.public_key().public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)
    number = key.private_numbers().private_value.to_bytes(32, "big")
    return {"private": url(number), "subscription": {"p256dh": url(point), "auth": url(os.urandom(16))}}


def opened(case, audience):
    number = int.from_bytes(raw(case["private"]), "big")
    key = ec.derive_private_key(number, ec.SECP256R1())
    text = http_ece.decrypt(
        base64.b64decode(case["body"]), private_key=key, auth_secret=raw(case["auth"]), version="aes128gcm"
    )
    token, point = [part.strip()[2:] for part in case["authorization"].removeprefix("vapid ").split(",")]
    public = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), raw(point))
    claims = jwt.decode(token, public, algorithms=["ES256"], audience=audience, options={"require": ["aud", "exp", "sub"]})
    return {"text": text.decode(), "subject": claims["sub"]}


def sent(told):
    answer = webpush(
        told["subscription"],
        told["text"],
        vapid_private_key=Vapid.from_pem(told["key"][told["key"].index("-----BEGIN") :].encode()),
        vapid_claims={"sub": told["subject"], "aud": "https://push.example.com"},
        ttl=60,
    )
    return answer.status_code


def main():
    told = json.load(sys.stdin)
    if "make" in told:
        answer = {"browsers": [browser() for _ in range(told["make"])]}
    else:
        answer = {"opened": [opened(case, told["audience"]) for case in told["open"]], "sent": sent(told["send"])}
    json.dump(answer, sys.stdout)


main()
