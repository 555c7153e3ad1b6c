// Publishes one challenge: node publisher.js AMQP_URL NUMBER. Prints its id.
const { randomInt, randomUUID } = require("node:crypto");
const amqp = require("amqplib");

async function main([url, number]) {
  const challenge = {
    id: randomUUID(),
    purpose: "sign_in",
    code: String(randomInt(1_000_000)).padStart(6, "0"),
    ttl: 120,
    methods: [{ channel: "sms", to: number }],
  };
  const connection = await amqp.connect(url);
  try {
    const channel = await connection.createConfirmChannel();
    // The broker returns what no queue takes, and confirms it all the same: the return comes first.
    let returned = false;
    channel.on("return", () => (returned = true));
    channel.publish("mfa.challenges", "challenge.requested", Buffer.from(JSON.stringify(challenge)), {
      contentType: "application/json",
      persistent: true,
      mandatory: true,
    });
    await channel.waitForConfirms();
    if (returned) throw new Error("no queue takes challenges: has a worker been started on this broker?");
  } finally {
    await connection.close();
  }
  console.log(challenge.id);
}

main(process.argv.slice(2)).catch((error) => {
  console.error(error.message);
  process.exitCode = 1;
});
