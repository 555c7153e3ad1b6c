"""Prints final outcomes: python consumer.py AMQP_URL [QUEUE]. One line each: challenge, status, advice."""

import collections
import json
import sys

import pika

url, queue = sys.argv[1], (sys.argv[2:] or ["example.outcomes"])[0]
# Repeats have the same id and come soon, if ever. A service that stores outcomes uses its database instead.
seen = collections.deque(maxlen=10_000)


def heard(channel, method, _properties, body):
    outcome = json.loads(body)
    if outcome["id"] not in seen:
        seen.append(outcome["id"])
        print(outcome["challenge_id"], outcome["status"], outcome["advice"], flush=True)
    channel.basic_ack(method.delivery_tag)


with pika.BlockingConnection(pika.URLParameters(url)) as connection:
    channel = connection.channel()
    # A queue that outlives this program: what comes meanwhile waits.
    channel.queue_declare(queue, durable=True, arguments={"x-queue-type": "quorum"})
    channel.queue_bind(queue, "mfa.outcomes", "outcome.*.*.final")
    channel.basic_qos(prefetch_count=100)
    channel.basic_consume(queue, heard)
    try:
        channel.start_consuming()
    except KeyboardInterrupt:
        pass
