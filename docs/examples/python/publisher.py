"""Publishes one challenge: python publisher.py AMQP_URL NUMBER. Prints its id."""

import json
import secrets
import sys
import uuid

import pika

url, number = sys.argv[1:]
challenge = {
    "id": str(uuid.uuid4()),
    "purpose": "sign_in",
    "code": f"{secrets.randbelow(1_000_000):06}",
    "ttl": 120,
    "methods": [{"channel": "sms", "to": number}],
}

with pika.BlockingConnection(pika.URLParameters(url)) as connection:
    channel = connection.channel()
    # From now on publishing waits for the broker, and raises where it or the message comes to nothing.
    channel.confirm_delivery()
    channel.basic_publish(
        exchange="mfa.challenges",
        routing_key="challenge.requested",
        body=json.dumps(challenge),
        properties=pika.BasicProperties(content_type="application/json", delivery_mode=2),
        mandatory=True,
    )
print(challenge["id"])
