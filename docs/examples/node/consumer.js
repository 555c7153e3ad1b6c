// Prints final outcomes: node consumer.js AMQP_URL [QUEUE]. One line each: challenge, status, advice.
const amqp = require("amqplib");

async function main([url, queue = "example.outcomes"]) {
  const connection = await amqp.connect(url);
  const channel = await connection.createChannel();
  // A queue that outlives this program: what comes meanwhile waits.
  await channel.assertQueue(queue, { durable: true, arguments: { "x-queue-type": "quorum" } });
  await channel.bindQueue(queue, "mfa.outcomes", "outcome.*.*.final");
  await channel.prefetch(100);
  // Repeats have the same id and come soon, if ever. A service that stores outcomes uses its database instead.
  const seen = new Set();
  await channel.consume(queue, (message) => {
    if (message === null) throw new Error("the broker cancelled the consumer");
    const outcome = JSON.parse(message.content);
    if (!seen.has(outcome.id)) {
      seen.add(outcome.id);
      if (seen.size > 10_000) seen.delete(seen.values().next().value);
      console.log(outcome.challenge_id, outcome.status, outcome.advice);
    }
    channel.ack(message);
  });
}

main(process.argv.slice(2)).catch((error) => {
  console.error(error.message);
  process.exit(1);
});
