// MongoDB by Node's own driver, for test_mongodb.py: URI. It connects, and begins at a line.
const { MongoClient } = require('mongodb');

async function main(uri) {
  const client = await new MongoClient(uri, { maxPoolSize: 5 }).connect();
  const items = client.db('shop').collection('node');
  await items.drop().catch(() => {});
  console.log('ready');
  await new Promise((go) => process.stdin.once('data', go));
  await items.insertMany([...Array(50).keys()].map((n) => ({ _id: n, kind: n % 5 })));
  const found = await Promise.all([...Array(20).keys()].map((n) => items.findOne({ _id: n })));
  if (found.some((one, n) => one._id !== n)) throw new Error('not what was asked for');
  for await (const _ of items.find({ kind: 1 }, { batchSize: 4 }));
  await items.updateOne({ _id: 1 }, { $set: { kind: 9 } });
  await items.insertOne({ _id: 1 }).catch(() => {});
  await items.deleteMany({ kind: 9 });
  await client.close();
  console.log('done');
}

main(process.argv[2]).then(() => process.exit(0));
